#include "offload/cuda_driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/size_text.h"

namespace leafcutter::offload {
namespace {

constexpr int kLeastVersion = 9000;  // the kernels are PTX of ISA 6.0, which came with CUDA 9
constexpr int kLeastCapability = 61;
const std::string kUseCpu = "or use --device cpu";

template <class... Arguments>
void look_up(CudaCall<Arguments...>& call, void* library, const std::string& name) {
  using Function = CudaResult (*)(Arguments...);
  const auto function = reinterpret_cast<Function>(dlsym(library, call.name));
  if (!function)
    throw Error(ErrorKind::device, name, std::string("has no ") + call.name + ": this NVIDIA driver is too old",
                "install a driver of CUDA 9 or newer, " + kUseCpu);
  call.function = function;
}

// What to do about a driver that cannot begin.
std::string init_hint(CudaResult result) {
  switch (result) {
    case CudaResult::stub_library:
      return "the libcuda.so.1 that was found is the toolkit's stub: remove its folder from LD_LIBRARY_PATH, ";
    case CudaResult::system_driver_mismatch:
      return "the driver was updated under a running system: restart it, ";
    case CudaResult::unknown:
      return "after a suspend, reload the module nvidia_uvm, ";
    default:
      return "check with nvidia-smi that the driver works, ";
  }
}

// Empty where nothing hides a card.
std::string what_hides_cards() {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return visible ? std::string("CUDA_VISIBLE_DEVICES is \"") + visible + "\" and hides others" : "";
}

Error no_card() {
  const std::string hidden = what_hides_cards();
  return {ErrorKind::device, "NVIDIA driver", "it shows no card" + (hidden.empty() ? "" : ": " + hidden),
          (hidden.empty() ? "check with nvidia-smi that the card is seen, " : "change it, ") + kUseCpu};
}

template <class... Arguments, class... Given>
void call(const CudaDriver& driver, const CudaCall<Arguments...>& function, Given... given) {
  const CudaResult result = function.function(given...);
  if (result == CudaResult::success) return;
  if (result == CudaResult::no_device) throw no_card();
  throw Error(ErrorKind::device, std::string("NVIDIA driver, ") + function.name, cuda_result_text(driver, result),
              init_hint(result) + kUseCpu);
}

CudaCard describe(const CudaDriver& driver, int number) {
  CudaCard card;
  call(driver, driver.device, &card.index, number);
  char name[256] = {};
  call(driver, driver.device_name, name, static_cast<int>(sizeof name), card.index);
  card.name = name;
  std::size_t bytes = 0;
  call(driver, driver.device_memory, &bytes, card.index);
  card.memory_bytes = bytes;
  const auto attribute = [&](int which) {
    int value = 0;
    call(driver, driver.device_attribute, &value, which, card.index);
    return value;
  };
  card.capability_major = attribute(cuda::kCapabilityMajor);
  card.capability_minor = attribute(cuda::kCapabilityMinor);
  card.multiprocessors = attribute(cuda::kMultiprocessors);
  card.copy_engines = attribute(cuda::kCopyEngines);
  card.reads_host_memory =
      attribute(cuda::kUnifiedAddressing) != 0 && attribute(cuda::kMapsHostMemory) != 0 && attribute(cuda::kTakesRegisteredAddresses) != 0;
  card.pci_domain = attribute(cuda::kPciDomain);
  card.pci_bus = attribute(cuda::kPciBus);
  card.pci_device = attribute(cuda::kPciDevice);
  return card;
}

}  // namespace

CudaDriver load_cuda_driver(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: the driver has threads of its own
  if (!handle)
    throw Error(ErrorKind::device, "--device cuda", "no NVIDIA driver here (" + library + " cannot be loaded)",
                "install the driver, or use --device cpu");
  CudaDriver driver;
  for_each_call(driver, [&](auto& entry) { look_up(entry, handle, library); });
  return driver;
}

std::string cuda_result_text(const CudaDriver& driver, CudaResult result) {
  const char *name = nullptr, *text = nullptr;
  if (driver.error_name.function(result, &name) != CudaResult::success || !name) return "error " + std::to_string(static_cast<int>(result));
  if (driver.error_text.function(result, &text) != CudaResult::success || !text) return name;
  return std::string(name) + " (" + text + ")";
}

bool is_lost(CudaResult result) {
  switch (result) {
    case CudaResult::deinitialized:
    case CudaResult::device_unavailable:
    case CudaResult::invalid_context:
    case CudaResult::ecc_uncorrectable:
    case CudaResult::nvlink_uncorrectable:
    case CudaResult::illegal_address:
    case CudaResult::launch_timeout:
    case CudaResult::context_is_destroyed:
    case CudaResult::device_assert:
    case CudaResult::hardware_stack_error:
    case CudaResult::illegal_instruction:
    case CudaResult::misaligned_address:
    case CudaResult::invalid_address_space:
    case CudaResult::invalid_pc:
    case CudaResult::launch_failed:
    case CudaResult::unknown:
      return true;
    default:
      return false;
  }
}

std::string cuda_version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

CudaCards list_cuda_cards(const CudaDriver& driver) {
  CudaCards found;
  call(driver, driver.driver_version, &found.driver_version);
  if (found.driver_version < kLeastVersion)
    throw Error(ErrorKind::device, "NVIDIA driver",
                "speaks CUDA " + cuda_version_text(found.driver_version) + ", the kernels need " + cuda_version_text(kLeastVersion),
                "install a newer driver, " + kUseCpu);
  call(driver, driver.init, 0u);
  int count = 0;
  call(driver, driver.device_count, &count);
  for (int i = 0; i < count; i++) found.cards.push_back(describe(driver, i));
  if (found.cards.empty()) throw no_card();
  return found;
}

const CudaCard& choose_cuda_card(const CudaCards& cards, int gpu) {
  const std::string flag = "--gpu " + std::to_string(gpu);
  std::string list;
  for (std::size_t i = 0; i < cards.cards.size(); i++) list += (list.empty() ? "" : ", ") + std::to_string(i) + ": " + cards.cards[i].name;
  if (gpu < 0 || static_cast<std::size_t>(gpu) >= cards.cards.size()) {
    const std::string hidden = what_hides_cards();
    throw Error(ErrorKind::device, flag, "there is no such card; there is " + list + (hidden.empty() ? "" : "; " + hidden),
                "choose one of them");
  }
  const CudaCard& card = cards.cards[static_cast<std::size_t>(gpu)];
  if (card.capability_major * 10 + card.capability_minor < kLeastCapability)
    throw Error(ErrorKind::device, flag + ", " + card.name,
                "its compute capability is " + std::to_string(card.capability_major) + "." + std::to_string(card.capability_minor) +
                    ", the kernels need 6.1",
                cards.cards.size() > 1 ? "choose another with --gpu (" + list + "), " + kUseCpu : "use --device cpu");
  return card;
}

}  // namespace leafcutter::offload
