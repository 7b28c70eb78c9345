// pool/lane_space.h — an I/O lane's supply of free blocks.
//
// Theory. The Space lives on the sync lane. Each I/O lane keeps a grant of it, so that FLUSH finds
// room without asking another thread, and asks for more when it runs low. What a group took is
// reported with the group: blocks to be used, and log blocks, which die with the group. What is
// left of a grant is free for the next crash to forget: a grant is not on disk anywhere.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "pool/allocator.h"
#include "rt/event.h"
#include "rt/scope.h"

namespace coppice::pool {

class LaneSpace final : public Allocator {
 public:
  // Asks the sync lane for about so many blocks; runs on the lane and returns there.
  using Grant = std::function<Task<std::vector<Run>>(u64 blocks)>;
  explicit LaneSpace(Grant grant);

  Task<Run> take(u32 want, Txg txg) override;
  void untake(Run run, Txg txg) override;
  Task<Run> take_for_log(u32 want);  // Belongs to no group until adopt_for_log().

  void adopt_for_log(Txg txg, Run run) { append(taken_[txg].log, run); }  // Dies with `txg`.
  // At replay: blocks claimed from the Space by the recovery.
  void adopt(Txg txg, Run run) { append(taken_[txg].used, run); }

  struct Taken {
    std::vector<Run> used, log;
  };
  Taken report(Txg txg);         // What the group took; the lane forgets it.
  std::vector<Run> surrender();  // The rest of the grant, when the pool closes.
  Task<> drain() { return refills_.join(); }

 private:
  friend struct TraceTypes;
  Task<Run> cut(u32 want);
  Task<> refill(u64 blocks);
  static void append(std::vector<Run>& runs, Run run);

  Grant grant_;
  std::vector<Run> free_;  // Cut from the back.
  u64 free_blocks_ = 0;
  u64 next_grant_;
  bool refilling_ = false;
  Result<> refill_result_{};
  rt::Event refilled_;
  rt::Scope refills_;
  std::map<Txg, Taken> taken_;
};

}  // namespace coppice::pool
