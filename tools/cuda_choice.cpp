#include "tools/cuda_choice.h"

#include <fmt/format.h>

#include "base/error.h"
#include "tools/card_cache.h"

namespace leafcutter::tools {
namespace {

// Where cuBLAS is only welcome: it, or nothing and why.
std::optional<offload::CublasLibrary> found_cublas(const CudaLibraries& libraries, const AddNote& note) {
  try {
    return libraries.cublas();
  } catch (const Error& e) { note(fmt::format("note: without cuBLAS: {}", e.what())); }
  return std::nullopt;
}

}  // namespace

std::unique_ptr<offload::CudaDevice> open_cuda_device(const CudaChoice& choice, const AddNote& note, const CudaLibraries& libraries,
                                                      const offload::CudaCode& code) {
  const offload::CudaDriver driver = libraries.driver();
  offload::CudaDeviceOptions options;
  options.gpu = choice.gpu;
  options.memory = choice.memory;
  options.code = code;
  std::optional<CublasFinding> finding;
  if (choice.cublas == CublasWish::on) options.cublas = libraries.cublas();
  if (choice.cublas == CublasWish::where_present) options.cublas = found_cublas(libraries, note);
  if (choice.cublas == CublasWish::where_faster) {
    const offload::CudaCards cards = offload::list_cuda_cards(driver);
    finding = cublas_finding(offload::choose_cuda_card(cards, choice.gpu), cards.driver_version);
    if (finding && finding->is_worth_it) options.cublas = found_cublas(libraries, note);
    if (!finding) note("note: --cublas auto: without cuBLAS, which `selftest` has not compared with our kernels on this card and driver");
    if (finding && !finding->is_worth_it) note("note: --cublas auto: without cuBLAS, which `selftest` found no better than our kernels");
  }
  std::unique_ptr<offload::CudaDevice> device;
  try {
    device = offload::make_cuda_device(driver, options);
  } catch (const Error& e) {
    if (!options.cublas || choice.cublas == CublasWish::on) throw;
    note(fmt::format("note: without cuBLAS: {}", e.what()));
  }
  if (device && finding && device->cublas_version() > 0 && device->cublas_version() != finding->version) {
    note(fmt::format("note: --cublas auto: without cuBLAS {}, since `selftest` compared {}",
                     offload::cublas_version_text(device->cublas_version()), offload::cublas_version_text(finding->version)));
    device.reset();
  }
  if (!device) {
    options.cublas.reset();
    device = offload::make_cuda_device(driver, options);
  }
  if (device->cublas_version() > 0 && choice.cublas != CublasWish::where_present)
    note(
        fmt::format("cuBLAS {}: products of 64 rows and more with weights in f16", offload::cublas_version_text(device->cublas_version())));
  return device;
}

offload::CudaCards installed_cuda_cards() { return offload::list_cuda_cards(offload::load_cuda_driver()); }

std::string card_text(const offload::CudaCard& card) {
  return fmt::format("{}, compute capability {}.{}, {}, {} multiprocessors", card.name, card.capability_major, card.capability_minor,
                     format_bytes(card.memory_bytes), card.multiprocessors);
}

}  // namespace leafcutter::tools
