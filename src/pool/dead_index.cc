#include "pool/dead_index.h"

#include <algorithm>

#include "base/endian.h"

namespace coppice::pool {
namespace {
constexpr size_t kDeadKeyBytes = 32;
constexpr size_t kTurnItems = 1024;
constexpr size_t kValueBytes = sizeof(u32);
}  // namespace

std::string dead_key(u64 segment, Txg death, Txg birth, BlockAddr addr) {
  std::string key(kDeadKeyBytes, '\0');
  auto* at = reinterpret_cast<std::byte*>(key.data());
  store_be<u64>(at, segment);
  store_be<u64>(at + 8, raw(death));
  store_be<u64>(at + 16, raw(birth));
  store_be<u64>(at + 24, raw(addr));
  return key;
}

Result<DeadEntry> decode_dead(std::string_view key, std::string_view value) {
  if (key.size() != kDeadKeyBytes || value.size() != kValueBytes)
    return fail(Errc::corrupt, "decode an entry of the dead index");
  const auto* at = reinterpret_cast<const std::byte*>(key.data());
  DeadEntry entry{load_be<u64>(at),
                  Txg(load_be<u64>(at + 8)),
                  Txg(load_be<u64>(at + 16)),
                  {BlockAddr(load_be<u64>(at + 24)),
                   load_le<u32>(reinterpret_cast<const std::byte*>(value.data()))}};
  if (entry.run.count == 0 || raw(entry.run.start) == 0)
    return fail(Errc::corrupt, "decode an entry of the dead index");
  return entry;
}

void DeadChanges::add(const DeadEntry& entry) {
  items_.push_back(
      {dead_key(entry.segment, entry.death, entry.birth, entry.run.start), entry.run.count});
}

void DeadChanges::erase(std::string key) { items_.push_back({std::move(key), std::nullopt}); }

std::vector<Change> DeadChanges::sorted() {
  std::sort(items_.begin(), items_.end(),
            [](const Item& a, const Item& b) { return a.key < b.key; });
  std::vector<Change> changes;
  changes.reserve(items_.size());
  for (const Item& item : items_) {
    CHECK(changes.empty() || changes.back().key < item.key);
    if (item.count) {
      changes.push_back(
          {item.key, std::string_view(reinterpret_cast<const char*>(&*item.count), kValueBytes)});
    } else {
      changes.push_back({item.key, std::nullopt});
    }
  }
  return changes;
}

DeadScan::DeadScan(NodeStore& store, NodePtr root, const Slice& slice, Txg after, Txg upto)
    : cursor_(store, root),
      segment_(slice.segment),
      after_(std::max(after, slice.after)),
      upto_(std::min(upto, slice.upto)) {}

Task<> DeadScan::begin(std::string_view from) {
  std::string first = dead_key(segment_, pool::next(after_), Txg{}, BlockAddr{});
  if (after_ == kForever) first = dead_key(segment_ + 1, Txg{}, Txg{}, BlockAddr{});
  if (from > first) first = from;
  Task<> seeking = cursor_.seek(first);
  co_return co_await std::move(seeking);
}

Task<bool> DeadScan::next(DeadEntry& entry) {
  if (std::exchange(started_, true) && !cursor_.at_end() && !cursor_.try_next()) {
    Task<> stepping = cursor_.next();
    co_await ok(std::move(stepping));
  }
  if (cursor_.at_end()) co_return false;
  entry = co_await ok(decode_dead(cursor_.key(), cursor_.value()));
  if (entry.segment != segment_ || entry.death > upto_) co_return false;
  key_ = cursor_.key();
  co_return true;
}

Task<> for_each_dead(NodeStore& store, NodePtr root, std::vector<Slice> slices, Txg after, Txg upto,
                     const std::function<void(const DeadEntry&)>& visit) {
  size_t since_turn = 0;
  for (const Slice& slice : slices) {
    DeadScan scan(store, root, slice, after, upto);
    Task<> beginning = scan.begin({});
    co_await ok(std::move(beginning));
    DeadEntry entry;
    for (;;) {
      Task<bool> stepping = scan.next(entry);
      const bool more = co_await ok(std::move(stepping));
      if (!more) break;
      visit(entry);
      if (++since_turn % kTurnItems == 0) co_await rt::yield(store.executor());
    }
  }
  co_return {};
}

std::vector<Slice> clip(const std::vector<Slice>& slices, Txg after, Txg upto) {
  std::vector<Slice> clipped;
  for (Slice slice : slices) {
    slice.after = std::max(slice.after, after);
    slice.upto = std::min(slice.upto, upto);
    if (slice.after < slice.upto) clipped.push_back(slice);
  }
  return clipped;
}

}  // namespace coppice::pool
