// Reads a PTX text. Everything that is not known is an error that names its line: nothing is skipped but debugging information.
#pragma once

#include <string_view>

#include "tests/support/ptx/module.h"

namespace leafcutter::ptx {

// Throws Error. The module keeps no reference to the text.
Module parse(std::string_view text);

}  // namespace leafcutter::ptx
