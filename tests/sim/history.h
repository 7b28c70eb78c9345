// history.h — one simulated life story of a pool: work, crashes, recoveries, all decided by one
// seed.
//
// Theory. A history is a row of lives on one simulated disk. A life opens the pool, compares all it
// sees with the model (World), works on it with requests running side by side on several lanes, and
// ends by closing, by kill -9 or by power loss at a random request to the disk. What was in flight
// at a crash becomes a set of possible Worlds; the next life finds out which one it is, and there
// must be one. Two classes of faults are kept apart: those that lose nothing (crashes, failing
// requests), and those that may only be noticed (bit rot, misdirected and lost writes): under these
// everything may fail, but nothing may be read that was not written.
//   A crashed life's coroutines are left behind unfreed: a history is meant to run in a process of
//   its own.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/prng.h"
#include "plan.h"
#include "rt/scope.h"
#include "sim/disk.h"
#include "sim/media.h"
#include "sim/scheduler.h"
#include "subject.h"
#include "world.h"

namespace coppice::simtest {

struct HistoryCounts {
  u64 lives = 0, crashes = 0, reads = 0, writes = 0, flushes = 0, admin = 0, refused = 0,
      errors = 0, requests = 0;
};

class History {
 public:
  using Print = std::function<void(const std::string&)>;
  // `print` is told of every operation, if it is set.
  History(Plan plan, SubjectMaker& maker, Print print = {});
  ~History();
  // Empty, or the first contradiction.
  std::string run();
  const HistoryCounts& counts() const { return counts_; }
  u64 script_requests() const { return script_requests_; }      // To the disk, by the whole script.
  u64 recovery_requests() const { return recovery_requests_; }  // By opening after its crash.

 private:
  enum class End { closed, crashed };
  struct Machine;    // Scheduler, lanes and disks of one life.
  struct InFlight {  // An administrative transaction.
    u64 id;
    std::vector<AdminOp> ops;
    Stamp asked;
    std::set<u64> touches;  // Datasets.
    bool unknown = false;   // Answered with an error that leaves it open.
  };

  // history.cc: lives.
  End live();
  Task<> run_life(std::vector<LaneView> lanes);
  void crash();
  void damage();  // Faults at rest, between two lives.
  void start_failing();
  void start_lying();
  Task<> end_life();
  Task<> close_all();
  Task<> check(const char* when);
  Task<> destroy_everything();

  // recover.cc: comparing what is there with what may be there.
  Task<> recognise();
  Task<std::string> compare(World& world);
  Task<std::string> compare_volume(World& world, u64 id);
  Task<std::string> compare_snapshot(World& world, u64 id);

  // requests.cc: reads and writes.
  Task<> work(u64 steps);
  Task<> start_request();
  void start_change(u64 id, blk::Device& device);
  Task<> change(u64 id, blk::Device& device, Change change, blk::WriteOptions options,
                bool discard);
  Task<> write_in_turns(std::vector<std::pair<u64, blk::Device*>> volumes, u64 count);
  Task<> start_turns();
  Task<> read(u64 id, blk::Device& device, u64 offset, u64 length);
  Task<> read_extents(u64 id, blk::Device& device);
  Task<> flush(u64 id, blk::Device& device);
  Task<> look_into_snapshot(u64 id);
  Task<> sync();
  Task<> scrub();
  void failed(const char* what, const Error& error);
  std::pair<u64, u64> pick_range(u64 size_bytes);
  u64 pick_volume();
  Task<blk::Device*> device(u64 id);

  // admin.cc: administration.
  Task<> start_admin();
  Task<> administrate(std::vector<AdminOp> ops, std::set<u64> touches);
  std::optional<AdminOp> pick_admin();
  AdminOp pick_create(bool volume);
  AdminOp pick_destroy();
  AdminOp pick_snapshot();
  AdminOp pick_rename();
  AdminOp pick_links();
  std::string pick_group();
  u64 pick_size();
  u64 pick_snapshot_of_volume();
  std::set<u64> touched(const AdminOp& op) const;
  Task<> quiesce();  // Waits for all that is in flight.
  std::string fresh_name(const char* stem);

  // script.cc: a given workload.
  Task<> play();
  Task<> play_letter(char letter);
  Task<> write_now(const char* path, u64 offset, u64 length, bool zero, bool discard, bool fua);
  Task<> flush_now(const char* path);
  Task<> administrate_now(AdminOp op);

  void note(const std::string& line);
  void wrong(std::string what);  // The first one counts.
  bool tolerates(const Error& error) const;
  Stamp tick() { return ++now_; }
  Stamp floor() const;

  Plan plan_;
  SubjectMaker& maker_;
  Print print_;
  Prng prng_;
  sim::Media media_;
  World world_;
  std::vector<World> possible_;  // After a crash, until the next life has recognised one.
  Stamp now_ = 0;
  u64 ids_ = 0;
  u64 names_ = 0;
  std::string violation_;
  HistoryCounts counts_;

  // Of the life at hand.
  std::unique_ptr<Machine> machine_;
  rt::Executor* sync_lane_ = nullptr;
  std::unique_ptr<Subject> subject_;
  rt::Scope* scope_ = nullptr;
  std::map<u64, std::unique_ptr<Opened>> open_;
  std::multiset<Stamp> watching_;  // Since when the reads and snapshots in flight look.
  std::vector<InFlight> admin_;
  size_t requests_running_ = 0;
  bool faulty_ = false;  // Requests to the disk may fail now.
  bool flushes_fail_ = false;
  bool damaged_ = false;      // The disk may have lied: everything may fail, for good.
  bool life_failed_ = false;  // The engine gave up in this life.
  bool closed_ = false;
  bool alone_ = false;  // A transaction is in flight beside which no other may be started, nor a
                        // snapshot read.
  u64 errors_ = 0;      // Tolerated ones, in this life.
  u64 life_ = 0;
  u64 disk_requests_ = 0;
  u64 crash_at_ = kForever;
  u64 fresh_user_blocks_ = 0;
  u64 script_requests_ = 0;
  u64 recovery_requests_ = 0;
};

}  // namespace coppice::simtest
