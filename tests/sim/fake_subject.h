// fake_subject.h — a pool that is right by being simple, and can be wrong on purpose: what the
// oracle is tested on.
#pragma once

#include <array>

#include "subject.h"

namespace coppice::simtest {

enum class FakeBug : u8 {
  none,
  flush_forgets_blocks,  // FLUSH answers, and some blocks are not durable.
  fua_ignored,
  write_tears_block,        // A write in flight at a crash leaves a mixture inside one block.
  neighbour_lost,           // A write of part of a block zeroes the rest.
  snapshot_at_two_moments,  // Of several volumes, one is snapshotted later.
  snapshot_follows_volume,  // A snapshot shows later writes.
  admin_forgotten,          // An answered transaction is not durable.
  batch_half_done,          // A crash leaves half of a transaction.
  old_reads,                // A read returns what was there before the last write.
  rollback_partial,
  resize_keeps_tail,  // What was cut off comes back when the volume grows again.
};
inline constexpr u8 kFakeBugCount = 12;

class FakeMaker final : public SubjectMaker {
 public:
  explicit FakeMaker(u64 seed, FakeBug bug = FakeBug::none) : prng_(seed), bug_(bug) {}
  Task<> create(LaneView sync, std::string name, u64 seed) override;
  Task<std::unique_ptr<Subject>> open(std::vector<LaneView> lanes, SubjectOptions options) override;
  void crash() override;

 private:
  friend class FakeSubject;
  friend class FakeDevice;
  using Bytes = std::array<std::byte, kBlock>;
  using Map = std::map<u64, Bytes>;  // Block -> content; absent: zeroes.
  struct State {
    World names{"tank"};
    std::map<u64, Map> content;  // Of datasets and snapshots, by the model's ids.
  };
  void follow();  // Brings `content` in line with `names` after an operation.
  static void copy_blocks(const Map& from, Map& to, u64 first, u64 last);

  Prng prng_;
  FakeBug bug_;
  State live_;
  State durable_;
  Stamp moment_ = 0;  // Of the last administrative transaction.
};

}  // namespace coppice::simtest
