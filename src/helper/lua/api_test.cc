// pool.*: what is asked of the daemon, and what becomes of its answers.
#include "helper/lua/api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "helper/lua/testing/daemon.h"

namespace coppice::lua {
namespace {

using message::Call;
using message::Ending;
using message::List;
using message::Record;
using message::Value;
using testing::Answer;
using testing::Ask;
using ::testing::ElementsAre;
using testing::error_of;
using testing::fatal;
using ::testing::HasSubstr;
using testing::name_of;
using testing::ok;
using testing::Outcome;
using testing::refused;
using testing::shared_daemon;
using testing::value_of;

// --------------------------------------------------------------------------------------- verbs

TEST(Verbs, ArePresentAtAllThreeDoors) {
  std::string expected;
  for (const auto& verb : testing::verbs()) expected += verb.name + " ";
  for (const char* door : {"check", "sync", "try"}) {
    EXPECT_EQ(value_of(std::string("local names = {} for name, f in pairs(pool.") + door +
                       ") do assert(type(f) == 'function') names[#names + 1] = name end "
                       "table.sort(names) return table.concat(names, ' ') .. ' '"),
              Value(expected));
  }
}

TEST(Verbs, TakeTheirArgumentsInOrderOrByName) {
  const struct {
    const char* source;
    const char* name;
    List positional;
    Record named;
  } kCases[] = {
      {"pool.sync.create('tank/a')", "sync create", {"tank/a"}, {}},
      {"pool.check.create('tank/a')", "check create", {"tank/a"}, {}},
      {"pool.try.clone('tank/a@s', 'tank/b')", "try clone", {"tank/a@s", "tank/b"}, {}},
      {"pool.sync.create{'tank/v', size = '1G', parents = true}",
       "sync create",
       {"tank/v"},
       {{"parents", true}, {"size", "1G"}}},
      {"pool.sync.create{'tank/v', size = 1 << 30}",
       "sync create",
       {"tank/v"},
       {{"size", i64{1} << 30}}},
      {"pool.sync.create{'tank/v', size = 2^30}",
       "sync create",
       {"tank/v"},
       {{"size", i64{1} << 30}}},
      {"pool.sync.create{name = 'tank/v', size = 1.5}",
       "sync create",
       {},
       {{"name", "tank/v"}, {"size", 1.5}}},
      {"pool.sync.create{'tank/v', properties = {['a:b'] = 'x', readonly = 'on'}}",
       "sync create",
       {"tank/v"},
       {{"properties", Record{{"a:b", "x"}, {"readonly", "on"}}}}},
      {"pool.sync.snapshot{{'tank/a@1', 'tank/b@1'}, recursive = false}",
       "sync snapshot",
       {Value(List{"tank/a@1", "tank/b@1"})},
       {{"recursive", false}}},
      {"pool.sync.set({'tank/a', 'tank/b'}, {quota = 5})",
       "sync set",
       {List{"tank/a", "tank/b"}, Record{{"quota", i64{5}}}},
       {}},
      {"pool.sync.destroy{}", "sync destroy", {}, {}},
      {"pool.sync.destroy()", "sync destroy", {}, {}},
      {"pool.sync.destroy('a', nil, nil)", "sync destroy", {"a"}, {}},
      {"pool.sync.destroy(nil, 'a')", "sync destroy", {Value(), "a"}, {}},
      {"pool.sync.destroy{names = {}}", "sync destroy", {}, {{"names", List{}}}},
  };
  for (const auto& each : kCases) {
    SCOPED_TRACE(each.source);
    const Outcome outcome = shared_daemon().run(each.source);
    ASSERT_TRUE(outcome.end);
    EXPECT_EQ(outcome.end->message, "");
    ASSERT_EQ(outcome.asks.size(), 1U);
    EXPECT_EQ(name_of(outcome.asks[0]), each.name);
    EXPECT_EQ(Value(outcome.asks[0].positional), Value(each.positional));
    EXPECT_EQ(Value(outcome.asks[0].named), Value(each.named));
  }
}

TEST(Verbs, RefuseArgumentsThatNobodyCouldSend) {
  const struct {
    const char* source;
    const char* message;
  } kCases[] = {
      {"pool.sync.create(type)",
       "test.lua:1: pool.sync.create: wrong arguments: a function; usage: create name "
       "[size=number] "
       "[properties=pairs] [parents=flag]"},
      {"pool.check.create{'a', size = coroutine.create(type)}", "wrong arguments: a thread"},
      {"pool.try.set('a', {x = 1, 'y'})", "wrong arguments: a table with a number as a key"},
      {"pool.try.set{'a', [true] = 1}", "wrong arguments: a table with a boolean as a key"},
      {"local t = {} t[1] = t pool.try.set('a', t)", "wrong arguments: tables too deep"},
      {"pool.sync.create(string.rep('x', 2000000))", "the arguments are longer than 1048576 bytes"},
  };
  for (const auto& each : kCases) {
    SCOPED_TRACE(each.source);
    const Outcome outcome = shared_daemon().run(each.source);
    ASSERT_TRUE(outcome.end);
    EXPECT_EQ(outcome.end->ending, Ending::failed);
    EXPECT_THAT(outcome.end->message, HasSubstr(each.message));
    EXPECT_TRUE(outcome.asks.empty());
  }
  EXPECT_THAT(error_of("pool.sync.explode('tank')"),
              HasSubstr("attempt to call a nil value (field 'explode')"));
}

TEST(Verbs, ReturnErrnoDetailsAndMessage) {
  const char* source = "return table.pack(pool.sync.promote('tank/c'))";
  const auto answered = [&](const Answer& answer) {
    return value_of(source, [&](const Ask&) { return answer; });
  };
  EXPECT_EQ(answered(ok()), Value(Record{{"1", i64{0}}, {"n", i64{1}}}));
  EXPECT_EQ(answered(ok(Record{{"target", "tank/c@s"}})),
            Value(Record{{"1", i64{0}}, {"2", Record{{"target", "tank/c@s"}}}, {"n", i64{2}}}));
  EXPECT_EQ(answered(refused(EEXIST, "there are such", List{"a", "b"})),
            Value(Record{{"1", i64{EEXIST}},
                         {"2", Record{{"1", "a"}, {"2", "b"}}},
                         {"3", "there are such"},
                         {"n", i64{3}}}));
  EXPECT_EQ(answered(refused(ENOENT, "none", List{})),
            Value(Record{{"1", i64{ENOENT}}, {"2", Record{}}, {"3", "none"}, {"n", i64{3}}}));
  EXPECT_EQ(
      answered(fatal("promote: too many arguments; usage: promote name")),
      Value("test.lua:1: pool.sync.promote: promote: too many arguments; usage: promote name"));
}

TEST(Verbs, OfSyncNeedAProgramThatMay) {
  message::Begin begin = testing::begin_of("pool.sync.create('tank/a')");
  begin.sync = false;
  const Outcome outcome = shared_daemon().run(begin);
  ASSERT_TRUE(outcome.end);
  EXPECT_EQ(outcome.end->ending, Ending::failed);
  EXPECT_THAT(outcome.end->message, HasSubstr("pool.sync.create"));
  EXPECT_THAT(outcome.end->message, HasSubstr("requires passing sync=TRUE"));
  EXPECT_TRUE(outcome.asks.empty());
  begin.source = "zfs.sync.snapshot('tank/a@s')";
  EXPECT_THAT(shared_daemon().run(begin).end->message, HasSubstr("requires passing sync=TRUE"));
  begin.source = "return pool.check.create('tank/a') + pool.try.create('tank/a')";
  EXPECT_EQ(shared_daemon().run(begin).end->value, Value(i64{0}));
}

// ----------------------------------------------------------------------------------- questions

TEST(Questions, AreAnswered) {
  const auto reply = [](const Ask& ask) {
    switch (ask.call) {
      case Call::exists: return ok(std::get<std::string>(ask.positional[0].data) == "tank/a");
      case Call::get:
        if (ask.positional[1] == Value("used")) return ok(List{i64{4096}, Value()});
        if (ask.positional[1] == Value("a:b")) return ok(List{"x", "tank"});
        if (ask.positional[1] == Value("origin")) return ok();
        return fatal("no such property");
      default: return ok();
    }
  };
  EXPECT_EQ(value_of("return {pool.exists('tank/a'), pool.exists('tank/b')}", reply),
            Value(Record{{"1", true}, {"2", false}}));
  EXPECT_EQ(value_of("return table.pack(pool.get('tank/a', 'used'))", reply),
            Value(Record{{"1", i64{4096}}, {"n", i64{2}}}));
  EXPECT_EQ(value_of("return table.pack(pool.get('tank/a', 'a:b'))", reply),
            Value(Record{{"1", "x"}, {"2", "tank"}, {"n", i64{2}}}));
  EXPECT_EQ(value_of("return table.pack(pool.get('tank/a', 'origin'))", reply),
            Value(Record{{"n", i64{1}}}));
  EXPECT_EQ(error_of("pool.get('tank/a', 'nonsense')", reply),
            "test.lua:1: pool.get: no such property");
  EXPECT_EQ(value_of("return pool.name"), Value("tank"));
  for (const char* wrong :
       {"pool.exists()", "pool.exists(1)", "pool.exists('a', 'b')", "pool.get('a')",
        "pool.get('a', 'b', 'c')", "pool.note()", "pool.note({})", "pool.list.snapshots()",
        "pool.list.snapshots(1)", "pool.list.snapshots('a', 'b')"}) {
    SCOPED_TRACE(wrong);
    EXPECT_THAT(error_of(wrong), HasSubstr("usage: pool."));
  }
  const Outcome noted = shared_daemon().run("pool.note('here') return select('#', pool.note('x'))");
  EXPECT_EQ(noted.end->value, Value(i64{0}));
  EXPECT_EQ(noted.asks[0].positional[0], Value("here"));
}

// --------------------------------------------------------------------------------------- lists

// A list of `count` rows, those in `gone` gone, as the daemon keeps it.
struct Rows {
  int count = 0;
  std::set<i64> gone{};
  std::vector<std::pair<i64, i64>> pages{};  // from, count
  int open = 0;

  Answer operator()(const Ask& ask) {
    if (ask.call == Call::list) {
      ++open;
      return ok(i64{77});
    }
    if (ask.call == Call::drop) {
      --open;
      return ok();
    }
    if (ask.call != Call::page) return ok();
    EXPECT_EQ(ask.positional[0], Value(i64{77}));
    const i64 from = std::get<i64>(ask.positional[1].data);
    const i64 wanted = std::get<i64>(ask.positional[2].data);
    pages.emplace_back(from, wanted);
    List rows;
    i64 at = from;
    for (; at < count && at < from + wanted; ++at) {
      rows.push_back(gone.contains(at) ? Value() : Value(List{"row" + std::to_string(at), at}));
    }
    return ok(List{std::move(rows), at < count ? at : i64{0}});
  }
};

constexpr const char* kCollect =
    "local seen = {} for name, number in pool.list.snapshots('tank/a') do seen[#seen + 1] = name "
    "assert(name == 'row' .. number) end return {#seen, seen[1], seen[#seen]}";

TEST(Lists, AreReadInGrowingPages) {
  for (const int count : {0, 1, 15, 16, 17, 48, 1000, 20'000}) {
    SCOPED_TRACE(count);
    Rows rows{.count = count};
    const Value value = value_of(kCollect, std::ref(rows));
    Record expected = {{"1", i64{count}}};
    if (count > 0) expected.emplace_back("2", "row0");
    if (count > 0) expected.emplace_back("3", "row" + std::to_string(count - 1));
    EXPECT_EQ(value, Value(expected));
    for (size_t i = 1; i < rows.pages.size(); ++i) {
      EXPECT_EQ(rows.pages[i].first, rows.pages[i - 1].first + rows.pages[i - 1].second);
      EXPECT_EQ(rows.pages[i].second, std::min<i64>(rows.pages[i - 1].second * 2, 4096));
    }
  }
}

TEST(Lists, LeaveOutWhatIsGone) {
  Rows rows{.count = 100};
  for (i64 i = 0; i < 100; ++i) {
    if (i % 7 != 3) rows.gone.insert(i);
  }
  EXPECT_EQ(value_of(kCollect, std::ref(rows)),
            Value(Record{{"1", i64{14}}, {"2", "row3"}, {"3", "row94"}}));
  rows = {.count = 100};
  for (i64 i = 0; i < 100; ++i) rows.gone.insert(i);
  EXPECT_EQ(value_of(kCollect, std::ref(rows)), Value(Record{{"1", i64{0}}}));
}

// Rows read ahead of a change are asked for again: what the program itself destroyed never comes.
TEST(Lists, AreNeverStale) {
  Rows rows{.count = 60};
  const auto reply = [&](const Ask& ask) {
    if (ask.call == Call::sync) {
      const std::string& name = std::get<std::string>(ask.positional[0].data);
      rows.gone.insert(std::stoi(name.substr(3)));
      return ok();
    }
    return rows(ask);
  };
  EXPECT_EQ(
      value_of(R"(
    local seen = {}
    for name, number in pool.list.snapshots("tank/a") do
      seen[#seen + 1] = number
      if number % 10 == 0 then
        pool.sync.destroy("row" .. number + 1)
        pool.sync.destroy("row" .. number + 3)
      end
    end
    return table.concat(seen, " "))",
               reply),
      Value("0 2 4 5 6 7 8 9 10 12 14 15 16 17 18 19 20 22 24 25 26 27 28 29 30 32 34 35 36 37 "
            "38 39 40 42 44 45 46 47 48 49 50 52 54 55 56 57 58 59"));
  // A check changes nothing, nor does a refused verb.
  rows = {.count = 10};
  EXPECT_EQ(value_of(R"(
    local seen = 0
    for name in pool.list.snapshots("tank/a") do
      seen = seen + 1
      pool.check.destroy(name)
    end
    return seen)",
                     std::ref(rows)),
            Value(i64{10}));
  EXPECT_EQ(rows.pages.size(), 1U);
}

TEST(Lists, OfManyIteratorsAreDroppedWhenTheyAreGarbage) {
  Rows rows{.count = 10};
  const Value value = value_of(R"(
    for i = 1, 200 do
      local next_row = pool.list.children("tank")
      next_row()
    end
    collectgarbage()
    pool.exists("tank")
    for name in pool.list.children("tank") do end
    pool.exists("tank")
    return 1)",
                               std::ref(rows));
  EXPECT_EQ(value, Value(i64{1}));
  EXPECT_EQ(rows.open, 0);
}

TEST(Lists, AreThereForEverything) {
  for (const char* what :
       {"children", "snapshots", "bookmarks", "clones", "holds", "properties", "user_properties",
        "system_properties", "exports", "descendants", "links", "objects"}) {
    SCOPED_TRACE(what);
    Rows rows{.count = 3};
    const Outcome outcome = shared_daemon().run(std::string("local n = 0 for a, b in pool.list.") +
                                                    what + "('tank/a') do n = n + b end return n",
                                                std::ref(rows));
    EXPECT_EQ(outcome.end->value, Value(i64{3}));
    EXPECT_EQ(Value(outcome.asks[0].positional), Value(List{what, "tank/a"}));
  }
  EXPECT_EQ(error_of("for x in pool.list.holds('tank/nothing') do end",
                     [](const Ask&) { return fatal("tank/nothing does not exist"); }),
            "test.lua:1: pool.list.holds: tank/nothing does not exist");
}

// ---------------------------------------------------------------------------------- savepoints

Answer numbered(const Ask& ask, i64& last) {
  return ask.call == Call::savepoint ? ok(++last) : ok();
}

std::vector<std::string> calls_of(const Outcome& outcome) {
  std::vector<std::string> calls;
  for (const Ask& ask : outcome.asks) {
    std::string call = name_of(ask);
    if ((ask.call == Call::keep || ask.call == Call::roll_back) && !ask.positional.empty()) {
      call += " " + std::to_string(std::get<i64>(ask.positional[0].data));
    }
    calls.push_back(std::move(call));
  }
  return calls;
}

TEST(Savepoints, KeepOrUndo) {
  i64 last = 0;
  const auto reply = [&](const Ask& ask) { return numbered(ask, last); };
  Outcome outcome = shared_daemon().run(
      "return table.pack(pool.savepoint(function(a, b) pool.sync.create(a) return b, 7 end, 'x', "
      "'y'))",
      reply);
  EXPECT_EQ(outcome.end->value,
            Value(Record{{"1", true}, {"2", "y"}, {"3", i64{7}}, {"n", i64{3}}}));
  EXPECT_THAT(calls_of(outcome), ElementsAre("savepoint", "sync create", "keep 1"));
  outcome = shared_daemon().run(
      "return table.pack(pool.savepoint(function() pool.sync.create('a') error({7}) end))", reply);
  EXPECT_EQ(outcome.end->value,
            Value(Record{{"1", false}, {"2", Record{{"1", i64{7}}}}, {"n", i64{2}}}));
  EXPECT_THAT(calls_of(outcome), ElementsAre("savepoint", "sync create", "roll_back 2"));
  EXPECT_THAT(error_of("pool.savepoint(1)"), HasSubstr("function expected"));
}

TEST(Savepoints, Nest) {
  i64 last = 0;
  const Outcome outcome = shared_daemon().run(R"(
    return table.pack(pool.savepoint(function()
      local inner = table.pack(pool.savepoint(function() error("in", 0) end))
      pool.savepoint(function() end)
      error(inner[2] .. " out", 0)
    end)))",
                                              [&](const Ask& ask) { return numbered(ask, last); });
  EXPECT_EQ(outcome.end->value, Value(Record{{"1", false}, {"2", "in out"}, {"n", i64{2}}}));
  EXPECT_THAT(calls_of(outcome), ElementsAre("savepoint", "savepoint", "roll_back 2", "savepoint",
                                             "keep 3", "roll_back 1"));
}

TEST(Savepoints, AreNotLeftByYielding) {
  i64 last = 0;
  const Outcome outcome = shared_daemon().run(R"(
    local f = coroutine.wrap(function()
      return pool.savepoint(function() coroutine.yield(1) end)
    end)
    return table.pack(f()))",
                                              [&](const Ask& ask) { return numbered(ask, last); });
  EXPECT_EQ(outcome.end->value,
            Value(Record{
                {"1", false}, {"2", "attempt to yield across a C-call boundary"}, {"n", i64{2}}}));
  EXPECT_THAT(calls_of(outcome), ElementsAre("savepoint", "roll_back 1"));
}

// ------------------------------------------------------------------------------- sealed tables

TEST(Api, CannotBeChanged) {
  const char* kAttempts[] = {
      "pool.exists = error",
      "pool.other = 1",
      "pool.sync.create = error",
      "zfs.list.children = nil",
      "rawset(pool, 'exists', error)",
      "rawset(zfs.sync, 'destroy', error)",
      "table.insert(pool.sync, 'x')",
      "setmetatable(pool, {})",
      "setmetatable(pool.list, nil)",
      "getmetatable(pool).__index = {}",
      "for _, t in pairs(pool) do if type(t) == 'table' then t.x = 1 end end",
      "local f, t, k = pairs(pool.sync) t.create = error",
      "local f, t, k = pairs(pool) rawset(t, 'exists', error)",
      "getmetatable('').__index = {}",
      "setmetatable('', {})",
  };
  for (const char* attempt : kAttempts) {
    SCOPED_TRACE(attempt);
    EXPECT_EQ(
        value_of(std::string("local ok = pcall(function() ") + attempt +
                 " end) return {ok, type(pool.exists), type(pool.sync.create), "
                 "type(zfs.list.children), ('x'):rep(3)}"),
        Value(Record{
            {"1", false}, {"2", "function"}, {"3", "function"}, {"4", "function"}, {"5", "xxx"}}));
  }
  EXPECT_EQ(value_of("return {getmetatable(pool), getmetatable(''), next(pool) == nil, #pool}"),
            Value(Record{{"1", false}, {"2", false}, {"3", true}, {"4", i64{0}}}));
}

// The layer for ZFS does not use what a program may have changed.
TEST(Api, SurvivesChangedLibraries) {
  EXPECT_EQ(value_of(R"(
    local type = type
    for _, library in ipairs{string, table, math, _G} do
      for name in next, library do
        if type(library[name]) == "function" then library[name] = nil end
      end
    end
    return zfs.sync.snapshot("tank/a@s"))"),
            Value(i64{0}));
}

}  // namespace
}  // namespace coppice::lua
