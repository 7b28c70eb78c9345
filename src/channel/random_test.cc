// Random programs on random pools: check tells what sync does, what fails leaves no trace, what
// ends well is all there, and so it is after a loss of power.
#include <gmock/gmock.h>

#include <cerrno>

#include "channel/testing/stage.h"
#include "verb/admin.h"

namespace coppice::channel {
namespace {

using message::Answer;
using message::Ask;
using message::Call;
using message::List;
using message::Record;
using message::Value;

// Verbs over few names, so that most of them meet each other.
class Chooser {
 public:
  explicit Chooser(u64 seed) : prng(seed) {}

  Ask verb(Call call) {
    const auto make = [&](std::string_view name, List positional, Record named = {}) {
      return ask_verb(call, name, std::move(positional), std::move(named));
    };
    switch (prng.below(15)) {
      case 0: return make("create", {dataset()}, {{"parents", prng.chance(1, 3)}});
      case 1:
      case 2: return make("create", {dataset()}, {{"size", "1M"}});
      case 3:
      case 4: return make("snapshot", {Value(List{snapshot(), snapshot()})});
      case 5: return make("snapshot", {snapshot()}, {{"recursive", true}});
      case 6: return make("clone", {snapshot(), dataset()});
      case 7: return make("promote", {dataset()});
      case 8: return make("rollback", {either()}, {{"recursive", prng.chance(1, 2)}});
      case 9: return make("rename", {either(), prng.chance(1, 2) ? dataset() : part("s")});
      case 10: return make("bookmark", {snapshot(), "#" + part("m")});
      case 11: return make(prng.chance(1, 2) ? "hold" : "release", {part("t"), snapshot()});
      case 12:
        return make("destroy", {either()},
                    {{"recursive", prng.chance(1, 3)}, {"clones", prng.chance(1, 4)}});
      case 13: return make("set", {either(), Record{{"u:" + part("p"), part("")}}});
      default:
        return make("set", {dataset(), Record{{"reservation", i64{4096} * number(4)},
                                              {"readonly", prng.chance(1, 2)}}});
    }
  }
  Ask question() {
    switch (prng.below(5)) {
      case 0: return ask(Call::exists, {either()});
      case 1: return ask(Call::get, {either(), "used"});
      case 2: return ask(Call::get, {dataset(), "available"});
      case 3: return ask(Call::list, {"snapshots", dataset()});
      default: return ask(Call::list, {"descendants", "tank"});
    }
  }
  i64 number(u64 below) { return static_cast<i64>(prng.below(below)); }
  Prng prng;

 private:
  std::string part(const char* prefix) { return prefix + std::to_string(prng.below(4)); }
  std::string dataset() {
    std::string name = "tank";
    for (u64 depth = 1 + prng.below(2); depth > 0; --depth) name += "/" + part("d");
    return name;
  }
  std::string snapshot() { return dataset() + "@" + part("s"); }
  std::string either() { return prng.chance(1, 2) ? dataset() : snapshot(); }
};

// Plays random questions; savepoints are opened and ended as a careful program would.
struct Improvisation {
  enum class Finale : u8 { end, error, nonsense, crash, leave, consent_refused } finale{};
  explicit Improvisation(u64 seed) : chooser(seed) {}

  static Task<> play(Improvisation& self, Peer& peer) {
    Task<message::Begin> beginning = peer.begin();
    co_await ok(std::move(beginning));
    Prng& prng = self.chooser.prng;
    for (u64 left = 1 + prng.below(25); left > 0; --left) {
      Ask next;
      if (prng.chance(1, 6)) {
        next = self.savepoint_move();
      } else if (prng.chance(1, 5)) {
        next = self.chooser.question();
      } else {
        next = self.chooser.verb(Call::sync);
        // What check says is what sync will say.
        Ask check = next;
        check.call = Call::check;
        Task<Answer> checking = peer.ask(check);
        const Answer checked = co_await ok(std::move(checking));
        if (prng.chance(1, 2)) next.call = Call::try_;
        Task<Answer> doing = peer.ask(next);
        const Answer done = co_await ok(std::move(doing));
        ++self.compared;
        self.done += done.error == 0;
        EXPECT_EQ(checked.error, done.error) << done.message;
        EXPECT_EQ(checked.message, done.message);
        EXPECT_EQ(checked.fatal, done.fatal);
        EXPECT_TRUE(done.error == 0 || checked.value == done.value);
        if (done.error == 0) self.applied.push_back(next);
        continue;
      }
      Task<Answer> asking = peer.ask(next);
      const Answer answer = co_await ok(std::move(asking));
      if (next.call == Call::savepoint)
        self.savepoints.emplace_back(std::get<i64>(answer.value.data), self.applied.size());
    }
    switch (self.finale) {
      case Finale::error: {
        Task<> ending = peer.end({.ending = message::Ending::failed, .message = "boom"});
        co_return co_await std::move(ending);
      }
      case Finale::nonsense: {
        std::vector<std::byte> bytes(1 + prng.below(40));
        for (std::byte& each : bytes) each = static_cast<std::byte>(prng.below(3));
        Task<> sending = peer.raw(std::move(bytes));
        (void)co_await std::move(sending);
        Task<> hanging = peer.hang();
        co_return co_await std::move(hanging);
      }
      case Finale::crash: peer.exit = {.signal = SIGSEGV}; co_return {};
      case Finale::leave: co_return {};
      default: break;
    }
    Task<> ending = peer.end({});
    co_return co_await std::move(ending);
  }
  Script script() {
    return [this](Peer& peer) { return play(*this, peer); };
  }

  Chooser chooser;
  std::vector<Ask> applied;  // Done and not undone.
  size_t compared = 0, done = 0;

 private:
  Ask savepoint_move() {
    Prng& prng = chooser.prng;
    if (savepoints.empty() || prng.chance(1, 2)) return ask(Call::savepoint);
    const size_t which = prng.below(savepoints.size());  // Mostly not the youngest.
    const auto [number, length] = savepoints[which];
    savepoints.resize(which);
    const bool undo = prng.chance(1, 2);
    if (undo) applied.resize(length);
    return ask(undo ? Call::roll_back : Call::keep, {number});
  }
  std::vector<std::pair<i64, size_t>> savepoints;
};

class Refuser final : public Observer {
 public:
  bool traces() const override { return true; }
  Task<> saw(VerbEvent) override { co_return {}; }
  bool decides() const override { return true; }
  Task<bool> agree(std::string) override { co_return false; }
};

// Without ids, which transactions that were dropped use up too.
std::vector<std::string> names_of(const pool::CatalogView& view) {
  std::vector<std::string> lines;
  const auto add = [&](std::string line, const auto& properties) {
    for (const auto& [name, value] : properties) line += " " + name + "=" + value;
    lines.push_back(std::move(line));
  };
  for (pool::DatasetId id : verb::subtree(view, view.root())) {
    const pool::Dataset& dataset = *view.dataset(id);
    add(full_name(view, id) + " " + std::to_string(dataset.volsize_bytes) + " " +
            full_name(view, dataset.origin),
        dataset.properties);
    for (pool::SnapshotId each : view.snapshots(id)) {
      const pool::Snapshot& snapshot = *view.snapshot(each);
      std::string line = full_name(view, each) + (snapshot.defer_destroy ? " deferred" : "");
      for (const auto& [tag, time] : snapshot.holds) line += " held:" + tag;
      add(std::move(line), snapshot.properties);
    }
    for (const std::string& mark : view.bookmarks(id)) lines.push_back("#" + mark);
  }
  return lines;
}

TEST(RandomPrograms, AreAllOrNothingWhateverEndsThem) {
  std::map<int, int> endings;
  size_t compared = 0, done = 0;
  for (u64 seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Stage stage(seed);
    Stage twin(seed);
    Prng prng(seed * 7919);
    for (int round = 0; round < 12; ++round) {
      const Image before = image_of(stage.bed.pool->catalog());
      Improvisation play(prng.next());
      play.finale = static_cast<Improvisation::Finale>(prng.chance(1, 2) ? 0 : prng.below(6));
      Refuser refuser;
      const bool refused = play.finale == Improvisation::Finale::consent_refused;
      const Outcome outcome =
          stage.run(play.script(), stage.program(), refused ? &refuser : nullptr);
      ++endings[outcome.error];
      compared += play.compared;
      done += play.done;
      if (outcome.error != 0) {
        ASSERT_TRUE(image_of(stage.bed.pool->catalog()) == before) << outcome.message;
        EXPECT_EQ(stage.history().back().result.find("ok"), std::string::npos);
      } else {
        // The same verbs, without what was undone, make the same pool.
        if (!play.applied.empty()) twin.set_up(play.applied);
        ASSERT_EQ(names_of(stage.bed.pool->catalog()), names_of(twin.bed.pool->catalog()));
      }
      if (testing::Test::HasFailure()) return;
    }
    stage.bed.expect_sound();
  }
  EXPECT_GT(compared, 2000U);
  EXPECT_GT(done, 500U);
  for (int error : {0, ECHRNG, EPROTO, EIO, EINTR}) EXPECT_GT(endings[error], 0) << error;
}

// A power cut at any moment of a program, its commit included, leaves all of it or nothing.
TEST(RandomPrograms, AreAllOrNothingAfterPowerLoss) {
  size_t finished = 0, whole = 0, none = 0;
  for (u64 seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Stage stage(seed);
    stage.set_up(
        {do_verb("create", {"tank/v"}, {{"size", "1M"}}), do_verb("snapshot", {"tank/v@old"})});
    const auto before = names_of(stage.bed.pool->catalog());
    std::vector<Ask> asks;
    for (int i = 0; i < 12; ++i) {
      const std::string n = std::to_string(i);
      asks.push_back(do_verb("create", {"tank/n" + n}, {{"size", "1M"}}));
      asks.push_back(do_verb("snapshot", {"tank/v@" + n}));
      asks.push_back(do_verb("clone", {"tank/v@" + n, "tank/c" + n}));
    }
    asks.push_back(do_verb("destroy", {"tank/v@old"}));
    stage.recital = {};
    stage.recital.asks = asks;
    stage.interpreters.script = stage.recital.script();
    const u64 steps = Prng(seed).below(700);
    const bool ended = stage.bed.lose_power_during(stage.start_run(stage.program()), steps,
                                                   [&] { stage.programs.reset(); });
    stage.start();
    const auto after = names_of(stage.bed.pool->catalog());
    const bool nothing = after == before;
    ASSERT_TRUE(nothing || after.size() == before.size() + 3 * 12 - 1) << after.size();
    ASSERT_FALSE(ended && nothing) << "it was said to be durable";
    finished += ended;
    (nothing ? none : whole) += 1;
    stage.bed.expect_sound();
  }
  EXPECT_GT(finished, 0U);
  EXPECT_GT(whole, 0U);
  EXPECT_GT(none, 0U);
}

}  // namespace
}  // namespace coppice::channel
