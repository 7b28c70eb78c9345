#include "pool/lane_space.h"

#include <algorithm>

#include "trace/point.h"

namespace coppice::pool {
namespace {
constexpr u64 kGrantMin = 64;  // 256 KiB.
constexpr u64 kGrantMax = 64_MiB / kBlock;
}  // namespace

LaneSpace::LaneSpace(Grant grant) : grant_(std::move(grant)), next_grant_(kGrantMin) {}

Task<> LaneSpace::refill(u64 blocks) {
  CHECK(refilling_);
  Task<std::vector<Run>> asked = grant_(blocks);
  Result<std::vector<Run>> granted = co_await std::move(asked);
  if (granted) {
    u64 got = 0;
    for (const Run& run : *granted) got += run.count;
    free_blocks_ += got;
    free_.insert(free_.begin(), granted->rbegin(), granted->rend());
    // Given less than asked for, it asks for less, and not before it needs it: space is short.
    next_grant_ = std::clamp(got < blocks ? got : next_grant_ * 2, kGrantMin, kGrantMax);
    refill_result_ = {};
  } else {
    next_grant_ = kGrantMin;
    refill_result_ = std::unexpected(granted.error());
  }
  refilling_ = false;
  refilled_.pulse();
  co_return {};
}

Task<Run> LaneSpace::cut(u32 want) {
  CHECK(want > 0);
  while (free_.empty()) {
    if (!refilling_) {
      refilling_ = true;
      refills_.spawn(refill(std::max<u64>(next_grant_, want)));
    }
    if (refilling_) co_await refilled_.wait();
    if (free_.empty() && !refill_result_) co_return std::unexpected(refill_result_.error());
  }
  Run& last = free_.back();
  const Run run{last.start, std::min(last.count, want)};
  last.start = last.start + run.count;
  last.count -= run.count;
  if (last.count == 0) free_.pop_back();
  free_blocks_ -= run.count;
  if (trace::on(trace::Point::space_take)) [[unlikely]]
    trace::fire(trace::Point::space_take, {this, want, raw(run.start), run.count});
  if (free_blocks_ < next_grant_ / 4 && !refilling_ && next_grant_ > kGrantMin) {
    refilling_ = true;
    refills_.spawn(refill(next_grant_));
  }
  co_return run;
}

void LaneSpace::append(std::vector<Run>& runs, Run run) {
  if (!runs.empty() && runs.back().start + runs.back().count == run.start) {
    runs.back().count += run.count;
  } else {
    runs.push_back(run);
  }
}

Task<Run> LaneSpace::take(u32 want, Txg txg) {
  const Run run = co_await ok(cut(want));
  append(taken_[txg].used, run);
  co_return run;
}

Task<Run> LaneSpace::take_for_log(u32 want) { return cut(want); }

void LaneSpace::untake(Run run, Txg txg) {
  if (run.count == 0) return;
  std::vector<Run>& used = taken_[txg].used;
  const auto within = std::find_if(used.rbegin(), used.rend(), [&](const Run& taken) {
    return raw(taken.start) <= raw(run.start) &&
           raw(run.start) + run.count <= raw(taken.start) + taken.count;
  });
  CHECK(within != used.rend());
  const Run whole = *within;
  used.erase(std::next(within).base());
  const u32 before = static_cast<u32>(raw(run.start) - raw(whole.start));
  const u32 after = whole.count - before - run.count;
  if (before > 0) used.push_back({whole.start, before});
  if (after > 0) used.push_back({run.start + run.count, after});
  free_blocks_ += run.count;
  // Mostly it was cut from what is now the last run. Left beside it, scraps of one block would pile
  // up where the next taker looks, until none of them held a node.
  if (!free_.empty() && run.start + run.count == free_.back().start) {
    free_.back().start = run.start;
    free_.back().count += run.count;
  } else {
    free_.push_back(run);
  }
}

LaneSpace::Taken LaneSpace::report(Txg txg) {
  auto taken = taken_.extract(txg);
  CHECK(taken_.empty() || taken_.begin()->first > txg);
  return taken ? std::move(taken.mapped()) : Taken{};
}

std::vector<Run> LaneSpace::surrender() {
  free_blocks_ = 0;
  return std::exchange(free_, {});
}

}  // namespace coppice::pool
