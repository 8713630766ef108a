// Zip archives, pickles and torch checkpoints made by hand, byte for byte, so that tests can bend any of them.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "compress/zip_directory.h"

namespace leafcutter::compress::test {

template <class T>
std::string raw_bytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Opcodes one after another.
class PickleBytes {
 public:
  std::string bytes = "\x80\x02";

  PickleBytes& op(const std::string& code) {
    bytes += code;
    return *this;
  }
  PickleBytes& global(const std::string& module, const std::string& name) { return op("c" + module + "\n" + name + "\n"); }
  PickleBytes& text(const std::string& value) { return op("X" + raw_bytes(static_cast<std::uint32_t>(value.size())) + value); }
  PickleBytes& number(std::int64_t value) { return op("\x8a\x08" + raw_bytes(value)); }
  PickleBytes& numbers(const std::vector<std::int64_t>& values) {
    op("(");
    for (const std::int64_t value : values) number(value);
    return op("t");
  }
  PickleBytes& ordered_dict() { return global("collections", "OrderedDict").op(")R"); }
  PickleBytes& storage(const std::string& kind, const std::string& key, std::int64_t values) {
    return op("(").text("storage").global("torch", kind + "Storage").text(key).text("cpu").number(values).op("tQ");
  }
  std::string stop() const { return bytes + "."; }
};

struct TorchBytesTensor {
  std::string name;
  std::string kind = "Float";
  std::string key;
  std::int64_t values = 0;  // of the storage
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape = {}, strides = {};
};

// One tensor as torch writes it.
inline PickleBytes& put_tensor(PickleBytes& p, const TorchBytesTensor& t) {
  p.global("torch._utils", "_rebuild_tensor_v2").op("(").storage(t.kind, t.key, t.values);
  return p.number(t.offset).numbers(t.shape).numbers(t.strides).op("\x89").ordered_dict().op("tR");
}

inline std::string state_dict_pickle(const std::vector<TorchBytesTensor>& tensors) {
  PickleBytes p;
  p.ordered_dict().op("(");
  for (const TorchBytesTensor& t : tensors) put_tensor(p.text(t.name), t);
  return p.op("u").stop();
}

class ZipBytes {
 public:
  struct Entry {
    std::string name;
    std::string data = {};
    std::uint16_t method = 0, flags = 0;
    bool zip64 = false;                        // sizes and offset in an extra field of the directory
    bool sizes_behind = false;                 // as torch: the header before the bytes has zeros
    std::size_t local_at = 0, central_at = 0;  // set by file()
  };
  std::vector<Entry> entries;
  bool zip64_end = true;
  std::size_t alignment = 1;                                               // of the entries' bytes
  std::size_t directory_at = 0, end64_at = 0, locator_at = 0, end_at = 0;  // set by file()

  ZipBytes& add(const std::string& name, const std::string& data) {
    entries.push_back({.name = name, .data = data});
    return *this;
  }
  Entry& operator[](const std::string& name) {
    for (Entry& entry : entries)
      if (entry.name == name) return entry;
    entries.push_back({.name = name});
    return entries.back();
  }

  std::string file() {
    std::string out, directory;
    for (Entry& e : entries) {
      e.local_at = out.size();
      const std::uint16_t flags = static_cast<std::uint16_t>(e.flags | (e.sizes_behind ? 8 : 0));
      const std::uint32_t crc = zip_crc32(std::as_bytes(std::span(e.data))), size = static_cast<std::uint32_t>(e.data.size());
      const std::uint32_t local_crc = e.sizes_behind ? 0 : crc, local_size = e.sizes_behind ? 0 : e.zip64 ? 0xffffffff : size;
      const std::size_t front = out.size() + kZipLocalBytes + e.name.size();
      const std::size_t room = (alignment - front % alignment) % alignment, padding = room > 0 && room < 4 ? room + alignment : room;
      out += fields(0x04034b50u, std::uint16_t{20}, flags, e.method, 0u, local_crc, local_size, local_size,
                    static_cast<std::uint16_t>(e.name.size()), static_cast<std::uint16_t>(padding));
      out += e.name;
      if (padding > 0) out += fields(std::uint16_t{0x4246}, static_cast<std::uint16_t>(padding - 4)) + std::string(padding - 4, 'Z');
      out += e.data;
      if (e.sizes_behind) out += fields(0x08074b50u, crc, size, size);
      e.central_at = directory.size();
      const std::string extra = e.zip64 ? fields(std::uint16_t{1}, std::uint16_t{24}, std::uint64_t{size}, std::uint64_t{size},
                                                 static_cast<std::uint64_t>(e.local_at))
                                        : "";
      const std::uint32_t shown = e.zip64 ? 0xffffffff : size, offset = e.zip64 ? 0xffffffff : static_cast<std::uint32_t>(e.local_at);
      directory += fields(0x02014b50u, std::uint16_t{20}, std::uint16_t{20}, flags, e.method, 0u, crc, shown, shown,
                          static_cast<std::uint16_t>(e.name.size()), static_cast<std::uint16_t>(extra.size()), std::uint16_t{0},
                          std::uint16_t{0}, std::uint16_t{0}, 0u, offset);
      directory += e.name + extra;
    }
    directory_at = out.size();
    for (Entry& e : entries) e.central_at += directory_at;
    out += directory;
    const auto count = static_cast<std::uint64_t>(entries.size());
    if (zip64_end) {
      end64_at = out.size();
      out += fields(0x06064b50u, std::uint64_t{44}, std::uint16_t{45}, std::uint16_t{45}, 0u, 0u, count, count,
                    static_cast<std::uint64_t>(directory.size()), static_cast<std::uint64_t>(directory_at));
      locator_at = out.size();
      out += fields(0x07064b50u, 0u, static_cast<std::uint64_t>(end64_at), 1u);
    }
    end_at = out.size();
    out += fields(0x06054b50u, std::uint16_t{0}, std::uint16_t{0}, static_cast<std::uint16_t>(count), static_cast<std::uint16_t>(count),
                  static_cast<std::uint32_t>(directory.size()), static_cast<std::uint32_t>(directory_at), std::uint16_t{0});
    return out;
  }

 private:
  template <class... T>
  static std::string fields(T... values) {
    return (raw_bytes(values) + ...);
  }
};

// An archive as torch writes it; storages: key -> bytes.
inline ZipBytes torch_archive(const std::string& pickle, const std::map<std::string, std::string>& storages) {
  ZipBytes zip;
  zip.alignment = 64;
  zip.add("archive/data.pkl", pickle).add("archive/byteorder", "little");
  for (const auto& [key, data] : storages) zip.add("archive/data/" + key, data);
  zip.add("archive/version", "3\n");
  for (ZipBytes::Entry& entry : zip.entries) entry.sizes_behind = !entry.data.empty();
  return zip;
}

template <class T>
void patch(std::string& bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

}  // namespace leafcutter::compress::test
