// Random verbs over random pools: check tells the truth, a refused verb changes nothing, the
// engine's rules hold, and what is stored comes back. And how fast verbs are.
#include <gtest/gtest.h>

#include <chrono>

#include "verb/accounts.h"
#include "verb/names.h"
#include "verb/testing/world.h"

namespace coppice::verb {
namespace {

// Random commands over few names, so that most of them meet each other.
class Chooser {
 public:
  explicit Chooser(u64 seed) : prng_(seed) {}

  std::string command() {
    switch (prng_.below(18)) {
      case 0: return "create " + dataset() + (prng_.chance(1, 2) ? " size=1M" : "") + parents();
      case 1:
      case 2:
      case 3: return "snapshot " + dataset() + "@" + part("s") + recursive();
      case 4: return "clone " + snapshot() + " " + dataset() + parents();
      case 5: return "promote " + dataset();
      case 6: return "rollback " + either() + recursive() + clones();
      case 7: return "rename " + dataset() + " " + dataset() + parents();
      case 8: return "rename " + snapshot() + " " + part("s") + recursive();
      case 9: return "bookmark " + snapshot() + " #" + part("m");
      case 10: return "hold t" + part("") + " " + snapshot() + recursive();
      case 11: return "release t" + part("") + " " + snapshot() + recursive();
      case 12: return "destroy " + either() + recursive() + clones();
      case 13:
        return "destroy " + dataset() + "@" + part("s") + "%" + part("s") + recursive() +
               (prng_.chance(1, 2) ? " defer=1" : "");
      case 14:
        return prng_.chance(1, 2) ? "set " + either() + " {u:" + part("p") + "=1}"
                                  : "set " + dataset() + " {readonly=on;reservation=1M}";
      case 15: return link();
      case 16: return prng_.chance(1, 2) ? "load o " + object() : "unload o";
      default: return "resize " + dataset() + " " + std::to_string(4096 * (1 + prng_.below(3)));
    }
  }
  Prng& prng() { return prng_; }

  static std::string hash(u64 number) {
    return std::string(pool::kObjectHashBytes, static_cast<char>('0' + number));
  }

 private:
  std::string object() { return prng_.chance(1, 3) ? "o" : hash(prng_.below(3)); }
  std::string link() {
    const char* program = prng_.chance(3, 4) ? "limit" : "decide";
    const std::string place = prng_.chance(1, 3) ? " before=" + part("l") : "";
    switch (prng_.below(4)) {
      case 0: return "unlink " + part("l");
      case 1: return "relink " + part("l") + " " + object() + place;
      default:
        return "link " + dataset() + " " + object() + " " + program + " " + part("l") + place +
               (prng_.chance(1, 4) ? " replaces=" + part("l") : "");
    }
  }
  std::string part(const char* prefix) { return prefix + std::to_string(prng_.below(4)); }
  std::string dataset() {
    std::string name = "tank";
    for (u64 depth = prng_.below(3); depth > 0; --depth) name += "/" + part("d");
    return name;
  }
  std::string snapshot() { return dataset() + "@" + part("s"); }
  std::string either() { return prng_.chance(1, 2) ? dataset() : snapshot(); }
  std::string parents() { return prng_.chance(1, 3) ? " parents=1" : ""; }
  std::string recursive() { return prng_.chance(1, 3) ? " recursive=1" : ""; }
  std::string clones() { return prng_.chance(1, 4) ? " clones=1" : ""; }
  Prng prng_;
};

// No deferred snapshot outlives its last clone and hold; clones have their origin; nothing is lost
// on the way through storage.
void expect_sound(const World& w, std::map<std::string, std::string>& stored) {
  for (pool::Catalog::StoredChange& change : w.catalog->take_changes()) {
    if (change.value) {
      stored[change.key] = *change.value;
    } else {
      stored.erase(change.key);
    }
  }
  auto again = std::make_unique<pool::Catalog>();
  for (const auto& [key, value] : stored) ASSERT_TRUE(again->load(key, value));
  const auto loaded = again->finish_load();
  ASSERT_TRUE(loaded) << describe(loaded.error());
  std::vector<pool::DatasetId> open{w.catalog->root()};
  while (!open.empty()) {
    const pool::DatasetId id = open.back();
    open.pop_back();
    ASSERT_EQ(*again->dataset(id), *w.catalog->dataset(id));
    for (const pool::PinnedLink& link : w.catalog->dataset(id)->links) {
      ASSERT_EQ(w.catalog->link_owner(link.name), id);
      ASSERT_TRUE(w.catalog->object(link.object) != nullptr);
    }
    ASSERT_EQ(again->snapshots(id), w.catalog->snapshots(id));
    for (pool::SnapshotId snapshot : w.catalog->snapshots(id)) {
      const pool::Snapshot& each = *w.catalog->snapshot(snapshot);
      ASSERT_EQ(*again->snapshot(snapshot), each);
      const bool kept = !each.holds.empty() || !w.catalog->clones(snapshot).empty();
      ASSERT_TRUE(kept || !each.defer_destroy) << full_name(*w.catalog, snapshot);
    }
    for (pool::DatasetId child : w.catalog->children(id)) open.push_back(child);
  }
}

// No object is kept that has neither a link nor a name.
void expect_no_stray_objects(const World& w) {
  for (const std::string& hash : w.catalog->objects()) {
    ASSERT_TRUE(w.catalog->linked(hash) || !w.catalog->object(hash)->name.empty());
  }
}

TEST(RandomVerbs, KeepEveryRule) {
  std::map<std::string, int> outcomes;
  for (u64 seed = 1; seed <= 600; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    World w;
    for (u64 number = 0; number < 3; ++number) {
      const std::string hash = Chooser::hash(number);
      w.facts.objects[hash] = {.hash = hash,
                               .name = {},
                               .bytes = "object",
                               .settings = {},
                               .programs = {{"limit", "volume.submit", pool::Tier::stable},
                                            {"decide", "freplace/decide", pool::Tier::stable}}};
    }
    Chooser chooser(seed);
    std::map<std::string, std::string> stored;
    for (int round = 0; round < 60; ++round) {
      auto transaction = w.catalog->begin();
      const std::string before = w.listing();
      for (u64 verbs = 1 + chooser.prng().below(8); verbs > 0; --verbs) {
        const std::string command = chooser.command();
        const size_t savepoint = transaction->savepoint();
        const std::string outcome = w.run_in(*transaction, command);
        ++outcomes[command.substr(0, command.find(' ')) + " " +
                   outcome.substr(0, outcome.find(':'))];
        if (chooser.prng().chance(1, 10)) transaction->roll_back_to(savepoint);
        if (::testing::Test::HasFailure()) {
          FAIL() << command << ": " << outcome;
        }
      }
      EXPECT_EQ(w.listing(), before) << "a transaction shows before it is accepted";
      if (chooser.prng().chance(1, 5)) {
        transaction.reset();
        continue;
      }
      w.catalog->accept(std::move(transaction));
      w.commit();
      expect_sound(w, stored);
      expect_no_stray_objects(w);
      if (::testing::Test::HasFailure()) return;
    }
  }
  for (const char* reached :
       {"create ok",       "snapshot ok",    "clone ok",     "promote ok",    "rollback ok",
        "rename ok",       "bookmark ok",    "hold ok",      "release ok",    "destroy ok",
        "set ok",          "resize ok",      "link ok",      "relink ok",     "unlink ok",
        "load ok",         "unload ok",      "link EEXIST",  "destroy EBUSY", "destroy EEXIST",
        "rollback EEXIST", "promote EEXIST", "rename EEXIST"}) {
    EXPECT_GT(outcomes[reached], 0) << reached;
  }
}

bool same(const Accounts& a, const Accounts& b) {
  return a.used == b.used && a.available == b.available && a.referenced == b.referenced &&
         a.used_by_dataset == b.used_by_dataset && a.used_by_snapshots == b.used_by_snapshots &&
         a.used_by_children == b.used_by_children && a.logical_used == b.logical_used &&
         a.logical_referenced == b.logical_referenced && a.snapshots == b.snapshots;
}

// A ledger that follows a transaction says what one made anew would, whatever was done or undone.
TEST(RandomVerbs, AreFollowedByALedger) {
  size_t compared = 0;
  for (u64 seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    World w;
    Chooser chooser(seed);
    for (int round = 0; round < 12; ++round) {
      for (pool::DatasetId id : subtree(*w.catalog, w.catalog->root())) {
        if (pool::VolumeState* state = w.catalog->edit_volume_state(id)) {
          state->live.referenced_blocks = chooser.prng().below(400);
          state->live.logical_blocks = chooser.prng().below(400);
          state->inherited_blocks = chooser.prng().below(100);
          state->dead_blocks = chooser.prng().below(300);
        }
      }
      auto transaction = w.catalog->begin();
      Ledger ledger(*transaction, w.facts);
      for (u64 verbs = 1 + chooser.prng().below(12); verbs > 0; --verbs) {
        const std::string command = chooser.command();
        const size_t savepoint = transaction->savepoint();
        w.run_in(*transaction, command);
        if (chooser.prng().chance(1, 2)) ledger.used(transaction->root());
        if (chooser.prng().chance(1, 5)) {
          ledger.before_roll_back(savepoint);
          transaction->roll_back_to(savepoint);
        }
        if (chooser.prng().chance(1, 2)) continue;
        Ledger anew(*transaction, w.facts);
        for (pool::DatasetId id : subtree(*transaction, transaction->root())) {
          ++compared;
          ASSERT_TRUE(same(ledger.of(id), anew.of(id))) << command << ": " << raw(id);
        }
      }
      w.catalog->accept(std::move(transaction));
      w.commit();
    }
  }
  EXPECT_GT(compared, 10'000U);
}

class Stopwatch {
 public:
  // Limits are loose, because tests run in every build; the figures are printed.
  void lap(const char* what, size_t count) {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - start_).count();
    std::printf("%s: %.0f/s\n", what, static_cast<double>(count) / seconds);
    EXPECT_LT(seconds, 20) << what;
    start_ = std::chrono::steady_clock::now();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

TEST(Speed, ManyVerbsInOneTransaction) {
  constexpr size_t kCount = 10'000;
  World w;
  FakeFacts facts;
  auto transaction = w.catalog->begin();
  Context context(*transaction, facts);
  Changes changes;
  const auto many = [&](const char* verb, const auto& make) {
    const Row& row = *find(verb);
    for (size_t i = 0; i < kCount; ++i) {
      auto bound = bind(row, make("tank/v" + std::to_string(i), std::to_string(i)), {});
      ASSERT_TRUE(bound);
      const auto refused = row.sync(context, *bound, changes);
      ASSERT_FALSE(refused) << refused->message;
    }
  };
  using Positional = std::vector<Value>;
  const Row& create = *find("create");
  Stopwatch watch;
  for (size_t i = 0; i < kCount; ++i) {
    const Arguments named{{"name", "tank/v" + std::to_string(i)}, {"size", u64{1} << 20}};
    ASSERT_FALSE(create.sync(context, named, changes));
  }
  watch.lap("create", kCount);
  many("snapshot", [](std::string v, std::string) { return Positional{v + "@s"}; });
  watch.lap("snapshot each", kCount);
  many("clone", [](std::string v, std::string i) { return Positional{v + "@s", "tank/c" + i}; });
  watch.lap("clone", kCount);
  many("set", [](std::string v, std::string) { return Positional{v, Pairs{{"a:b", "c"}}}; });
  watch.lap("set", kCount);
  many("destroy", [](std::string, std::string i) { return Positional{"tank/c" + i}; });
  watch.lap("destroy clones", kCount);
  many("destroy", [](std::string v, std::string) { return Positional{v + "@s"}; });
  watch.lap("destroy snapshots", kCount);
  many("snapshot", [](std::string, std::string i) { return Positional{"tank/v0@t" + i}; });
  watch.lap("snapshot one volume", kCount);
  many("destroy", [](std::string, std::string i) { return Positional{"tank/v0@t" + i}; });
  watch.lap("destroy its snapshots", kCount);
  w.catalog->accept(std::move(transaction));
  watch.lap("accept, per verb", 8 * kCount);
}

}  // namespace
}  // namespace coppice::verb
