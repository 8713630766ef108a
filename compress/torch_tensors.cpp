#include "compress/torch_tensors.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

using quant::SourceType;
using Use = PickleGlobal::Use;

struct StorageKind {
  const char* name;
  std::uint64_t bytes;
  std::optional<SourceType> type;
};

// In the order of the globals, which begin with the storages.
constexpr StorageKind kStorages[] = {
    {"Float", 4, SourceType::f32}, {"Half", 2, SourceType::f16}, {"BFloat16", 2, SourceType::bf16}, {"Double", 8, SourceType::f64},
    {"Long", 8, std::nullopt},     {"Int", 4, std::nullopt},     {"Short", 2, std::nullopt},        {"Char", 1, std::nullopt},
    {"Byte", 1, std::nullopt},     {"Bool", 1, std::nullopt},
};
constexpr std::size_t kRebuildTensor = std::size(kStorages), kRebuildParameter = kRebuildTensor + 1;
constexpr PickleGlobal kGlobals[] = {
    {"torch", "FloatStorage", Use::value},
    {"torch", "HalfStorage", Use::value},
    {"torch", "BFloat16Storage", Use::value},
    {"torch", "DoubleStorage", Use::value},
    {"torch", "LongStorage", Use::value},
    {"torch", "IntStorage", Use::value},
    {"torch", "ShortStorage", Use::value},
    {"torch", "CharStorage", Use::value},
    {"torch", "ByteStorage", Use::value},
    {"torch", "BoolStorage", Use::value},
    {"torch._utils", "_rebuild_tensor_v2", Use::call},
    {"torch._utils", "_rebuild_parameter", Use::call},
    {"collections", "OrderedDict", Use::ordered_dict},
};

// State dicts that hold the state dict, as trainers save it.
constexpr std::string_view kWrappers[] = {"state_dict", "model", "module"};

struct Storage {
  const StorageKind* kind;
  std::uint64_t offset;
  std::uint64_t values;
  std::uint64_t number;
};

class TensorReader {
 public:
  TensorReader(const Pickle& pickle, std::span<const ZipEntry> entries, const std::string& prefix, const std::string& file)
      : pickle_(pickle), entries_(entries), prefix_(prefix), file_(file) {}

  std::vector<TorchTensor> read(std::vector<std::string>& notes) {
    const PickleValue* dict = &pickle_.root();
    if (dict->kind != PickleKind::dict)
      throw Error(ErrorKind::unsupported, file_, "holds something else than a state dict",
                  "save one: torch.save(model.state_dict(), FILE)");
    if (const auto wrapped = find_wrapped(*dict)) {
      dict = wrapped->second;
      notes.push_back("the tensors were taken from \"" + std::string(wrapped->first) + "\", the rest was left out");
    }
    std::vector<TorchTensor> tensors;
    std::unordered_set<std::string_view> names;
    std::size_t others = 0;
    const auto items = pickle_.children(*dict);
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const PickleValue &key = pickle_[items[i]], &value = pickle_[items[i + 1]];
      if (!is_tensor(value)) {
        if (others++ == 0) notes.push_back(key_text(key) + " is no tensor and was left out");
        continue;
      }
      if (key.kind != PickleKind::text) refuse(key.at, "a tensor with a key that is no text");
      name_ = printable_text(pickle_.text(key), 128);
      if (key.size == 0 || key.size > TorchLimits::kNameBytes)
        refuse(key.at,
               "a name of " + std::to_string(key.size) + " bytes; 1 to " + std::to_string(TorchLimits::kNameBytes) + " are allowed");
      if (!names.insert(pickle_.text(key)).second) refuse(key.at, "comes twice");
      tensors.push_back(tensor(value));
      tensors.back().name = pickle_.text(key);
    }
    if (others > 1) notes.back() = std::to_string(others) + " entries are no tensors and were left out";
    return tensors;
  }

 private:
  [[noreturn]] void refuse(std::uint32_t at, const std::string& problem) const {
    throw Error(ErrorKind::bad_file,
                file_ + ", tensor " + name_ + ", entry " + printable_text(prefix_, 128) + "data.pkl, offset " + std::to_string(at), problem,
                "the file is damaged or no torch checkpoint");
  }

  std::string key_text(const PickleValue& key) const {
    return key.kind == PickleKind::text ? "entry " + printable_text(pickle_.text(key), 128) : "an entry";
  }

  bool is_tensor(const PickleValue& value) const { return value.kind == PickleKind::call; }

  bool has_tensors(const PickleValue& dict) const {
    const auto items = pickle_.children(dict);
    for (std::size_t i = 0; i < items.size(); i += 2)
      if (is_tensor(pickle_[items[i + 1]])) return true;
    return false;
  }

  // The first wrapper that holds tensors, when the dict itself holds none.
  std::optional<std::pair<std::string_view, const PickleValue*>> find_wrapped(const PickleValue& dict) const {
    if (has_tensors(dict)) return std::nullopt;
    const auto items = pickle_.children(dict);
    for (const std::string_view wrapper : kWrappers)
      for (std::size_t i = 0; i < items.size(); i += 2) {
        const PickleValue &key = pickle_[items[i]], &value = pickle_[items[i + 1]];
        if (key.kind == PickleKind::text && pickle_.text(key) == wrapper && value.kind == PickleKind::dict && has_tensors(value))
          return std::pair(wrapper, &value);
      }
    return std::nullopt;
  }

  // Argument i of a call; the call was checked to have as many.
  const PickleValue& argument(std::span<const std::uint32_t> arguments, std::size_t i) const { return pickle_[arguments[i]]; }

  std::span<const std::uint32_t> arguments_of(const PickleValue& call) const {
    return pickle_.children(pickle_[pickle_.children(call)[1]]);
  }

  bool calls(const PickleValue& value, std::size_t global) const {
    return value.kind == PickleKind::call && pickle_[pickle_.children(value)[0]].number == static_cast<std::int64_t>(global);
  }

  TorchTensor tensor(const PickleValue& value) {
    const PickleValue* call = &value;
    if (calls(value, kRebuildParameter)) {
      const auto arguments = arguments_of(value);
      if (arguments.size() != 3) refuse(value.at, "_rebuild_parameter with " + std::to_string(arguments.size()) + " arguments, expected 3");
      call = &argument(arguments, 0);
      check_hooks(argument(arguments, 2));
    }
    if (!calls(*call, kRebuildTensor)) refuse(value.at, "a parameter of something else than a tensor");
    const auto arguments = arguments_of(*call);
    if (arguments.size() != 6 && arguments.size() != 7)
      refuse(call->at, "_rebuild_tensor_v2 with " + std::to_string(arguments.size()) + " arguments, expected 6 or 7");
    const Storage& storage = storage_of(argument(arguments, 0));
    TorchTensor tensor;
    const std::uint64_t first = number(argument(arguments, 1), "storage offset");
    tensor.shape = numbers(argument(arguments, 2), "shape");
    tensor.strides = numbers(argument(arguments, 3), "strides");
    check_hooks(argument(arguments, 5));
    if (arguments.size() == 7) check_metadata(argument(arguments, 6));
    tensor.type = storage.kind->type;
    tensor.dtype = storage.kind->name;
    tensor.storage = storage.number;
    check_elements(call->at, storage, first, tensor);
    tensor.offset = storage.offset + first * storage.kind->bytes;
    return tensor;
  }

  // Every element lies inside the storage.
  void check_elements(std::uint32_t at, const Storage& storage, std::uint64_t first, const TorchTensor& tensor) const {
    if (tensor.shape.size() != tensor.strides.size())
      refuse(at, std::to_string(tensor.shape.size()) + " dimensions with " + std::to_string(tensor.strides.size()) + " strides");
    std::optional<std::uint64_t> last = first, values = 1;
    for (std::size_t d = 0; d < tensor.shape.size(); d++) {
      values = values ? checked_multiply(*values, tensor.shape[d]) : values;
      if (tensor.shape[d] == 0) {
        if (first > storage.values) refuse(at, outside(storage, std::to_string(first)));
        return;  // no elements
      }
      const auto step = checked_multiply(tensor.shape[d] - 1, tensor.strides[d]);
      last = last && step ? checked_add(*last, *step) : std::nullopt;
    }
    if (!values || !checked_multiply(*values, storage.kind->bytes)) refuse(at, "its shape is larger than any file");
    if (!last || *last >= storage.values) refuse(at, outside(storage, last ? std::to_string(*last) : "past 2^64"));
  }

  static std::string outside(const Storage& storage, const std::string& element) {
    return "element " + element + " of a storage of " + std::to_string(storage.values);
  }

  std::uint64_t number(const PickleValue& value, const char* what) const {
    if (value.kind != PickleKind::integer) refuse(value.at, std::string(what) + " is no whole number");
    if (value.number < 0) refuse(value.at, std::string(what) + " is negative: " + std::to_string(value.number));
    return static_cast<std::uint64_t>(value.number);
  }

  std::vector<std::uint64_t> numbers(const PickleValue& value, const char* what) const {
    if (value.kind != PickleKind::tuple) refuse(value.at, std::string(what) + " is no tuple");
    const auto items = pickle_.children(value);
    if (items.size() > TorchLimits::kDimensions)
      refuse(value.at, std::to_string(items.size()) + " dimensions; at most " + std::to_string(TorchLimits::kDimensions) + " are served");
    std::vector<std::uint64_t> all;
    for (const std::uint32_t item : items) all.push_back(number(pickle_[item], what));
    return all;
  }

  void check_hooks(const PickleValue& value) const {
    if (value.kind != PickleKind::dict || !pickle_.children(value).empty()) refuse(value.at, "backward hooks are not served");
  }

  // Marks such as "negated" or "conjugated" would change the values.
  void check_metadata(const PickleValue& value) const {
    if (value.kind == PickleKind::none || (value.kind == PickleKind::dict && pickle_.children(value).empty())) return;
    refuse(value.at, "metadata of a tensor is not served");
  }

  // ("storage", kind, key, device, values)
  const Storage& storage_of(const PickleValue& value) {
    if (value.kind != PickleKind::persistent) refuse(value.at, "a tensor without a storage");
    const PickleValue& id = pickle_[pickle_.children(value)[0]];
    const auto items = id.kind == PickleKind::tuple ? pickle_.children(id) : std::span<const std::uint32_t>();
    if (items.size() != 5) refuse(value.at, "a storage of " + std::to_string(items.size()) + " fields, expected 5");
    const PickleValue &tag = pickle_[items[0]], &global = pickle_[items[1]], &key = pickle_[items[2]];
    if (tag.kind != PickleKind::text || pickle_.text(tag) != "storage") refuse(tag.at, "a persistent id that is no storage");
    if (global.kind != PickleKind::global || static_cast<std::size_t>(global.number) >= std::size(kStorages))
      refuse(global.at, "a storage of no known kind");
    if (key.kind != PickleKind::text || pickle_[items[3]].kind != PickleKind::text)
      refuse(key.at, "a storage whose key or device is no text");
    const StorageKind& kind = kStorages[static_cast<std::size_t>(global.number)];
    const std::uint64_t values = number(pickle_[items[4]], "the size of its storage");
    const auto [at, is_new] = storages_.try_emplace(pickle_.text(key));
    if (is_new) {
      at->second = find_storage(key, kind, values);
    } else if (at->second.kind != &kind || at->second.values != values) {
      refuse(value.at, "storage " + printable_text(pickle_.text(key), 64) + " is named as " + kind.name + " of " + std::to_string(values) +
                           " and as " + at->second.kind->name + " of " + std::to_string(at->second.values));
    }
    return at->second;
  }

  Storage find_storage(const PickleValue& key, const StorageKind& kind, std::uint64_t values) const {
    const std::string name = prefix_ + "data/" + std::string(pickle_.text(key).substr(0, ZipLimits::kNameBytes + 1));
    const auto entry =
        std::lower_bound(entries_.begin(), entries_.end(), name, [](const ZipEntry& e, const std::string& n) { return e.name < n; });
    if (entry == entries_.end() || entry->name != name) refuse(key.at, "there is no entry " + printable_text(name, 128));
    const auto bytes = checked_multiply(values, kind.bytes);
    if (!bytes || entry->bytes != *bytes)
      refuse(key.at, "entry " + printable_text(name, 128) + " has " + std::to_string(entry->bytes) + " bytes, expected " +
                         std::to_string(values) + " of " + std::to_string(kind.bytes));
    return {.kind = &kind, .offset = entry->data, .values = values, .number = storages_.size() - 1};
  }

  const Pickle& pickle_;
  std::span<const ZipEntry> entries_;
  const std::string& prefix_;
  const std::string& file_;
  std::string name_;  // of the tensor that is being read, for messages
  std::unordered_map<std::string_view, Storage> storages_;
};

}  // namespace

std::span<const PickleGlobal> torch_globals() { return kGlobals; }

std::vector<TorchTensor> torch_tensors(const Pickle& pickle, std::span<const ZipEntry> entries, const std::string& prefix,
                                       const std::string& file, std::vector<std::string>& notes) {
  return TensorReader(pickle, entries, prefix, file).read(notes);
}

}  // namespace leafcutter::compress
