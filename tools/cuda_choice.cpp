#include "tools/cuda_choice.h"

#include <fmt/format.h>

namespace leafcutter::tools {

std::unique_ptr<offload::CudaDevice> open_cuda_device(const CudaChoice& choice) {
  offload::CudaDeviceOptions options;
  options.gpu = choice.gpu;
  options.memory = choice.memory;
  return offload::make_cuda_device(offload::load_cuda_driver(), options);
}

offload::CudaCards installed_cuda_cards() { return offload::list_cuda_cards(offload::load_cuda_driver()); }

std::string card_text(const offload::CudaCard& card) {
  return fmt::format("{}, compute capability {}.{}, {}, {} multiprocessors", card.name, card.capability_major, card.capability_minor,
                     format_bytes(card.memory_bytes), card.multiprocessors);
}

}  // namespace leafcutter::tools
