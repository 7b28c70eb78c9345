// Programs in real interpreters: what coppice-lua's processes do, and what becomes of them.
#include "channel/nursery.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/syscall.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include "channel/testing/workshop.h"

namespace coppice::channel {
namespace {

using message::List;
using message::Value;
using testing::HasSubstr;

// Acts on the interpreter as soon as its program says anything.
class Meddler final : public Observer {
 public:
  bool traces() const override { return true; }
  Task<> saw(VerbEvent event) override {
    ++events;
    if (event.mode == "note" && act) act();
    co_return {};
  }
  bool decides() const override { return false; }
  Task<bool> agree(std::string) override { co_return true; }
  std::function<void()> act;
  size_t events = 0;
};

class RealPrograms : public testing::Test {
 protected:
  static constexpr u64 kStallNs = 1'000'000'000;
  void SetUp() override {
    auto zygote = Zygote::start(COPPICE_LUA_PATH);
    ASSERT_TRUE(zygote) << describe(zygote.error());
    zygote_pid = (*zygote)->pid();
    nursery = std::make_unique<Nursery>(workshop.sync(), *std::move(zygote));
    ASSERT_TRUE(workshop.run(nursery->open()));
    const Limits limits{.cpu_ns_max = 1'000'000'000, .stall_ns_max = kStallNs};
    programs = std::make_unique<Programs>(*nursery, workshop.sync(), limits);
  }
  void TearDown() override {
    if (!nursery) return;
    EXPECT_TRUE(workshop.run(programs->close()));
    EXPECT_TRUE(workshop.run(nursery->close()));
  }
  Program program(std::string source, bool sync = true) {
    return {.name = "test.lua",
            .source = std::move(source),
            .arguments = {"one", "two"},
            .sync = sync,
            .instructions_max = 100'000'000,
            .caller = "uid=0"};
  }
  Outcome run(std::string source, bool sync = true, Observer* observer = nullptr) {
    auto outcome = workshop.run(programs->run(next_id++, workshop.pool(), workshop.exports,
                                              program(std::move(source), sync), observer));
    EXPECT_TRUE(outcome);
    return *std::move(outcome);
  }
  u32 pid_of_running() {
    const auto views = programs->views();  // On the sync lane: called from saw().
    return views.empty() ? 0 : views.front().pid;
  }
  static bool alive(u32 pid) { return ::kill(static_cast<pid_t>(pid), 0) == 0; }
  // Processes are killed at once, and end soon.
  static bool ends(u32 pid) {
    for (int i = 0; i < 500 && alive(pid); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return !alive(pid);
  }
  // Runs a program that notes something, and waits until its process is gone.
  u32 pid_of(std::string source, u64 memory_bytes_max = 0) {
    Meddler meddler;
    u32 pid = 0;
    meddler.act = [&] { pid = pid_of_running(); };
    Program what = program(std::move(source), false);
    what.memory_bytes_max = memory_bytes_max;
    auto outcome = workshop.run(
        programs->run(next_id++, workshop.pool(), workshop.exports, std::move(what), &meddler));
    EXPECT_TRUE(outcome);
    EXPECT_EQ(outcome->error, 0) << outcome->message;
    EXPECT_TRUE(ends(pid));
    return pid;
  }
  std::vector<u32> children() const {  // Of the zygote.
    const std::string own = std::to_string(zygote_pid);
    std::ifstream list("/proc/" + own + "/task/" + own + "/children");
    return {std::istream_iterator<u32>(list), {}};
  }
  static Task<u32> ask_for_spare(const Nursery& nursery) { co_return nursery.spare_pid(); }
  u32 wait_for_spare() {  // 0: none comes.
    u32 pid = 0;
    for (int i = 0; i < 500 && pid == 0; ++i) {
      if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      pid = workshop.run(ask_for_spare(*nursery)).value_or(0);
    }
    return pid;
  }
  void expect_well() { EXPECT_EQ(run("return 1").error, 0); }

  Workshop workshop{{}};
  std::unique_ptr<Nursery> nursery;
  std::unique_ptr<Programs> programs;
  ProgramId next_id = 1000;
  pid_t zygote_pid = 0;
};

TEST_F(RealPrograms, DoWhatTheySay) {
  const Outcome outcome = run(R"(
    local arguments = ...
    assert(pool.sync.create{"tank/v", size = 1048576} == 0)
    assert(pool.sync.snapshot("tank/v@a") == 0)
    local names = {}
    for name in pool.list.snapshots("tank/v") do names[#names + 1] = name end
    return {arguments.argv[2], names, (pool.get("tank/v", "volsize"))})");
  ASSERT_EQ(outcome.error, 0) << outcome.message << outcome.traceback;
  EXPECT_GT(outcome.instructions, 0U);
  EXPECT_GT(outcome.memory_peak_bytes, 0U);
  EXPECT_NE(raw(find_snapshot(workshop.pool().catalog(), "tank/v@a")), 0U);
}

// A host with two objects loaded.
class Filters final : public verb::Host {
 public:
  std::vector<verb::RunningExport> exports_of(pool::DatasetId) const override { return {}; }
  bool listening(const std::string&) const override { return true; }
  std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(
      std::string_view hash) const override {
    if (hash != kOld && hash != kNew) return std::nullopt;
    return pool::SharedValue<pool::StoredObject>({.hash = std::string(hash),
                                                  .name = {},
                                                  .bytes = "object",
                                                  .settings = {},
                                                  .programs = {{"limit", "volume.submit", {}}}});
  }
  static inline const std::string kOld = std::string(pool::kObjectHashBytes, 'a');
  static inline const std::string kNew = std::string(pool::kObjectHashBytes, 'b');
};

// One transaction takes the snapshot and swaps the filters: both, or neither.
TEST_F(RealPrograms, SnapshotAVolumeAndSwapItsFilters) {
  const Filters filters;
  const auto run_with = [&](std::string source) {
    Program what = program(std::move(source));
    what.arguments = {Filters::kOld, Filters::kNew};
    auto outcome =
        workshop.run(programs->run(next_id++, workshop.pool(), filters, std::move(what), nullptr));
    EXPECT_TRUE(outcome);
    return *std::move(outcome);
  };
  const Outcome made = run_with(
      "local old = (...).argv[1] assert(0 == pool.sync.create{'tank/f', size = '1M'})"
      "assert(0 == pool.sync.link('tank/f', old, 'limit', 'l'))");
  ASSERT_EQ(made.error, 0) << made.message;
  const std::string swap =
      "local new = (...).argv[2] assert(0 == pool.sync.snapshot('tank/f@before'))"
      "assert(0 == pool.sync.relink{'l', new, expect = (...).argv[1]})"
      "for name, target, hook, object in pool.list.links('tank/f') do assert(object == new) end ";
  const pool::Catalog& catalog = workshop.pool().catalog();
  EXPECT_NE(run_with(swap + "error('no')").error, 0);
  EXPECT_EQ(raw(find_snapshot(catalog, "tank/f@before")), 0U);
  EXPECT_EQ(find_link(catalog, "l")->object, Filters::kOld);
  const Outcome swapped = run_with(swap + "return true");
  ASSERT_EQ(swapped.error, 0) << swapped.message;
  EXPECT_NE(raw(find_snapshot(catalog, "tank/f@before")), 0U);
  EXPECT_EQ(find_link(catalog, "l")->object, Filters::kNew);
  EXPECT_EQ(catalog.objects(), std::vector<std::string>{Filters::kNew});
  ASSERT_EQ(swapped.effects.size(), 1U);
  EXPECT_EQ(std::get<verb::LinksChanged>(swapped.effects[0]).name, "tank/f");
  EXPECT_NE(run_with(swap).error, 0) << "the expected object is the old one";
}

TEST_F(RealPrograms, EndByCause) {
  const Outcome failed = run("pool.sync.create('tank/x') error('boom')");
  EXPECT_EQ(failed.error, ECHRNG);
  EXPECT_THAT(failed.message, HasSubstr("boom"));
  EXPECT_FALSE(failed.traceback.empty());
  EXPECT_EQ(raw(find_dataset(workshop.pool().catalog(), "tank/x")), 0U);
  EXPECT_EQ(run("this is no Lua").error, EINVAL);
  EXPECT_EQ(run("while true do end").error, ETIME);
  EXPECT_EQ(run("local t = {} while true do t[#t + 1] = {} end").error, ENOSPC);
  EXPECT_EQ(run("return function() end").error, EINVAL);
  const Outcome read_only = run("pool.sync.create('tank/x')", false);
  EXPECT_EQ(read_only.error, ECHRNG);
  EXPECT_THAT(read_only.message, HasSubstr("requires passing sync=TRUE"));
  expect_well();
}

TEST_F(RealPrograms, DieOfASignal) {
  Meddler meddler;
  u32 pid = 0;
  meddler.act = [&] { pid = pid_of_running(), ::kill(static_cast<pid_t>(pid), SIGSEGV); };
  const Outcome outcome =
      run("pool.sync.create('tank/x') pool.note('now') while true do end", true, &meddler);
  EXPECT_EQ(outcome.error, EIO) << outcome.message;
  // Sanitizers meddle with the signal, and the seal with them: by another signal, then.
  EXPECT_THAT(outcome.message, HasSubstr("its interpreter was killed by SIG"));
  ASSERT_NE(pid, 0U);
  EXPECT_FALSE(alive(pid));
  EXPECT_EQ(raw(find_dataset(workshop.pool().catalog(), "tank/x")), 0U);
  expect_well();
}

TEST_F(RealPrograms, AreKilledWhenTheyHang) {
  Meddler meddler;
  u32 pid = 0;
  meddler.act = [&] { pid = pid_of_running(), ::kill(static_cast<pid_t>(pid), SIGSTOP); };
  const Outcome outcome =
      run("pool.sync.create('tank/x') pool.note('now') return 1", true, &meddler);
  EXPECT_EQ(outcome.error, ETIME) << outcome.message;
  EXPECT_THAT(outcome.message, HasSubstr("hung"));
  EXPECT_LT(outcome.elapsed_ns, 10 * kStallNs);
  ASSERT_NE(pid, 0U);
  EXPECT_TRUE(ends(pid));
  expect_well();
}

// Patterns run long within one instruction.
TEST_F(RealPrograms, AreKilledByTheirCpuLimit) {
  const Outcome outcome = run(R"(
    pool.sync.create('tank/x')
    return string.find(string.rep('a', 100000), string.rep('.-', 30) .. 'b'))");
  EXPECT_EQ(outcome.error, ETIME) << outcome.message;
  EXPECT_EQ(raw(find_dataset(workshop.pool().catalog(), "tank/x")), 0U);
  expect_well();
}

TEST_F(RealPrograms, FailClearlyOnceTheZygoteIsGone) {
  expect_well();
  ASSERT_EQ(::kill(zygote_pid, SIGKILL), 0);
  Outcome outcome;
  for (int tries = 0; tries < 100 && outcome.error == 0; ++tries) outcome = run("return 1");
  EXPECT_NE(outcome.error, 0);
  EXPECT_THAT(outcome.message, HasSubstr("the interpreter's nursery is gone: restart coppiced"));
  EXPECT_THAT(run("return 1").message, HasSubstr("restart coppiced"));
}

TEST_F(RealPrograms, RunningWhenTheZygoteDiesAreOver) {
  Meddler meddler;
  u32 pid = 0;
  meddler.act = [&] { pid = pid_of_running(), ::kill(zygote_pid, SIGKILL); };
  const Outcome outcome =
      run("pool.sync.create('tank/x') pool.note('now') while true do pool.exists('tank') end", true,
          &meddler);
  EXPECT_NE(outcome.error, 0);
  ASSERT_NE(pid, 0U);
  EXPECT_TRUE(ends(pid));
  EXPECT_EQ(raw(find_dataset(workshop.pool().catalog(), "tank/x")), 0U);
}

TEST_F(RealPrograms, LeaveNoDescriptorOrProcessBehind) {
  const auto count = [] {
    size_t open = 0;
    for (int fd = 0; fd < 1024; ++fd) open += ::fcntl(fd, F_GETFD) >= 0;
    return open;
  };
  // All that stays is the spare process, with its socket and its pidfd.
  const size_t before = count() + 2;
  const auto settled = [&] {
    for (int i = 0; i < 500 && (count() != before || children().size() != 1); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return count() == before && children().size() == 1;
  };
  expect_well();
  EXPECT_TRUE(settled());
  for (int i = 0; i < 50; ++i) run(i % 2 == 0 ? "return 1" : "error('x')", i % 3 == 0);
  EXPECT_TRUE(settled());
}

TEST_F(RealPrograms, EachHasAProcessOfItsOwnThoughOneIsReadyBefore) {
  std::set<u32> seen;
  u32 spare = 0;
  for (int i = 0; i < 5; ++i) {
    // What one leaves behind no other finds.
    const u32 pid = pid_of("assert(left == nil) left = 1 pool.note('now')");
    EXPECT_TRUE(seen.insert(pid).second);
    if (i > 0) {
      EXPECT_EQ(pid, spare);
    }
    spare = wait_for_spare();
    ASSERT_NE(spare, 0U);
  }
}

TEST_F(RealPrograms, GoOnWhenTheSpareProcessWasKilledOrDoesNotFit) {
  pid_of("pool.note('now')");
  const u32 killed = wait_for_spare();
  ASSERT_NE(killed, 0U);
  ASSERT_EQ(::kill(static_cast<pid_t>(killed), SIGKILL), 0);
  for (int i = 0; i < 500 && workshop.run(ask_for_spare(*nursery)).value_or(0) == killed; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_NE(pid_of("pool.note('now')"), killed);
  const u32 small = wait_for_spare();
  ASSERT_NE(small, 0U);
  // One with other limits must not be used: its memory is capped already.
  const u64 large = 64_MiB;
  EXPECT_NE(pid_of("pool.note(tostring(#string.rep('x', 2^24)))", large), small);
  EXPECT_TRUE(ends(small));
  const u32 spare = wait_for_spare();
  ASSERT_NE(spare, 0U);
  EXPECT_EQ(pid_of("pool.note('now')", large), spare);
}

// How fast: printed, for limits that hold in every build would say nothing.
TEST_F(RealPrograms, Speed) {
  const auto lap = [&](const char* what, std::string source, double per, bool sync) {
    const Outcome outcome = run(std::move(source), sync);
    ASSERT_EQ(outcome.error, 0) << outcome.message;
    std::printf("%s: %.2f us each\n", what, static_cast<double>(outcome.elapsed_ns) / 1000 / per);
  };
  for (int i = 0; i < 20; ++i) run("return 1", false);
  lap("empty program, read-only", "return 1", 1, false);
  lap("round trip (exists)", "for i = 1, 20000 do pool.exists('tank') end", 20000, false);
  lap("create of a volume",
      "for i = 1, 10000 do assert(pool.sync.create{'tank/v' .. i, size = 1048576} == 0) end", 10000,
      true);
}

TEST(Zygote, ThatIsNotThereIsAnError) {
  const auto zygote = Zygote::start("/nonexistent/coppice-lua");
  ASSERT_FALSE(zygote);
  EXPECT_THAT(describe(zygote.error()), HasSubstr("/nonexistent/coppice-lua"));
}

}  // namespace
}  // namespace coppice::channel
