// The two ways of `plan` that ask the card table instead of this machine.
#pragma once

#include "tools/card_sweep.h"
#include "tools/command.h"

namespace leafcutter::tools {

struct CardQuestion {
  std::string model, format;
  Wish wish;
  LoadFlags load;
  CardFlags card;
};

// --card NAME
void plan_on_card(const CardQuestion& question, const CommonFlags& common);

// --sweep card=..; model: several shapes, separated by commas. picture: empty for none.
bool is_card_sweep(const std::string& sweep);
void plan_card_sweep(const CardQuestion& question, const std::string& sweep, const std::string& picture, const CommonFlags& common);

}  // namespace leafcutter::tools
