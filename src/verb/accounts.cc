#include "verb/accounts.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "verb/names.h"

namespace coppice::verb {
namespace {

using pool::Dataset;
using pool::DatasetId;
using pool::kBlock;

constexpr u64 kUnlimited = ~u64{0};

u64 stored_number(const Dataset& dataset, const char* name) {
  if (dataset.properties.empty()) return 0;
  const auto place = dataset.properties.find(name);
  if (place == dataset.properties.end()) return 0;
  u64 value = 0;
  std::from_chars(place->second.data(), place->second.data() + place->second.size(), value);
  return value;
}

u64 less(u64 a, u64 b) { return a > b ? a - b : 0; }

}  // namespace

u64 reservation_of(const Dataset& dataset) { return stored_number(dataset, "reservation"); }
u64 quota_of(const Dataset& dataset) { return stored_number(dataset, "quota"); }

void Ledger::count_below(DatasetId top) {
  const std::vector<DatasetId> order = subtree(view_, top);
  for (size_t i = order.size(); i-- > 0;) {  // Children before parents.
    const DatasetId id = order[i];
    Accounts& accounts = known_[id];  // A child may have been here: used_by_children is kept.
    if (const pool::VolumeState* state = view_.volume_state(id)) {
      accounts.referenced = state->live.referenced_blocks * kBlock;
      accounts.used_by_dataset =
          less(state->live.referenced_blocks, state->inherited_blocks) * kBlock;
      accounts.used_by_snapshots = state->dead_blocks * kBlock;
      accounts.logical_referenced = state->live.logical_blocks * kBlock;
      accounts.logical_used = accounts.logical_referenced;
    }
    accounts.snapshots += view_.snapshot_count(id);
    accounts.used =
        accounts.used_by_dataset + accounts.used_by_snapshots + accounts.used_by_children;
    if (id == top) continue;
    const Dataset& dataset = *view_.dataset(id);
    Accounts& above = known_[dataset.parent];
    const Accounts& below = known_.at(id);
    above.used_by_children += std::max(below.used, reservation_of(dataset));
    above.logical_used += below.logical_used;
    above.snapshots += below.snapshots;
  }
}

u64 Ledger::used(DatasetId id) {
  const auto known = known_.find(id);
  if (known != known_.end()) return known->second.used;
  if (++counts_ > kCountsMax) {  // Many are asked for: all at once is cheaper.
    count_all(id);
    return known_.at(id).used;
  }
  // Parts of the subtree that are known already would be counted twice.
  if (!is_volume(view_, id)) known_.clear();
  count_below(id);
  return known_.at(id).used;
}

u64 Ledger::available(DatasetId id) {
  if (const auto known = available_.find(id); known != available_.end()) return known->second;
  count_all(id);
  std::vector<DatasetId> path;  // From the dataset up to the first that is known, or the root.
  for (DatasetId at = id; raw(at) != 0 && !available_.contains(at);) {
    path.push_back(at);
    at = view_.dataset(at)->parent;
  }
  for (size_t i = path.size(); i-- > 0;) {
    const Dataset& dataset = *view_.dataset(path[i]);
    const u64 used = known_.at(path[i]).used;
    u64 space = 0;
    if (raw(dataset.parent) == 0) {
      // What is reserved and not used yet is free in the pool, but not for everyone.
      u64 physical = 0;
      for (const auto& [each, accounts] : known_) {
        physical += accounts.used_by_dataset + accounts.used_by_snapshots;
      }
      space = less(facts_.available_bytes(), less(used, physical));
    } else {
      space = available_.at(dataset.parent) + less(reservation_of(dataset), used);
    }
    const u64 quota = quota_of(dataset) != 0 ? quota_of(dataset) : kUnlimited;
    available_[path[i]] = std::min(space, less(quota, used));
  }
  return available_.at(id);
}

// `id` may be younger than the last count.
void Ledger::count_all(DatasetId id) {
  if (known_.contains(view_.root()) && known_.contains(id)) return;
  forget();
  count_below(view_.root());
}

const Accounts& Ledger::of(DatasetId id) {
  const u64 free = available(id);
  Accounts& accounts = known_.at(id);
  accounts.available = free;
  return accounts;
}

void Ledger::forget() {
  known_.clear();
  available_.clear();
  counts_ = 0;
}

}  // namespace coppice::verb
