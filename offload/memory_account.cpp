#include "offload/memory_account.h"

#include <algorithm>
#include <utility>

namespace leafcutter::offload {

const char* tier_name(Tier tier) {
  switch (tier) {
    case Tier::disk:
      return "disk";
    case Tier::host:
      return "host";
    case Tier::device:
      return "device";
  }
  return "?";
}

MemoryAccount::Entry::Entry(MemoryAccount& account, std::string name, Tier tier, std::uint64_t bytes) : account_(&account) {
  const std::lock_guard lock(account.mutex_);
  id_ = account.next_id_++;
  account.entries_.emplace_back(id_, AccountEntry{std::move(name), tier, bytes});
}

MemoryAccount::Entry::~Entry() {
  if (!account_) return;
  const std::lock_guard lock(account_->mutex_);
  std::erase_if(account_->entries_, [this](const auto& entry) { return entry.first == id_; });
}

MemoryAccount::Entry::Entry(Entry&& other) noexcept { *this = std::move(other); }

MemoryAccount::Entry& MemoryAccount::Entry::operator=(Entry&& other) noexcept {
  std::swap(account_, other.account_);
  std::swap(id_, other.id_);
  return *this;
}

MemoryAccount::Entry MemoryAccount::add(std::string name, Tier tier, std::uint64_t bytes) {
  return Entry(*this, std::move(name), tier, bytes);
}

std::vector<AccountEntry> MemoryAccount::entries() const {
  const std::lock_guard lock(mutex_);
  std::vector<AccountEntry> all;
  for (const auto& entry : entries_) all.push_back(entry.second);
  return all;
}

std::uint64_t MemoryAccount::total(Tier tier) const {
  std::uint64_t bytes = 0;
  for (const AccountEntry& entry : entries())
    if (entry.tier == tier) bytes += entry.bytes;
  return bytes;
}

}  // namespace leafcutter::offload
