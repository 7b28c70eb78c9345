// verb/accounts.h — Ledger: what datasets use and may still use, worked out once for one request.
//
// Theory. Space belongs to volumes: live blocks born since the origin, and the dead ones kept for
// snapshots. What a dataset uses is its own and, for each child, the greater of what that uses and
// what it reserved. Available to it is the least that the quotas above leave, never more than what
// the pool has free and nobody else reserved; its own reservation, where not yet taken up, is
// added.
#pragma once

#include <unordered_map>

#include "verb/properties.h"

namespace coppice::verb {

class Ledger {
 public:
  Ledger(const pool::CatalogView& view, const Facts& facts) : view_(view), facts_(facts) {}

  u64 used(pool::DatasetId id);       // Costs its subtree, the first time.
  u64 available(pool::DatasetId id);  // Costs the whole pool, the first time.
  const Accounts& of(pool::DatasetId id);
  const Accounts& counted(pool::DatasetId id) const {
    return known_.at(id);
  }  // After used(): all but `available`.
  void forget();

 private:
  static constexpr int kCountsMax = 8;
  void count_below(pool::DatasetId top);
  void count_all(pool::DatasetId id);
  const pool::CatalogView& view_;
  const Facts& facts_;
  std::unordered_map<pool::DatasetId, Accounts> known_;  // All but `available`.
  std::unordered_map<pool::DatasetId, u64> available_;
  int counts_ = 0;
};

// Native numbers as they are stored; 0: none.
u64 reservation_of(const pool::Dataset& dataset);
u64 quota_of(const pool::Dataset& dataset);

}  // namespace coppice::verb
