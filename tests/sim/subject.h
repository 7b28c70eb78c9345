// subject.h — what a history drives: the real pool, or a perfect one in memory on which the oracle
// itself is tested.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "blk/device.h"
#include "sim/disk.h"
#include "world.h"

namespace coppice::simtest {

struct AdminAnswer {
  bool done = false;
  bool committed = true;  // Done, and there was something to do: a group was committed.
  bool unknown = false;  // Refused by the engine after it was accepted: it may yet survive a crash.
  Errc error{};          // Not done: the nearest kind of error.
  std::string why;
};

struct SubjectOptions {
  u64 seed = 0;
  u64 group_ns = 5'000'000'000;
  u64 dirty_bytes_max = 64_MiB;
  u64 cache_bytes = 4_MiB;
  u64 node_cache_bytes = 1_MiB;
};

struct LaneView {
  rt::Executor* executor;
  io::Disk* disk;
};

class Opened {
 public:
  virtual ~Opened() = default;
  virtual blk::Device& device() = 0;
};

// An open pool. Everything is called on the first lane, the sync lane.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual Task<> close() = 0;
  virtual Task<AdminAnswer> admin(std::vector<AdminOp> ops) = 0;  // All in one transaction.
  virtual std::map<std::string, std::string> list() = 0;          // As World::list().
  virtual Task<std::unique_ptr<Opened>> open(
      std::string name) = 0;  // A volume, or a volume's snapshot.
  virtual Task<> sync() = 0;
  virtual Task<>
  scrub() = 0;  // Starts one and waits until it has ended. An error: damage was found.
  virtual Task<> wait_for_jobs() = 0;
  virtual Task<std::vector<std::string>> check() = 0;
  struct Space {
    u64 user_blocks = 0;  // Used by volumes and snapshots.
    u64 free_blocks = 0;
    u64 total_blocks = 0;
    bool failed = false;  // The engine stopped taking changes.
  };
  virtual Task<Space> space() = 0;
};

class SubjectMaker {
 public:
  virtual ~SubjectMaker() = default;
  virtual Task<> create(LaneView sync, std::string name, u64 seed) = 0;
  virtual Task<std::unique_ptr<Subject>> open(std::vector<LaneView> lanes,
                                              SubjectOptions options) = 0;
  virtual void crash() {}  // The engine in memory is gone.
};

}  // namespace coppice::simtest
