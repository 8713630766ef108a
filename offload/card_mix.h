// The mix of card, link and host with which a step is shortest: of each product, how much does not stay on the card, and how much of that the host computes.
//
// Two things make it more than one share for all. Even where everything would fit, the host's memory has bytes to give beside the card's: weights that are held back make the card's part shorter. And each product that both
// have a part of costs an exchange of activations, which the card's part hides in some products and not in others.
#pragma once

#include "offload/card_simulator.h"
#include "offload/device_plan.h"
#include "offload/step_program.h"

namespace leafcutter::offload {

// What a device and the machine around it are taken to do.
struct DeviceRates {
  Card card;
  CardHost host;
};

struct Mix {
  PerProduct held_back{};  // as place() takes it
  PerProduct share{};      // as with_host_share() takes it
};

struct MixedStep {
  Mix mix;
  DevicePlan plan;  // with its sides for decoding
  CardStepTime time;
};

// A step on a placement, played: rings are filled before it counts, and it is no shorter than its bound.
CardStepTime play_step(const CardStep& step, const DeviceRates& rates);

// Starts from even residents with one share for all products and from holding back some products alone, and goes on from the best in ever smaller steps of one or two of the numbers, as long as a step gets shorter by more
// than 1/1000. Steps whose bound is no shorter than the best so far are not played. Throws Error(out_of_budget) when nothing fits. Deterministic.
MixedStep best_mix(const compress::LeafIndex& index, const DeviceRequest& request, const StepProgram& program, const DeviceRates& rates);

}  // namespace leafcutter::offload
