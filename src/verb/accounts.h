// verb/accounts.h — Ledger: what datasets use and may still use.
//
// Theory. Space belongs to volumes: live blocks born since the origin, and the dead ones kept for
// snapshots. What a dataset uses is its own and, for each child, the greater of what that uses and
// what it reserved. Available to it is the least that the quotas above leave, never more than what
// the pool has free and nobody else reserved; its own reservation, where not yet taken up, is
// added.
//
// An entry has what its dataset gives to the entry above it, so a change costs its path to the root
// and no more. A Ledger that follows a transaction looks at what was changed there since it looked
// last; what was written to volumes since it first counted it does not see.
#pragma once

#include <unordered_map>
#include <vector>

#include "verb/properties.h"

namespace coppice::verb {

class Ledger {
 public:
  // For one request: whoever changes the view calls forget().
  Ledger(const pool::CatalogView& view, const Facts& facts) : view_(view), facts_(facts) {}
  // For many verbs in one transaction.
  Ledger(const pool::Transaction& transaction, const Facts& facts)
      : view_(transaction), facts_(facts), followed_(&transaction) {}

  u64 used(pool::DatasetId id);       // Costs its subtree, the first time.
  u64 available(pool::DatasetId id);  // Costs the whole pool, the first time.
  const Accounts& of(pool::DatasetId id);
  const Accounts& counted(pool::DatasetId id) const {
    return entries_.at(id).accounts;
  }  // After used(): all but `available`.
  void forget();
  // Before the transaction goes back there.
  void before_roll_back(size_t savepoint);

 private:
  static constexpr int kCountsMax = 8;
  struct Entry {
    Accounts accounts;  // All but `available`.
    pool::DatasetId parent{};
    bool attached = false;  // Its share is in the entry above it.
    u64 reservation = 0;
    u64 snapshots = 0;  // Its own.
  };
  struct Share {  // Of what stands above an entry.
    u64 used = 0, logical = 0, snapshots = 0;
  };
  static Share share_of(const Entry& entry);
  void count_below(pool::DatasetId top);
  void count_all(pool::DatasetId id);
  void catch_up();
  void collect_changed(size_t since);
  void detach(pool::DatasetId id);
  void attach(pool::DatasetId id);
  void give(pool::DatasetId to, Share less, Share more);
  void read(pool::DatasetId id, Entry& entry) const;

  const pool::CatalogView& view_;
  const Facts& facts_;
  const pool::Transaction* followed_ = nullptr;
  std::unordered_map<pool::DatasetId, Entry> entries_;
  bool complete_ = false;                 // Every dataset of the view has its entry.
  u64 physical_ = 0;                      // When complete: what all volumes use.
  size_t seen_upto_ = 0;                  // Of the followed transaction's changes.
  std::vector<pool::DatasetId> changed_;  // And not looked at yet.
  int counts_ = 0;
};

// Native numbers as they are stored; 0: none.
u64 reservation_of(const pool::Dataset& dataset);
u64 quota_of(const pool::Dataset& dataset);

}  // namespace coppice::verb
