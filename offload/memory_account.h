// Who owns every allocation above 64 KiB, by name and tier. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace leafcutter::offload {

enum class Tier : std::uint8_t { disk, host, device };
const char* tier_name(Tier tier);

struct AccountEntry {
  std::string name;  // "KV cache", "ring of streamed chunks", ...
  Tier tier{};
  std::uint64_t bytes = 0;
};

class MemoryAccount {
 public:
  // An entry lives as long as the handle.
  class Entry {
   public:
    Entry() = default;
    Entry(MemoryAccount& account, std::string name, Tier tier, std::uint64_t bytes);
    ~Entry();
    Entry(Entry&& other) noexcept;
    Entry& operator=(Entry&& other) noexcept;

   private:
    MemoryAccount* account_ = nullptr;
    std::uint64_t id_ = 0;
  };

  [[nodiscard]] Entry add(std::string name, Tier tier, std::uint64_t bytes);
  std::vector<AccountEntry> entries() const;
  std::uint64_t total(Tier tier) const;

 private:
  friend class Entry;
  mutable std::mutex mutex_;
  std::uint64_t next_id_ = 1;
  std::vector<std::pair<std::uint64_t, AccountEntry>> entries_;
};

}  // namespace leafcutter::offload
