// Property: a pickle that is accepted is a tree of values within its limits whose tensors, if it is a state dict, have every element inside their storage's entry, or an Error.
#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "compress/torch_tensors.h"

using namespace leafcutter::compress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Storages 0 to 7; the first four are those of the module in the corpus.
  constexpr std::uint64_t kBytes[] = {24, 8, 8, 8, 0, 4, 16, 56};
  std::vector<ZipEntry> entries;
  for (std::uint64_t i = 0; i < std::size(kBytes); i++)
    entries.push_back({.name = "a/data/" + std::to_string(i), .header = 0, .bytes = kBytes[i], .data = 1000 * i});
  try {
    const Pickle pickle = read_pickle(std::as_bytes(std::span(data, size)), torch_globals(), "fuzz.pt, entry a/data.pkl");
    if (pickle.size() > PickleLimits::kValues) std::abort();
    for (std::uint32_t i = 0; i < pickle.size(); i++) {
      const PickleValue& value = pickle[i];
      if (value.kind == PickleKind::text || value.kind == PickleKind::bytes) {
        if (value.begin > size || value.size > size - value.begin) std::abort();
      } else if (value.kind >= PickleKind::tuple && value.kind != PickleKind::global) {
        for (const std::uint32_t child : pickle.children(value))
          if (child >= pickle.size()) std::abort();
      }
    }
    std::vector<std::string> notes;
    for (const TorchTensor& tensor : torch_tensors(pickle, entries, "a/", "fuzz.pt", notes)) {
      std::uint64_t last = 0, values = 1;
      for (std::size_t d = 0; d < tensor.shape.size(); d++) {
        values *= std::min<std::uint64_t>(tensor.shape[d], 1);
        last += tensor.shape[d] > 0 ? (tensor.shape[d] - 1) * tensor.strides[d] : 0;
      }
      if (values > 0 && tensor.offset % 1000 + last >= 56) std::abort();
    }
  } catch (const leafcutter::Error&) {}
  return 0;
}
