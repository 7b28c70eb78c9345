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

Ledger::Share Ledger::share_of(const Entry& entry) {
  return {std::max(entry.accounts.used, entry.reservation), entry.accounts.logical_used,
          entry.accounts.snapshots};
}

// The dataset's own figures; what its children gave stays.
void Ledger::read(DatasetId id, Entry& entry) const {
  const Dataset& dataset = *view_.dataset(id);
  Accounts& accounts = entry.accounts;
  const u64 logical_below = accounts.logical_used - accounts.logical_referenced;
  if (const pool::VolumeState* state = view_.volume_state(id)) {
    accounts.referenced = state->live.referenced_blocks * kBlock;
    accounts.used_by_dataset =
        less(state->live.referenced_blocks, state->inherited_blocks) * kBlock;
    accounts.used_by_snapshots = state->dead_blocks * kBlock;
    accounts.logical_referenced = state->live.logical_blocks * kBlock;
  }
  accounts.logical_used = accounts.logical_referenced + logical_below;
  accounts.used = accounts.used_by_dataset + accounts.used_by_snapshots + accounts.used_by_children;
  accounts.snapshots -= entry.snapshots;
  entry.snapshots = view_.snapshot_count(id);
  accounts.snapshots += entry.snapshots;
  entry.parent = dataset.parent;
  entry.reservation = reservation_of(dataset);
}

// Takes `less` out of the entry and puts `more` in, and so on up to the root or to what is not
// attached.
void Ledger::give(DatasetId to, Share less, Share more) {
  for (DatasetId at = to; raw(at) != 0;) {
    const auto place = entries_.find(at);
    if (place == entries_.end()) return;
    Entry& entry = place->second;
    const Share before = share_of(entry);
    Accounts& accounts = entry.accounts;
    accounts.used_by_children += more.used - less.used;
    accounts.used += more.used - less.used;
    accounts.logical_used += more.logical - less.logical;
    accounts.snapshots += more.snapshots - less.snapshots;
    if (!entry.attached) return;
    less = before;
    more = share_of(entry);
    at = entry.parent;
  }
}

void Ledger::count_below(DatasetId top) {
  const std::vector<DatasetId> order = subtree(view_, top);
  for (size_t i = order.size(); i-- > 0;) {  // Children before parents.
    const DatasetId id = order[i];
    Entry& entry = entries_[id];  // A child may have been here: what it gave is kept.
    read(id, entry);
    physical_ += entry.accounts.used_by_dataset + entry.accounts.used_by_snapshots;
    if (id == top) continue;
    const Share share = share_of(entry);
    entry.attached = true;
    Accounts& above = entries_[entry.parent].accounts;
    above.used_by_children += share.used;
    above.logical_used += share.logical;
    above.snapshots += share.snapshots;
  }
}

u64 Ledger::used(DatasetId id) {
  catch_up();
  if (const auto known = entries_.find(id); known != entries_.end()) {
    return known->second.accounts.used;
  }
  if (followed_ != nullptr ||
      ++counts_ > kCountsMax) {  // Many are asked for: all at once is cheaper.
    count_all(id);
    return entries_.at(id).accounts.used;
  }
  // Parts of the subtree that are known already would be counted twice.
  if (!is_volume(view_, id)) entries_.clear();
  count_below(id);
  return entries_.at(id).accounts.used;
}

u64 Ledger::available(DatasetId id) {
  catch_up();
  count_all(id);
  std::vector<DatasetId> path;  // From the dataset up to the root.
  for (DatasetId at = id; raw(at) != 0; at = entries_.at(at).parent) path.push_back(at);
  u64 space = 0;
  for (size_t i = path.size(); i-- > 0;) {
    const Entry& entry = entries_.at(path[i]);
    const u64 used = entry.accounts.used;
    if (i + 1 == path.size()) {
      // What is reserved and not used yet is free in the pool, but not for everyone.
      space = less(facts_.available_bytes(), less(used, physical_));
    } else {
      space += less(entry.reservation, used);
    }
    const u64 quota = quota_of(*view_.dataset(path[i]));
    if (quota != 0) space = std::min(space, less(quota, used));
  }
  return space;
}

// `id` may be younger than the last count.
void Ledger::count_all(DatasetId id) {
  if (complete_ && entries_.contains(id)) return;
  forget();
  count_below(view_.root());
  complete_ = true;
  if (followed_ != nullptr) seen_upto_ = followed_->savepoint();
}

const Accounts& Ledger::of(DatasetId id) {
  const u64 free = available(id);
  Accounts& accounts = entries_.at(id).accounts;
  accounts.available = free;
  return accounts;
}

void Ledger::forget() {
  entries_.clear();
  complete_ = false;
  physical_ = 0;
  changed_.clear();
  counts_ = 0;
}

// --- Following a transaction

void Ledger::collect_changed(size_t since) {
  followed_->each_changed_dataset(since, [this](DatasetId id) { changed_.push_back(id); });
}

void Ledger::before_roll_back(size_t savepoint) {
  CHECK(followed_ != nullptr);
  if (!complete_ || savepoint >= seen_upto_) return;
  collect_changed(savepoint);
  seen_upto_ = savepoint;
}

void Ledger::detach(DatasetId id) {
  const auto place = entries_.find(id);
  if (place == entries_.end() || !place->second.attached) return;
  place->second.attached = false;
  give(place->second.parent, share_of(place->second), {});
}

void Ledger::attach(DatasetId id) {
  for (DatasetId at = id; raw(at) != 0;) {  // New groups above it come with it.
    Entry& entry = entries_[at];
    if (entry.attached) return;
    const Accounts& accounts = entry.accounts;
    physical_ -= accounts.used_by_dataset + accounts.used_by_snapshots;
    read(at, entry);
    physical_ += accounts.used_by_dataset + accounts.used_by_snapshots;
    if (raw(entry.parent) == 0) return;
    const DatasetId parent = entry.parent;
    entries_.try_emplace(parent);
    Entry& mine = entries_.at(at);  // The table may have moved.
    mine.attached = true;
    give(parent, {}, share_of(mine));
    at = parent;
  }
}

// All that changed is cut off first, then put back: in between, nothing is both old and new.
void Ledger::catch_up() {
  if (followed_ == nullptr || !complete_) return;
  const size_t now = followed_->savepoint();
  if (now > seen_upto_) collect_changed(seen_upto_);
  seen_upto_ = now;
  if (changed_.empty()) return;
  std::sort(changed_.begin(), changed_.end());
  changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
  for (DatasetId id : changed_) detach(id);
  for (DatasetId id : changed_) {
    if (view_.dataset(id) != nullptr) {
      attach(id);
      continue;
    }
    if (const auto gone = entries_.find(id); gone != entries_.end()) {
      const Accounts& accounts = gone->second.accounts;
      physical_ -= accounts.used_by_dataset + accounts.used_by_snapshots;
      entries_.erase(gone);
    }
  }
  changed_.clear();
}

}  // namespace coppice::verb
