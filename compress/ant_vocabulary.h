// CPM-Ant's vocabulary (ant.txt, vocab.txt): UTF-8, one token a line, its id the number of the line. Text in, facts out; no I/O.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

constexpr std::size_t kAntVocabularyBytes = 8u << 20;  // ant.txt has 204 KB

// Lines end as Python's text files end them: LF, CR LF or CR. `</_>` and `</n>` become the space and the line break; the other names in angle brackets that the model
// uses are special tokens, `<unk>` the unknown one, `<s>` and `</s>` begin and end. vocab_size: rows of the model's embedding; fewer lines give a note.
// Throws Error(bad_file) naming `file` and the line: a token that comes twice, an empty line with a token behind it, no UTF-8, one of the names above missing (`<pad>`,
// `<mask>`, `<sep>`, `<d>`, `</d>` may be), more lines than vocab_size.
TokenizerData ant_vocabulary(std::string_view text, std::shared_ptr<const WordDictionary> dictionary, std::uint32_t vocab_size,
                             const std::string& file, std::vector<std::string>& notes);

}  // namespace leafcutter::compress
