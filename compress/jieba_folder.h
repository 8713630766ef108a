// Where an installed jieba keeps its tables.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/word_dictionary.h"

namespace leafcutter::compress {

// A folder with jieba's dict.txt and finalseg/prob_*.py as Debian's python3-jieba and pip install them: the virtual or conda environment that is active, the user's
// site-packages, the system's. None: not installed there.
std::optional<std::string> find_jieba_folder();

// Paths of the tables in `folder`, else in the one that find_jieba_folder gives; none when there is none.
std::vector<std::string> jieba_files(const std::string& folder);

// Throws Error(not_found | bad_file | io) naming the file.
std::shared_ptr<const WordDictionary> read_jieba_folder(const std::string& folder);

}  // namespace leafcutter::compress
