// zfs.*: the functions, arguments, results and errors of the original.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "helper/lua/testing/daemon.h"

namespace coppice::lua {
namespace {

using message::Call;
using message::List;
using message::Record;
using message::Value;
using testing::Answer;
using testing::Ask;
using testing::error_of;
using testing::fatal;
using ::testing::HasSubstr;
using testing::name_of;
using testing::ok;
using testing::Outcome;
using testing::refused;
using testing::shared_daemon;
using testing::value_of;

TEST(Zfs, HasExactlyTheseFunctions) {
  const char* source = R"(
    local function names(of)
      local found = {}
      for name in pairs(of) do found[#found + 1] = name end
      table.sort(found)
      return table.concat(found, " ")
    end
    return {zfs = names(zfs), list = names(zfs.list), sync = names(zfs.sync), check = names(zfs.check)})";
  const char* operations =
      "bookmark clone destroy inherit promote rename_snapshot rollback set_prop snapshot";
  EXPECT_EQ(value_of(source), Value(Record{{"check", operations},
                                           {"list",
                                            "bookmarks children clones holds properties snapshots "
                                            "system_properties user_properties"},
                                           {"sync", operations},
                                           {"zfs", "check debug exists get_prop list sync"}}));
}

// What each operation asks for, under both modes.
TEST(Zfs, OperationsBecomeVerbs) {
  const struct {
    const char* call;
    const char* verb;
    List positional;
    Record named;
  } kCases[] = {
      {"bookmark('tank/a@s', 'tank/a#b')", "bookmark", {"tank/a@s", "tank/a#b"}, {}},
      {"bookmark{'tank/a@s', 'tank/a#b'}", "bookmark", {"tank/a@s", "tank/a#b"}, {}},
      {"clone('tank/a@s', 'tank/c')", "clone", {"tank/a@s", "tank/c"}, {}},
      {"destroy('tank/a@s')", "destroy", {"tank/a@s"}, {{"defer", false}}},
      {"destroy{'tank/a@s', defer = true}", "destroy", {"tank/a@s"}, {{"defer", true}}},
      {"destroy{'tank/a', defer = false}", "destroy", {"tank/a"}, {{"defer", false}}},
      {"inherit('tank/a', 'a:b')", "inherit", {"tank/a", "a:b"}, {}},
      {"promote('tank/c')", "promote", {"tank/c"}, {}},
      {"rename_snapshot('tank/a', 'old', 'new')", "rename", {"tank/a@old", "tank/a@new"}, {}},
      {"rollback('tank/a')", "rollback", {"tank/a"}, {}},
      {"set_prop('tank/a', 'a:b', 'x')", "set", {"tank/a", Record{{"a:b", "x"}}}, {}},
      {"snapshot('tank/a@s')", "snapshot", {"tank/a@s"}, {}},
      {"snapshot{'tank/a@s'}", "snapshot", {"tank/a@s"}, {}},
  };
  for (const auto& each : kCases) {
    for (const char* mode : {"sync", "check"}) {
      SCOPED_TRACE(std::string(mode) + "." + each.call);
      const Outcome outcome =
          shared_daemon().run(std::string("return table.pack(zfs.") + mode + "." + each.call + ")");
      ASSERT_TRUE(outcome.end);
      EXPECT_EQ(outcome.end->message, "");
      EXPECT_EQ(outcome.end->value, Value(Record{{"1", i64{0}}, {"n", i64{1}}}));
      ASSERT_EQ(outcome.asks.size(), 1U);
      EXPECT_EQ(name_of(outcome.asks[0]), std::string(mode) + " " + each.verb);
      EXPECT_EQ(Value(outcome.asks[0].positional), Value(each.positional));
      EXPECT_EQ(Value(outcome.asks[0].named), Value(each.named));
    }
  }
}

TEST(Zfs, OperationsReturnErrnoAndDetails) {
  const auto answered = [](const char* call, const Answer& answer) {
    return value_of(std::string("return table.pack(zfs.sync.") + call + ")",
                    [&](const Ask&) { return answer; });
  };
  EXPECT_EQ(
      answered("promote('tank/c')", refused(EEXIST, "conflicts", List{"s1", "s2"})),
      Value(Record{{"1", i64{EEXIST}}, {"2", Record{{"1", "s1"}, {"2", "s2"}}}, {"n", i64{2}}}));
  EXPECT_EQ(answered("rollback('tank/v')", ok(Record{{"target", "tank/v@s"}})),
            Value(Record{{"1", i64{0}}, {"2", Record{{"target", "tank/v@s"}}}, {"n", i64{2}}}));
  EXPECT_EQ(answered("destroy('tank/c')", refused(EBUSY, "in use", Value())),
            Value(Record{{"1", i64{EBUSY}}, {"n", i64{1}}}));
}

// Errors of the device end a program that changes the pool, and are a result for one that asks.
TEST(Zfs, InputOutputErrorsAreFatalInSync) {
  const auto reply = [](const Ask&) { return refused(EIO, "the disk says no", Value()); };
  EXPECT_EQ(error_of("zfs.sync.destroy('tank/a')", reply),
            "test.lua:1: zfs.sync.destroy: tank/a: the disk says no");
  EXPECT_EQ(value_of("return zfs.check.destroy('tank/a')", reply), Value(i64{EIO}));
}

TEST(Zfs, RefusesWithoutAsking) {
  const struct {
    const char* call;
    int error;
  } kCases[] = {
      {"set_prop('tank/a', 'quota', '5')", EINVAL},
      {"snapshot('tank/a')", EINVAL},
      {"destroy('tank/a@s1,s2')", EINVAL},
      {"destroy('tank/a@s1%s3')", EINVAL},
      {"destroy('tank/a@')", EINVAL},
      {"destroy('tank/a#b')", EINVAL},
      {"rollback('tank/a@s')", EINVAL},
      {"rename_snapshot('tank/a@x', 'a', 'b')", EINVAL},
      {"rename_snapshot('tank/a', 'a@b', 'b')", EINVAL},
      {"rename_snapshot('tank/a', 'a', 'b/c')", EINVAL},
      {"snapshot('other/a@s')", EXDEV},
      {"clone('other/a@s', 'tank/x')", EXDEV},
      {"destroy('tanker/a')", EXDEV},
  };
  for (const auto& each : kCases) {
    for (const char* mode : {"sync", "check"}) {
      SCOPED_TRACE(each.call);
      const Outcome outcome =
          shared_daemon().run(std::string("return zfs.") + mode + "." + each.call);
      ASSERT_TRUE(outcome.end);
      EXPECT_EQ(outcome.end->value, Value(i64{each.error})) << outcome.end->message;
      EXPECT_TRUE(outcome.asks.empty());
    }
  }
}

TEST(Zfs, WrongArgumentsAreFatal) {
  const struct {
    const char* call;
    const char* message;
  } kCases[] = {
      {"zfs.sync.destroy()",
       "test.lua:1: zfs.sync.destroy: 1 arguments are expected, not 0; usage: "
       "zfs.sync.destroy(filesystem | volume | snapshot, [defer=boolean])"},
      {"zfs.sync.destroy('tank/a', true)", "1 arguments are expected, not 2"},
      {"zfs.sync.destroy{'tank/a', true}", "unknown argument '2'"},
      {"zfs.sync.destroy{'tank/a', defer = 'yes'}", "argument 'defer' is a string, not a boolean"},
      {"zfs.sync.destroy{'tank/a', recursive = true}", "unknown argument 'recursive'"},
      {"zfs.sync.destroy{defer = true}", "argument 1 is a nil, not a string"},
      {"zfs.sync.destroy(7)", "argument 1 is a number, not a string"},
      {"zfs.check.set_prop('tank/a', 'a:b', 7)", "argument 3 is a number, not a string"},
      {"zfs.check.set_prop('tank/a', 'a:b')", "3 arguments are expected, not 2"},
      {"zfs.sync.promote{{}}", "argument 1 is a table, not a string"},
      {"zfs.exists()", "usage: zfs.exists(dataset)"},
      {"zfs.exists('tank', 'tank')", "usage: zfs.exists(dataset)"},
      {"zfs.get_prop('tank')", "usage: zfs.get_prop(dataset, property)"},
      {"zfs.debug({})", "usage: zfs.debug(debug string)"},
      {"zfs.list.snapshots()", "usage: zfs.list.snapshots(filesystem | volume)"},
      {"zfs.list.holds(1)", "usage: zfs.list.holds(snapshot)"},
      {"zfs.sync.explode('tank')", "attempt to call a nil value (field 'explode')"},
  };
  for (const auto& each : kCases) {
    SCOPED_TRACE(each.call);
    const Outcome outcome = shared_daemon().run(each.call);
    ASSERT_TRUE(outcome.end);
    EXPECT_EQ(outcome.end->ending, message::Ending::failed);
    EXPECT_THAT(outcome.end->message, HasSubstr(each.message));
    EXPECT_TRUE(outcome.asks.empty());
  }
}

TEST(Zfs, OtherPoolsAreFatalToQuestions) {
  for (const char* call :
       {"zfs.exists('other')", "zfs.get_prop('other/a', 'used')", "zfs.list.children('other')",
        "zfs.list.clones('other/a@s')", "zfs.exists('tankx/a')", "zfs.exists('')"}) {
    SCOPED_TRACE(call);
    const Outcome outcome = shared_daemon().run(call);
    EXPECT_EQ(outcome.end->ending, message::Ending::failed);
    EXPECT_THAT(outcome.end->message, HasSubstr("is not in the pool of this program, tank"));
    EXPECT_TRUE(outcome.asks.empty());
  }
}

Answer properties(const Ask& ask) {
  if (ask.call == Call::exists) return ok(true);
  if (ask.call != Call::get) return ok();
  const std::string& name = std::get<std::string>(ask.positional[0].data);
  const std::string& property = std::get<std::string>(ask.positional[1].data);
  if (property == "type") return ok(List{name == "tank" ? "group" : "volume", Value()});
  if (property == "used") return ok(List{i64{1} << 40, Value()});
  if (property == "quota") return ok(List{i64{5}, "default"});
  if (property == "a:b") return ok(List{"x", "tank"});
  if (property == "origin") return ok();
  return fatal("there is no property " + property);
}

TEST(Zfs, Properties) {
  EXPECT_EQ(value_of(R"(
    return {zfs.exists("tank"), zfs.get_prop("tank", "type"), zfs.get_prop("tank/v", "type"),
            table.pack(zfs.get_prop("tank", "used")), table.pack(zfs.get_prop("tank", "quota")),
            table.pack(zfs.get_prop{"tank/v", "a:b"}), table.pack(zfs.get_prop("tank", "origin"))})",
                     properties),
            Value(Record{{"1", true},
                         {"2", "filesystem"},
                         {"3", "volume"},
                         {"4", Record{{"1", i64{1} << 40}, {"n", i64{2}}}},
                         {"5", Record{{"1", i64{5}}, {"2", "default"}, {"n", i64{2}}}},
                         {"6", Record{{"1", "x"}, {"2", "tank"}, {"n", i64{2}}}},
                         {"7", Record{{"n", i64{0}}}}}));
  // Where the program is wrong, not where the layer found out.
  EXPECT_EQ(error_of("\nzfs.get_prop('tank', 'nonsense')", properties),
            "test.lua:2: pool.get: there is no property nonsense");
}

Answer lists(const Ask& ask) {
  static std::string what;
  if (ask.call == Call::list) {
    what = std::get<std::string>(ask.positional[0].data);
    return ok(i64{1});
  }
  if (ask.call != Call::page) return ok();
  if (what == "holds") return ok(List{List{Value(List{"keep", i64{1700000000}})}, i64{0}});
  if (what == "user_properties") return ok(List{List{Value(List{"a:b", "x", "tank"})}, i64{0}});
  if (what == "system_properties") return ok(List{List{List{"type"}, List{"used"}}, i64{0}});
  return ok(List{List{List{"tank/one"}, List{"tank/two"}}, i64{0}});
}

TEST(Zfs, Lists) {
  for (const char* what : {"children", "snapshots", "bookmarks", "clones"}) {
    EXPECT_EQ(value_of(std::string("local t = {} for name, more in zfs.list.") + what +
                           "('tank') do assert(more == nil) t[#t + 1] = name end return t",
                       lists),
              Value(Record{{"1", "tank/one"}, {"2", "tank/two"}}));
  }
  EXPECT_EQ(
      value_of("for tag, time in zfs.list.holds('tank/a@s') do return {tag, time} end", lists),
      Value(Record{{"1", "keep"}, {"2", i64{1700000000}}}));
  for (const char* what : {"user_properties", "properties"}) {
    EXPECT_EQ(value_of(std::string("for name, value, source in zfs.list.") + what +
                           "('tank') do return {name, value, source} end",
                       lists),
              Value(Record{{"1", "a:b"}, {"2", "x"}, {"3", "tank"}}));
  }
  EXPECT_EQ(value_of("return zfs.list.system_properties('tank')", lists),
            Value(Record{{"1", "type"}, {"2", "used"}}));
  EXPECT_EQ(value_of("return select('#', zfs.debug('told'))"), Value(i64{0}));
}

// The shape that programs for the original have: a recursive destroy that gathers failures.
TEST(Zfs, RunsAProgramWrittenForTheOriginal) {
  const char* source = R"(
succeeded = {}
failed = {}

function destroy_recursive(root)
    for child in zfs.list.children(root) do
        destroy_recursive(child)
    end
    for snap in zfs.list.snapshots(root) do
        err = zfs.sync.destroy(snap)
        if (err ~= 0) then
            failed[snap] = err
        else
            succeeded[snap] = err
        end
    end
    err = zfs.sync.destroy(root)
    if (err ~= 0) then
        failed[root] = err
    else
        succeeded[root] = err
    end
end

args = ...
argv = args["argv"]

destroy_recursive(argv[1])

results = {}
results["succeeded"] = succeeded
results["failed"] = failed
return results)";
  std::vector<std::string> cursors;
  const auto reply = [&](const Ask& ask) {
    const auto text = [&](size_t i) { return std::get<std::string>(ask.positional[i].data); };
    if (ask.call == Call::list) {
      cursors.push_back(name_of(ask) + " " + text(1));
      return ok(static_cast<i64>(cursors.size() - 1));
    }
    if (ask.call == Call::page) {
      const std::string& list =
          cursors.at(static_cast<size_t>(std::get<i64>(ask.positional[0].data)));
      const i64 from = std::get<i64>(ask.positional[1].data);
      List rows;
      if (list == "list children tank/a" && from == 0) rows.push_back(List{"tank/a/b"});
      if (list == "list snapshots tank/a/b" && from == 0) rows.push_back(List{"tank/a/b@s"});
      return ok(List{std::move(rows), i64{0}});
    }
    if (ask.call == Call::sync && text(0) == "tank/a") return refused(EBUSY, "held", Value());
    return ok();
  };
  message::Begin begin = testing::begin_of(source);
  begin.argument = Record{{"argv", List{"tank/a"}}};
  const Outcome outcome = shared_daemon().run(begin, reply);
  ASSERT_TRUE(outcome.end);
  EXPECT_EQ(outcome.end->message, "");
  EXPECT_EQ(outcome.end->value,
            Value(Record{{"failed", Record{{"tank/a", i64{EBUSY}}}},
                         {"succeeded", Record{{"tank/a/b", i64{0}}, {"tank/a/b@s", i64{0}}}}}));
}

}  // namespace
}  // namespace coppice::lua
