// How programs end: every cause has its errno, nothing of a failed one is left but its record, and
// nothing that an interpreter sends harms anybody else.
#include "channel/programs.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "channel/clerk.h"
#include "channel/testing/stage.h"

namespace coppice::channel {
namespace {

using message::Answer;
using message::Ask;
using message::Call;
using message::End;
using message::Ending;
using message::List;
using message::Value;
using testing::HasSubstr;

// A script that makes tank/x first, so that there is something to be undone.
struct Scene {
  enum class Act : u8 {
    end,
    hang,
    compute,
    vanish,
    segv,
    prof,
    exit,
    raw,
    half,
    flood,
    two_asks,
    ask_begin,
    answer,
    unread
  } act = Act::end;
  End end{};
  std::vector<std::byte> bytes{};
  std::vector<Ask> asks{};
  size_t flood = 0;
  size_t answered = 0;

  static Task<> play(Scene& self, Peer& peer) {
    Task<message::Begin> beginning = peer.begin();
    co_await ok(std::move(beginning));
    Task<Answer> making = peer.ask(do_verb("create", {"tank/x"}));
    co_await ok(std::move(making));
    for (size_t i = 0; i < self.asks.size(); ++i) {
      Task<Answer> asking = peer.ask(self.asks[i]);
      co_await ok(std::move(asking));
    }
    for (size_t i = 0; i < self.flood; ++i) {
      Task<Answer> asking = peer.ask(ask(Call::exists, {"tank/x"}));
      co_await ok(std::move(asking));
      ++self.answered;
    }
    switch (self.act) {
      case Act::hang: {
        Task<> hanging = peer.hang();
        co_return co_await std::move(hanging);
      }
      case Act::compute:
        while (!peer.killed) {
          peer.cpu_ns += 1'000'000;
          co_await rt::sleep_for(peer.executor, 50'000'000);
        }
        co_return {};
      case Act::segv: peer.exit = {.signal = SIGSEGV}; co_return {};
      case Act::prof: peer.exit = {.signal = SIGPROF}; co_return {};
      case Act::exit: peer.exit = {.status = 3}; co_return {};
      case Act::raw: {
        Task<> sending = peer.raw(self.bytes);
        (void)co_await std::move(sending);
        Task<> hanging = peer.hang();
        co_return co_await std::move(hanging);
      }
      default: break;
    }
    Task<> ending = peer.end(self.end);
    co_return co_await std::move(ending);
  }
  Script script() {
    return [this](Peer& peer) { return play(*this, peer); };
  }
};

class Endings : public testing::Test {
 protected:
  Outcome run(Scene& scene, bool sync = true, Observer* observer = nullptr) {
    return stage.run(scene.script(), stage.program(sync), observer);
  }
  // The program failed with this, and left nothing but its record.
  void expect_failure(Scene scene, int error, std::string_view message) {
    const Image before = image_of(stage.bed.pool->catalog());
    const size_t records = stage.history().size();
    const Outcome outcome = run(scene);
    EXPECT_EQ(outcome.error, error) << outcome.message;
    EXPECT_THAT(outcome.message, HasSubstr(std::string(message)));
    EXPECT_TRUE(outcome.effects.empty());
    EXPECT_TRUE(outcome.report.created.empty());
    EXPECT_TRUE(image_of(stage.bed.pool->catalog()) == before);
    const auto history = stage.history();
    ASSERT_EQ(history.size(), records + 1);
    EXPECT_THAT(history.back().command, testing::StartsWith("program test.lua sha256="));
    EXPECT_THAT(history.back().result, HasSubstr(std::string(message)));
    EXPECT_THAT(history.back().effects, testing::StartsWith("{\"program\":{"));
    // The next program goes on as if nothing had been.
    Scene good;
    good.asks.push_back(do_verb("destroy", {"tank/x"}));
    const Outcome next = run(good);
    EXPECT_EQ(next.error, 0) << next.message;
  }
  Stage stage{1};
};

TEST_F(Endings, WellAndCommitted) {
  Scene scene;
  scene.end = {.value = message::Record{{"a", i64{1}}}, .instructions = 5, .memory_peak_bytes = 6};
  const Outcome outcome = run(scene);
  EXPECT_EQ(outcome.error, 0) << outcome.message;
  EXPECT_TRUE(outcome.value == Value(message::Record{{"a", i64{1}}}));
  EXPECT_EQ(outcome.instructions, 5U);
  EXPECT_EQ(outcome.memory_peak_bytes, 6U);
  EXPECT_EQ(outcome.verbs, 1U);
  EXPECT_NE(raw(outcome.txg), 0U);
  EXPECT_NE(raw(find_dataset(stage.bed.pool->catalog(), "tank/x")), 0U);
}

TEST_F(Endings, ByWhatTheInterpreterSays) {
  const auto scene = [](Ending ending, const char* message, bool too_big = false) {
    Scene made;
    made.end = {.ending = ending, .too_big = too_big, .message = message, .traceback = "t"};
    return made;
  };
  expect_failure(scene(Ending::failed, "boom"), ECHRNG, "boom");
  expect_failure(scene(Ending::instructions, "used up"), ETIME, "used up");
  expect_failure(scene(Ending::memory, "no memory"), ENOSPC, "no memory");
  expect_failure(scene(Ending::syntax, "no syntax"), EINVAL, "no syntax");
  expect_failure(scene(Ending::result, "a function"), EINVAL, "a function");
  expect_failure(scene(Ending::result, "too big", true), ENOMEM, "too big");
}

TEST_F(Endings, ByWhatBecomesOfTheProcess) {
  expect_failure({.act = Scene::Act::segv}, EIO, "killed by SIGSEGV");
  expect_failure({.act = Scene::Act::prof}, ETIME, "10 s of CPU time");
  expect_failure({.act = Scene::Act::exit}, EIO, "exited with status 3");
  expect_failure({.act = Scene::Act::hang}, ETIME, "hung");
}

TEST_F(Endings, ByNonsenseOnTheSocket) {
  const auto raw_scene = [](std::vector<std::byte> bytes) {
    Scene scene{.act = Scene::Act::raw};
    scene.bytes = std::move(bytes);
    return scene;
  };
  const auto with_head = [](u32 length, u8 kind, size_t body) {
    std::vector<std::byte> bytes(5 + body);
    store_le(bytes.data(), length);
    store_le(bytes.data() + 4, kind);
    return bytes;
  };
  expect_failure(raw_scene(with_head(0, 2, 0)), EPROTO, "nonsense");
  expect_failure(raw_scene(with_head(~u32{0}, 2, 0)), EPROTO, "nonsense");
  expect_failure(raw_scene(with_head(10, 9, 9)), EPROTO, "nonsense");
  expect_failure(raw_scene(with_head(10, 2, 9)), EPROTO, "a question that makes no sense");
  expect_failure(raw_scene(with_head(10, 4, 9)), EPROTO, "an end that makes no sense");
  expect_failure(raw_scene(message::encode(message::Begin{})), EPROTO, "makes no sense");
  expect_failure(raw_scene(message::encode(Answer{})), EPROTO, "makes no sense");
  // A frame that never comes whole is a hang.
  expect_failure(raw_scene(with_head(1000, 2, 10)), ETIME, "hung");
  Ask unknown = ask(Call::sync);
  unknown.verb = 999;
  expect_failure(raw_scene(message::encode(unknown)), EPROTO, "a verb that does not exist");
  expect_failure(raw_scene(message::encode(ask(Call::page, {"x"}))), EPROTO, "without numbers");
  std::vector<std::byte> two = message::encode(ask(Call::savepoint));
  const std::vector<std::byte> copy = two;
  two.insert(two.end(), copy.begin(), copy.end());
  expect_failure(raw_scene(two), EPROTO, "asked again before it had its answer");
  std::vector<std::byte> after_end = message::encode(End{});
  after_end.insert(after_end.end(), copy.begin(), copy.end());
  expect_failure(raw_scene(after_end), EPROTO, "an end that makes no sense");
}

TEST_F(Endings, AHangIsNoticedInTimeAndComputingIsNone) {
  Scene hanging{.act = Scene::Act::hang};
  const u64 before = stage.bed.sync_lane().now_ns();
  EXPECT_EQ(run(hanging).error, ETIME);
  const u64 took = stage.bed.sync_lane().now_ns() - before;
  EXPECT_GE(took, 10'000'000'000U);
  EXPECT_LE(took, 11'000'000'000U);
}

struct Killer {
  Stage* stage = nullptr;
  u64 after_ns = 0;
  ProgramId id = 0;
  bool done = false;
  static Task<> run(Killer& self) {
    co_await rt::sleep_for(self.stage->bed.sync_lane(), self.after_ns);
    self.done = self.stage->programs->kill(self.id, "killed by uid=0");
    co_return {};
  }
};

struct Pair {  // Two programs side by side, of which the second may be killed.
  Outcome first, second;
  static Task<> one(Stage& stage, ProgramId id, Outcome& into) {
    Task<Outcome> running =
        stage.programs->run(id, *stage.bed.pool, stage.exports, stage.program(), nullptr);
    into = co_await ok(std::move(running));
    co_return {};
  }
  static Task<> both(Stage& stage, Pair& self, Killer* killer) {
    rt::Scope scope;
    const ProgramId first_id = stage.programs->next_id();
    const ProgramId second_id = stage.programs->next_id();
    scope.spawn(one(stage, first_id, self.first));
    scope.spawn(one(stage, second_id, self.second));
    if (killer != nullptr) {
      killer->id = killer->id == 1 ? first_id : second_id;
      scope.spawn(Killer::run(*killer));
    }
    Task<> joining = scope.join();
    co_return co_await std::move(joining);
  }
};

TEST_F(Endings, ByKillWhileItComputes) {
  Scene scene{.act = Scene::Act::compute};
  stage.interpreters.script = scene.script();
  Killer killer{.stage = &stage, .after_ns = 30'000'000'000, .id = 1};
  Pair pair;
  Killer second{.stage = &stage, .after_ns = 31'000'000'000, .id = 2};
  // The second runs once the first is gone.
  struct Both {
    static Task<> run(Stage& stage, Pair& pair, Killer& a, Killer& b) {
      rt::Scope scope;
      scope.spawn(Pair::both(stage, pair, &a));
      co_await rt::yield(stage.bed.sync_lane());
      b.id = 2;
      scope.spawn(Killer::run(b));
      Task<> joining = scope.join();
      co_return co_await std::move(joining);
    }
  };
  ASSERT_TRUE(stage.bed.run(Both::run(stage, pair, killer, second)));
  EXPECT_TRUE(killer.done);
  EXPECT_TRUE(second.done);
  EXPECT_EQ(pair.first.error, EINTR);
  EXPECT_EQ(pair.first.message, "killed by uid=0");
  EXPECT_EQ(pair.second.error, EINTR);
  EXPECT_GE(pair.first.elapsed_ns, 30'000'000'000U);
  EXPECT_EQ(raw(find_dataset(stage.bed.pool->catalog(), "tank/x")), 0U);
}

TEST_F(Endings, ByKillWhileItWaitsForItsTurn) {
  Scene scene{.act = Scene::Act::hang};
  stage.interpreters.script = scene.script();
  Killer killer{.stage = &stage, .after_ns = 1'000'000'000, .id = 2};
  Pair pair;
  ASSERT_TRUE(stage.bed.run(Pair::both(stage, pair, &killer)));
  EXPECT_TRUE(killer.done);
  EXPECT_EQ(pair.first.error, ETIME);
  EXPECT_EQ(pair.second.error, EINTR);
  EXPECT_LT(pair.second.elapsed_ns, 1'100'000'000U) << "it waited for its turn in spite of all";
  EXPECT_EQ(stage.interpreters.started.size(), 1U);
}

TEST_F(Endings, WhoWaitsIsSeen) {
  Scene scene{.act = Scene::Act::hang};
  stage.interpreters.script = scene.script();
  struct Watching {
    std::vector<ProgramView> views;
    pool::PoolStats stats;
    static Task<> run(Stage& stage, Watching& self) {
      co_await rt::sleep_for(stage.bed.sync_lane(), 1'000'000'000);
      self.views = stage.programs->views();
      Task<pool::PoolStats> asking = stage.bed.pool->stats();
      self.stats = co_await ok(std::move(asking));
      Task<> closing = stage.programs->close();
      co_return co_await std::move(closing);
    }
    static Task<> all(Stage& stage, Pair& pair, Watching& self) {
      rt::Scope scope;
      scope.spawn(Pair::both(stage, pair, nullptr));
      scope.spawn(run(stage, self));
      Task<> joining = scope.join();
      co_return co_await std::move(joining);
    }
  } watching;
  Pair pair;
  ASSERT_TRUE(stage.bed.run(Watching::all(stage, pair, watching)));
  ASSERT_EQ(watching.views.size(), 2U);
  EXPECT_EQ(watching.views[0].state, ProgramView::State::running);
  EXPECT_EQ(watching.views[0].pid, 4711U);
  EXPECT_EQ(watching.views[0].verbs, 1U);
  EXPECT_EQ(watching.views[1].state, ProgramView::State::waiting);
  EXPECT_EQ(watching.views[1].name, "test.lua");
  EXPECT_TRUE(watching.stats.turn_taken);
  EXPECT_EQ(watching.stats.turn_waiting, 1U);
  EXPECT_EQ(pair.first.error, EINTR);
  EXPECT_EQ(pair.first.message, "the daemon is ending");
  EXPECT_EQ(pair.second.error, EINTR);
}

TEST_F(Endings, ByLimitsThatAreNone) {
  Scene scene;
  stage.interpreters.script = scene.script();
  const auto with = [&](u64 instructions, u64 memory, size_t source) {
    Program program = stage.program();
    program.instructions_max = instructions;
    program.memory_bytes_max = memory;
    program.source = std::string(source, ' ');
    return stage.run(scene.script(), std::move(program));
  };
  EXPECT_EQ(with(100'000'001, 0, 1).error, EINVAL);
  EXPECT_EQ(with(0, 100_MiB + 1, 1).error, EINVAL);
  EXPECT_EQ(with(0, 0, message::kSourceBytesMax + 1).error, EINVAL);
  EXPECT_TRUE(stage.interpreters.started.empty());
  EXPECT_EQ(with(100'000'000, 100_MiB, message::kSourceBytesMax).error, 0);
  ASSERT_EQ(stage.interpreters.started.size(), 1U);
  EXPECT_EQ(stage.interpreters.started[0].memory_bytes_max, 100_MiB);
  EXPECT_EQ(stage.interpreters.started[0].cpu_ns_max, 10'000'000'000U);
}

TEST_F(Endings, ByWantOfAnInterpreter) {
  stage.interpreters.refuse = true;
  Scene scene;
  const Outcome outcome = run(scene);
  EXPECT_NE(outcome.error, 0);
  EXPECT_THAT(outcome.message, HasSubstr("the nursery is gone"));
  stage.interpreters.refuse = false;
  EXPECT_EQ(run(scene).error, 0);
}

class Spectator final : public Observer {
 public:
  bool traces() const override { return tracing; }
  Task<> saw(VerbEvent event) override {
    events.push_back(std::string(event.mode) + "|" + event.command + "|" +
                     std::to_string(event.error));
    numbers.push_back(event.number);
    co_return {};
  }
  bool decides() const override { return deciding; }
  Task<bool> agree(std::string effects) override {
    asked.push_back(std::move(effects));
    co_return verdict;
  }
  bool tracing = false, deciding = false, verdict = true;
  std::vector<std::string> events, asked;
  std::vector<u64> numbers;
};

TEST_F(Endings, ByWantOfConsent) {
  Spectator spectator;
  spectator.deciding = true;
  spectator.verdict = false;
  Scene scene;
  const Outcome refused = run(scene, true, &spectator);
  EXPECT_EQ(refused.error, EINTR);
  EXPECT_EQ(raw(find_dataset(stage.bed.pool->catalog(), "tank/x")), 0U);
  ASSERT_EQ(spectator.asked.size(), 1U);
  EXPECT_THAT(spectator.asked[0], HasSubstr(R"("created":["tank/x"])"));
  spectator.verdict = true;
  EXPECT_EQ(run(scene, true, &spectator).error, 0);
  EXPECT_NE(raw(find_dataset(stage.bed.pool->catalog(), "tank/x")), 0U);
}

TEST_F(Endings, UnderTheEyesOfATrace) {
  Spectator spectator;
  spectator.tracing = true;
  Scene scene;
  scene.asks = {ask_verb(Call::check, "create", {"tank/x"}), ask(Call::get, {"tank/x", "type"}),
                ask(Call::list, {"children", "tank"}), ask(Call::page, {i64{1}, i64{0}, i64{0}}),
                ask(Call::note, {"hello world"})};
  EXPECT_EQ(run(scene, true, &spectator).error, 0);
  EXPECT_EQ(spectator.events,
            (std::vector<std::string>{"sync|create tank/x|0", "check|create tank/x|17",
                                      "get|tank/x type|0", "list|children tank|0",
                                      "note|'hello world'|0"}));
  EXPECT_EQ(spectator.numbers, (std::vector<u64>{1, 2, 3, 4, 5}));
}

TEST_F(Endings, ReadOnlyOnesLeaveNoRecord) {
  Scene scene;
  const size_t before = stage.history().size();
  stage.play({ask_verb(Call::try_, "create", {"tank/x"})}, false);
  scene.end = {.ending = Ending::failed, .message = "no"};
  EXPECT_EQ(run(scene, false).error, ECHRNG);
  EXPECT_EQ(stage.history().size(), before);
}

TEST_F(Endings, OfOneThatChangedNothingTakesNoGroup) {
  const pool::Txg before = stage.bed.stats().txg;
  const Outcome outcome = stage.play({ask(Call::exists, {"tank"})});
  EXPECT_EQ(outcome.error, 0);
  EXPECT_EQ(stage.bed.stats().txg, before);
  EXPECT_EQ(raw(outcome.txg), 0U);
  EXPECT_EQ(stage.history().back().result, "ok");
}

// While one program floods the lane with questions, others of the lane have their turn all along.
TEST_F(Endings, AFloodLeavesTurnsToOthers) {
  Scene scene{.flood = 20'000};
  stage.interpreters.script = scene.script();
  struct Beside {
    size_t turns = 0;
    bool over = false;
    static Task<> count(Stage& stage, Beside& self) {
      while (!self.over) {
        ++self.turns;
        co_await rt::yield(stage.bed.sync_lane());
      }
      co_return {};
    }
    static Task<> flood(Stage& stage, Beside& self, Outcome& outcome) {
      Task<Outcome> running = stage.start_run(stage.program());
      outcome = co_await ok(std::move(running));
      self.over = true;
      co_return {};
    }
    static Task<> all(Stage& stage, Beside& self, Outcome& outcome) {
      rt::Scope scope;
      scope.spawn(flood(stage, self, outcome));
      scope.spawn(count(stage, self));
      Task<> joining = scope.join();
      co_return co_await std::move(joining);
    }
  } beside;
  Outcome outcome;
  ASSERT_TRUE(stage.bed.run(Beside::all(stage, beside, outcome)));
  EXPECT_EQ(outcome.error, 0) << outcome.message;
  EXPECT_EQ(outcome.verbs, 20'001U);
  EXPECT_GT(beside.turns, 20'000U / 64);
}

TEST(Limits, OfProgramsAtOnce) {
  Stage stage(1, {.programs_max = 1});
  Scene scene{.act = Scene::Act::hang};
  stage.interpreters.script = scene.script();
  Pair pair;
  ASSERT_TRUE(stage.bed.run(Pair::both(stage, pair, nullptr)));
  EXPECT_EQ(pair.first.error, ETIME);
  EXPECT_EQ(pair.second.error, EAGAIN);
}

}  // namespace
}  // namespace coppice::channel
