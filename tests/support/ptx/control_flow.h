// Where lanes that a branch sends different ways meet again: at its immediate post-dominator, the first place that all ways to the end go through. So do cards before Volta.
#pragma once

#include "tests/support/ptx/module.h"

namespace leafcutter::ptx {

// Sets Instruction::meeting of each branch; code.size() where the ways only meet at the end. The last instruction is an exit.
void find_meetings(std::vector<Instruction>& code);

}  // namespace leafcutter::ptx
