// hook/testing/bed.h — Bed: a table of links, lanes and volumes in the simulator.
#pragma once

#include "hook/hooked_device.h"
#include "hook/sink.h"
#include "hook/table.h"
#include "hook/testing/workshop.h"
#include "sim/scheduler.h"

namespace coppice::hook::testing {

inline constexpr u64 kPool = 0x7ab1e;
inline constexpr u64 kVolumeBytes = u64{1} << 20;

// A volume in memory, that remembers how it was asked.
class MemoryVolume final : public blk::Device {
 public:
  explicit MemoryVolume(rt::Executor& executor, u64 size_bytes = kVolumeBytes)
      : executor_(executor), bytes_(size_bytes) {}
  rt::Executor& executor() override { return executor_; }
  u64 size_bytes() const override { return bytes_.size(); }
  bool read_only() const override { return false; }
  Task<> read(u64 offset, std::span<std::byte> into) override;
  Task<> write(u64 offset, std::span<const std::byte> from, blk::WriteOptions options) override;
  Task<> zero(u64 offset, u64 length, blk::WriteOptions options) override;
  Task<> discard(u64 offset, u64 length, blk::WriteOptions options) override;
  Task<> flush() override;
  Task<std::vector<blk::Extent>> extents(u64 offset, u64 length, size_t count_max) override;
  Task<> prefetch(u64 offset, u64 length) override;

  u64 takes_ns_max = 0;  // A request takes up to so long: by its number.
  bool fails = false;
  u64 requests = 0;
  blk::WriteOptions last = {};
  std::span<std::byte> bytes() { return bytes_; }

 private:
  Task<> arrive();
  rt::Executor& executor_;
  std::vector<std::byte> bytes_;
};

// Datasets by number, each below another one. 1 is the pool's root.
class Family final : public Table::Datasets {
 public:
  std::vector<Target> path_of(const Target& dataset) const override;
  std::map<u64, u64> parents = {{1, 0}};
};

class To final : public Redirect {
 public:
  explicit To(blk::Device& device) : device_(device) {}
  blk::Device& device() override { return device_; }

 private:
  blk::Device& device_;
};

constexpr Target dataset(u64 id) { return {.pool = kPool, .dataset = id}; }

// A link as it is before it is put into a draft.
struct Order {
  Target target = dataset(1);
  const PointType* type = nullptr;
  std::shared_ptr<const Instance> instance = {};
  std::string program = {};
  Options options = {};
  std::vector<std::shared_ptr<Redirect>> redirects = {};
};
Link link_of(Table& table, Order order);

class Bed {
 public:
  // Lane 0 is the table's home; all tracepoints of this thread are seen by it.
  Bed(Workshop& workshop, u64 seed, u32 lane_count = 1);
  Bed(const Bed&) = delete;
  ~Bed();

  Lane& lane(size_t number = 0) { return *lanes_.at(number); }
  rt::Executor& executor(size_t number = 0) { return lane(number).executor(); }
  sim::Scheduler& scheduler() { return scheduler_; }
  Workshop& workshop() { return workshop_; }
  Table& table() { return *table_; }
  Family& family() { return family_; }
  Dispatch& dispatch() { return dispatch_; }
  std::vector<std::string>& logged() { return logged_; }
  std::function<void()> when_logged = [] {};

  // At once, by a draft of its own.
  LinkId attach(Order order, Place place = {});
  void detach(LinkId id);
  // A link of scripted.c's `decide`, with an instance of its own.
  struct Scripted {
    LinkId id;
    std::shared_ptr<const Instance> instance;
  };
  Scripted decide(const Script& script, u64 target = 1, Order order = {}, Place place = {});

  Result<> run(Task<> task, size_t lane = 0) {
    return scheduler_.run(executor(lane), std::move(task));
  }
  void settle() { CHECK(run(table_->settled()).has_value()); }

 private:
  sim::Scheduler scheduler_;
  Workshop& workshop_;
  Dispatch dispatch_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::string> logged_;
  Family family_;
  std::unique_ptr<Table> table_;
  Sink sink_;
};

}  // namespace coppice::hook::testing
