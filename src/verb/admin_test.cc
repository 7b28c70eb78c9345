// Verbs on a real pool, on a simulated disk: transactions, history, dry runs, and random
// administration beside writes, after which the pool contradicts itself nowhere.
#include "verb/admin.h"

#include <gtest/gtest.h>

#include "sim/disk.h"
#include "sim/scheduler.h"
#include "verb/properties.h"

namespace coppice::verb {
namespace {

class PlainHost final : public Host {
 public:
  std::vector<RunningExport> exports_of(pool::DatasetId) const override { return {}; }
  bool listening(const std::string&) const override { return true; }
  Gate* gate() const override { return keeper; }
  Gate* keeper = nullptr;
};

// Refuses what makes groups or volumes of one name.
class Keeper final : public Gate {
 public:
  std::optional<Refusal> admit(const Question& question) override {
    const auto name = question.arguments.find("name");
    if (name == question.arguments.end() || name->second != Value(std::string("tank/no")))
      return {};
    return Refusal{EPERM,
                   question.caller + (question.in_program ? " program" : "") +
                       (question.dry_run ? " dry" : ""),
                   {}};
  }
};

class Bed {
 public:
  explicit Bed(u64 seed) : scheduler_(seed), media_(64_MiB, seed) {
    for (int i = 0; i < 2; ++i) {
      scheduler_.make_executor();
      disks_.push_back(
          std::make_unique<sim::Disk>(media_, scheduler_.executor(static_cast<size_t>(i))));
      lanes_.push_back({&scheduler_.executor(static_cast<size_t>(i)), disks_.back().get()});
    }
    EXPECT_TRUE(run(pool::Pool::create(lanes_[0], {.name = "tank", .seed = seed, .now_s = 1})));
    auto opened = run(
        pool::Pool::open(lanes_, {.name = "tank", .cache_bytes = 1_MiB, .dirty_bytes_max = 8_MiB}));
    EXPECT_TRUE(opened);
    pool = std::move(*opened);
    admin = std::make_unique<Admin>(*pool, host, scheduler_.executor(0));
  }
  ~Bed() {
    scheduler_.run_for(1'000'000);
    EXPECT_TRUE(run(pool->close()));
  }
  template <class T>
  Result<T> run(Task<T> task) {
    return scheduler_.run(scheduler_.executor(0), std::move(task));
  }
  static Invocation invocation(const std::string& verb, Arguments arguments) {
    return {verb, std::move(arguments), "uid=0", false};
  }
  Outcome verb(const std::string& name, Arguments arguments, bool dry_run = false) {
    Invocation one = invocation(name, std::move(arguments));
    one.dry_run = dry_run;
    auto outcome = run(admin->run(std::move(one)));
    EXPECT_TRUE(outcome);
    return *std::move(outcome);
  }
  // Writes one block of the volume.
  void write(pool::DatasetId id, u64 block) {
    auto handle = run(pool->open_volume(id));
    if (!handle) return;
    blk::Device& device = (*handle)->device();
    if (block * pool::kBlock < device.size_bytes()) {
      const std::vector<std::byte> bytes(pool::kBlock, std::byte(block + 1));
      auto written =
          scheduler_.run(device.executor(), device.write(block * pool::kBlock, bytes, {}));
      EXPECT_TRUE(written);
    }
    handle->reset();
    scheduler_.run_for(100'000);
  }
  sim::Scheduler& scheduler() { return scheduler_; }
  std::unique_ptr<pool::Pool> pool;
  std::unique_ptr<Admin> admin;
  PlainHost host;

 private:
  sim::Scheduler scheduler_;
  sim::Media media_;
  std::vector<std::unique_ptr<sim::Disk>> disks_;
  std::vector<pool::Lane> lanes_;
};

TEST(Admin, CommitsAVerbWithItsHistory) {
  Bed bed(1);
  const Outcome made = bed.verb("create", {{"name", "tank/v"}, {"size", u64{1_MiB}}});
  ASSERT_FALSE(made.refusal) << made.refusal->message;
  EXPECT_EQ(made.report.created, Names{"tank/v"});
  EXPECT_NE(raw(made.txg), 0u);
  EXPECT_EQ(bed.pool->catalog().dataset(find_dataset(bed.pool->catalog(), "tank/v"))->createtxg,
            made.txg);
  const Outcome refused = bed.verb("create", {{"name", "tank/v"}});
  ASSERT_TRUE(refused.refusal);
  EXPECT_EQ(refused.refusal->error, EEXIST);
  EXPECT_EQ(bed.verb("fly", {}).refusal->message, "there is no verb 'fly'");
  const auto history = bed.run(bed.pool->history(0, 10));
  ASSERT_TRUE(history);
  ASSERT_EQ(history->size(), 1u);
  EXPECT_EQ(history->front().who, "uid=0");
  EXPECT_EQ(history->front().command, "create tank/v size=1048576");
  EXPECT_EQ(history->front().result, "ok");
  EXPECT_EQ(history->front().effects,
            R"({"verbs":[{"verb":"create","arguments":{"name":"tank/v","size":1048576}}],)"
            R"("changes":{"created":["tank/v"]}})");
}

TEST(Admin, ManyAreAllOrNothing) {
  Bed bed(2);
  std::vector<Invocation> work;
  work.push_back(Bed::invocation("create", {{"name", "tank/v"}, {"size", "1M"}}));
  work.push_back(Bed::invocation("snapshot", {{"names", "tank/v@s"}}));
  work.push_back(Bed::invocation("clone", {{"snapshot", "tank/v@s"}, {"name", "tank/v"}}));
  auto outcome = bed.run(bed.admin->run_many(work));
  ASSERT_TRUE(outcome && outcome->refusal);
  EXPECT_EQ(outcome->refused_at, 2u);
  EXPECT_EQ(raw(find_dataset(bed.pool->catalog(), "tank/v")), 0u);
  work[2].arguments["name"] = "tank/c";
  outcome = bed.run(bed.admin->run_many(work));
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->refusal);
  EXPECT_EQ(outcome->report.created, (Names{"tank/v", "tank/v@s", "tank/c"}));
}

TEST(Admin, ADryRunTellsAndChangesNothing) {
  Bed bed(3);
  ASSERT_FALSE(bed.verb("create", {{"name", "tank/v"}, {"size", "1M"}}).refusal);
  const pool::DatasetId id = find_dataset(bed.pool->catalog(), "tank/v");
  bed.write(id, 0);
  ASSERT_FALSE(bed.verb("snapshot", {{"names", "tank/v@s"}}).refusal);
  bed.write(id, 0);
  ASSERT_TRUE(bed.run(bed.pool->sync()));
  const Outcome dry = bed.verb("destroy", {{"names", "tank/v@s"}}, true);
  ASSERT_FALSE(dry.refusal);
  EXPECT_EQ(dry.report.destroyed, Names{"tank/v@s"});
  EXPECT_GE(dry.reclaim_bytes, pool::kBlock);
  EXPECT_NE(raw(find_snapshot(bed.pool->catalog(), "tank/v@s")), 0u);

  PoolFacts facts(*bed.pool, bed.host, 5);
  Reader reader(bed.pool->catalog(), facts, bed.pool.get());
  const Target target = *find_target(bed.pool->catalog(), "tank/v@s");
  const auto used = bed.run(reader.get(target, "used"));
  ASSERT_TRUE(used && *used && **used);
  EXPECT_EQ((**used)->raw, std::to_string(dry.reclaim_bytes));
}

// A verb that the gate refuses undoes what was done before it in its transaction.
TEST(Admin, AsksTheGateBeforeEachVerb) {
  Bed bed(5);
  Keeper keeper;
  bed.host.keeper = &keeper;
  EXPECT_EQ(bed.verb("create", {{"name", "tank/no"}}).refusal, (Refusal{EPERM, "uid=0", {}}));
  EXPECT_EQ(bed.verb("create", {{"name", "tank/no"}}, true).refusal,
            (Refusal{EPERM, "uid=0 dry", {}}));
  std::vector<Invocation> work;
  work.push_back(Bed::invocation("create", {{"name", "tank/yes"}}));
  work.push_back(Bed::invocation("create", {{"name", "tank/no"}}));
  const auto outcome = bed.run(bed.admin->run_many(work));
  ASSERT_TRUE(outcome && outcome->refusal);
  EXPECT_EQ(outcome->refused_at, 1u);
  EXPECT_EQ(raw(find_dataset(bed.pool->catalog(), "tank/yes")), 0u);
  bed.host.keeper = nullptr;
  EXPECT_FALSE(bed.verb("create", {{"name", "tank/no"}}).refusal);
}

// What one transaction makes and destroys again is as if it had never been.
TEST(Admin, MadeAndDestroyedInOneTransaction) {
  Bed bed(4);
  std::vector<Invocation> work;
  work.push_back(Bed::invocation("create", {{"name", "tank/v"}, {"size", "1M"}}));
  work.push_back(Bed::invocation("snapshot", {{"names", "tank/v@s"}}));
  work.push_back(Bed::invocation("clone", {{"snapshot", "tank/v@s"}, {"name", "tank/c"}}));
  work.push_back(Bed::invocation("promote", {{"name", "tank/c"}}));
  work.push_back(Bed::invocation("rollback", {{"name", "tank/c@s"}}));
  work.push_back(Bed::invocation("destroy", {{"names", "tank/c"}, {"clones", "yes"}}));
  const auto outcome = bed.run(bed.admin->run_many(std::move(work)));
  ASSERT_TRUE(outcome);
  ASSERT_FALSE(outcome->refusal) << outcome->refusal->message;
  ASSERT_TRUE(bed.run(bed.pool->wait_for_jobs()));
  const auto contradictions = bed.run(bed.pool->check());
  ASSERT_TRUE(contradictions);
  EXPECT_EQ(*contradictions, std::vector<std::string>{});
}

class Chooser {
 public:
  explicit Chooser(Prng& prng) : prng_(prng) {}
  Invocation any() {
    switch (prng_.below(9)) {
      case 0: return Bed::invocation("create", {{"name", name()}, {"size", "64K"}});
      case 1:
      case 2: return Bed::invocation("snapshot", {{"names", snapshot()}});
      case 3: return Bed::invocation("clone", {{"snapshot", snapshot()}, {"name", name()}});
      case 4: return Bed::invocation("promote", {{"name", name()}});
      case 5: return Bed::invocation("rollback", {{"name", snapshot()}, {"recursive", "yes"}});
      case 6: return Bed::invocation("destroy", {{"names", snapshot()}, {"defer", "yes"}});
      case 7:
        return Bed::invocation(
            "destroy", {{"names", name()}, {"clones", prng_.chance(1, 2)}, {"recursive", true}});
      default:
        return Bed::invocation("resize", {{"name", name()}, {"size", u64{4096} << prng_.below(6)}});
    }
  }
  std::string name() { return "tank/" + std::to_string(prng_.below(5)); }
  std::string snapshot() { return name() + "@" + std::to_string(prng_.below(5)); }

 private:
  Prng& prng_;
};

TEST(Admin, RandomTransactionsBesideWritesLeaveASoundPool) {
  size_t verbs_done = 0;
  for (u64 seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Bed bed(seed);
    Prng prng(seed);
    Chooser chooser(prng);
    for (int round = 0; round < 60; ++round) {
      std::vector<Invocation> work;
      for (u64 verbs = 1 + prng.below(30); verbs > 0; --verbs) work.push_back(chooser.any());
      // What is refused is left out, until the rest goes through as one transaction.
      while (!work.empty()) {
        auto outcome = bed.run(bed.admin->run_many(work));
        ASSERT_TRUE(outcome);
        if (!outcome->refusal) break;
        ASSERT_NE(outcome->refusal->error, EIO) << outcome->refusal->message;
        work.erase(work.begin() + static_cast<std::ptrdiff_t>(outcome->refused_at));
      }
      verbs_done += work.size();
      for (int writes = 0; writes < 3; ++writes) {
        const auto id = find_dataset(bed.pool->catalog(), chooser.name());
        if (raw(id) != 0) bed.write(id, prng.below(16));
      }
      if (round % 20 != 19) continue;
      ASSERT_TRUE(bed.run(bed.pool->wait_for_jobs()));
      const auto contradictions = bed.run(bed.pool->check());
      ASSERT_TRUE(contradictions) << describe(contradictions.error());
      ASSERT_EQ(*contradictions, std::vector<std::string>{});
    }
  }
  EXPECT_GT(verbs_done, 2000u) << "most were refused: this proves little";
}

}  // namespace
}  // namespace coppice::verb
