// A file opened as the pager wants it.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"

namespace leafcutter::offload {

// Direct where the file system takes it (some open with O_DIRECT and refuse the first read), else buffered.
std::shared_ptr<File> open_for_streaming(const std::string& path);

}  // namespace leafcutter::offload
