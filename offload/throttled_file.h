// A file behind a slower link: the same bytes at a rate that is known, for tests and for planning against a disk that is not at hand (--link disk=RATE).
#pragma once

#include <memory>

#include "base/file.h"

namespace leafcutter::offload {

// All reads together get bytes_per_second, in the order in which they ask; each waits until its last byte would have arrived. It has no descriptor: reads go through read_at on threads.
// bytes_per_second > 0. Thread-safe as File is.
std::shared_ptr<File> throttle(std::shared_ptr<File> file, double bytes_per_second);

}  // namespace leafcutter::offload
