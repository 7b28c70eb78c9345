// pool/catalog_delta.h — Delta: changes to an ordered map that are kept beside it.
//
// Theory. The base does not change in its keys while a Delta of it lives. A key is in effect if it
// was added, or if it is in the base and not removed. Removed keys are kept as runs: maximal
// stretches of neighbours in the base. So looking for the next key in effect costs O(log n) however
// many were removed beside it.
#pragma once

#include <iterator>
#include <map>
#include <utility>

#include "base/check.h"

namespace coppice::pool {

template <class Key, class Value, class Less>
class Delta {
 public:
  using Base = std::map<Key, Value, Less>;
  using Item = const typename Base::value_type*;  // Null: there is none.
  explicit Delta(const Base& base) : base_(base) {}

  template <class K>
  Item find(const K& key) const {
    if (const auto added = added_.find(key); added != added_.end()) return &*added;
    const auto place = base_.find(key);
    return place != base_.end() && !removed(place->first) ? &*place : nullptr;
  }

  void insert(Key key, Value value) {
    CHECK(find(key) == nullptr);
    const auto place = base_.find(key);
    if (place != base_.end() && place->second == value) {
      restore(place);
    } else {
      added_.emplace(std::move(key), std::move(value));
    }
  }

  template <class K>
  void erase(const K& key) {
    if (const auto added = added_.find(key); added != added_.end()) {
      added_.erase(added);
      return;
    }
    const auto place = base_.find(key);
    CHECK(place != base_.end() && !removed(place->first));
    Key first = place->first;
    Key last = place->first;
    if (place != base_.begin()) {
      if (const auto run = run_of(std::prev(place)->first); run != runs_.end()) {
        first = run->first;
        runs_.erase(run);
      }
    }
    if (const auto next = std::next(place); next != base_.end()) {
      if (const auto run = runs_.find(next->first); run != runs_.end()) {
        last = run->second;
        runs_.erase(run);
      }
    }
    runs_.emplace(std::move(first), std::move(last));
  }

  // The greatest key in effect below `key`.
  template <class K>
  Item below(const K& key) const {
    Item best = nullptr;
    auto place = base_.lower_bound(key);
    while (place != base_.begin()) {  // Twice at most: runs are maximal.
      --place;
      const auto run = run_of(place->first);
      if (run == runs_.end()) {
        best = &*place;
        break;
      }
      place = base_.find(run->first);
    }
    if (auto added = added_.lower_bound(key); added != added_.begin()) {
      --added;
      if (best == nullptr || Less()(best->first, added->first)) best = &*added;
    }
    return best;
  }

  // Calls visit(item) for the keys in effect from `from` on, in order, until it returns false.
  template <class K, class Visit>
  void each(const K& from, Visit visit) const {
    auto place = base_.lower_bound(from);
    auto added = added_.lower_bound(from);
    auto run = runs_.end();
    if (place != base_.end()) {
      run = run_of(place->first);
      if (run == runs_.end()) run = runs_.lower_bound(place->first);
    }
    for (;;) {
      while (place != base_.end() && run != runs_.end() && !Less()(place->first, run->first)) {
        place = std::next(base_.find(run->second));
        ++run;
      }
      const bool base_left = place != base_.end();
      const bool added_left = added != added_.end();
      if (!base_left && !added_left) return;
      if (!added_left || (base_left && Less()(place->first, added->first))) {
        if (!visit(Item(&*place))) return;
        ++place;
      } else {
        if (!visit(Item(&*added))) return;
        ++added;
      }
    }
  }

  // Calls touch(key) for every key that was removed or added: some twice.
  template <class Touch>
  void each_change(Touch touch) const {
    for (const auto& [first, last] : runs_) {
      auto place = base_.find(first);
      for (;; ++place) {
        touch(place->first);
        if (!Less()(place->first, last)) break;
      }
    }
    for (const auto& [key, value] : added_) touch(key);
  }

  // Brings `base`, which must be the base, to what is in effect. The Delta must not be used any
  // more.
  void apply_to(Base& base) {
    CHECK(&base == &base_);
    for (const auto& [first, last] : runs_) {
      base.erase(base.find(first), std::next(base.find(last)));
    }
    base.merge(added_);
    CHECK(added_.empty());
  }

 private:
  using Runs = std::map<Key, Key, Less>;  // First -> last.

  typename Runs::const_iterator run_of(const Key& key) const {
    auto run = runs_.upper_bound(key);
    if (run == runs_.begin()) return runs_.end();
    --run;
    return Less()(run->second, key) ? runs_.end() : run;
  }
  bool removed(const Key& key) const { return run_of(key) != runs_.end(); }

  void restore(typename Base::const_iterator place) {
    const auto run = run_of(place->first);
    CHECK(run != runs_.end());
    const auto [first, last] = *run;
    runs_.erase(run);
    if (Less()(first, place->first)) runs_.emplace(first, std::prev(place)->first);
    if (Less()(place->first, last)) runs_.emplace(std::next(place)->first, last);
  }

  const Base& base_;
  Base added_;
  Runs runs_;
};

}  // namespace coppice::pool
