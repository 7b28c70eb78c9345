// What a program returns, and what it is given: the table of conversions.
#include "helper/lua/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "helper/lua/testing/daemon.h"

namespace coppice::lua {
namespace {

using message::Ending;
using message::List;
using message::Record;
using message::Value;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::shared_daemon;
using testing::value_of;

TEST(Returned, IsConvertedByThisTable) {
  const std::string all_bytes("\0\1\xff\n\"", 5);
  const struct {
    const char* source;
    Value expected;
  } kCases[] = {
      {"", {}},
      {"return", {}},
      {"return nil", true},
      {"return true", true},
      {"return false", false},
      {"return 0", i64{0}},
      {"return -1", i64{-1}},
      {"return math.maxinteger", std::numeric_limits<i64>::max()},
      {"return math.mininteger", std::numeric_limits<i64>::min()},
      {"return 1.0", 1.0},
      {"return 2^53", 9007199254740992.0},
      {"return 1/0", HUGE_VAL},
      {"return -0.0", -0.0},
      {"return ''", ""},
      {"return 'text'", "text"},
      {"return '\\0\\1\\255\\n\"'", all_bytes},
      {"return '12'", "12"},
      {"return {}", Record{}},
      {"return {10, 20}", Record{{"1", i64{10}}, {"2", i64{20}}}},
      {"return {a = 1}", Record{{"a", i64{1}}}},
      {"return {b = 1, a = 2, [3] = 0, [-1] = 0, 'x'}",
       Record{{"-1", i64{0}}, {"1", "x"}, {"3", i64{0}}, {"a", i64{2}}, {"b", i64{1}}}},
      {"return {[true] = 1, [false] = 2}", Record{{"false", i64{2}}, {"true", i64{1}}}},
      {"return {[1.0] = 'whole'}", Record{{"1", "whole"}}},
      {"return {[''] = 1}", Record{{"", i64{1}}}},
      {"return {nil, 2}", Record{{"2", i64{2}}}},
      {"return {a = {b = {c = 'deep'}}}", Record{{"a", Record{{"b", Record{{"c", "deep"}}}}}}},
      {"local t = {1} return {x = t, y = t}",
       Record{{"x", Record{{"1", i64{1}}}}, {"y", Record{{"1", i64{1}}}}}},
      {"return setmetatable({a = 1}, {__index = function() error('not called') end, __len = error, "
       "__pairs = error, __tostring = error})",
       Record{{"a", i64{1}}}},
      {"local t = {} for i = 1, 12 do t[i] = i end return t", Record{{"1", i64{1}},
                                                                     {"2", i64{2}},
                                                                     {"3", i64{3}},
                                                                     {"4", i64{4}},
                                                                     {"5", i64{5}},
                                                                     {"6", i64{6}},
                                                                     {"7", i64{7}},
                                                                     {"8", i64{8}},
                                                                     {"9", i64{9}},
                                                                     {"10", i64{10}},
                                                                     {"11", i64{11}},
                                                                     {"12", i64{12}}}},
  };
  for (const auto& each : kCases) {
    SCOPED_TRACE(each.source);
    const Outcome outcome = shared_daemon().run(each.source);
    ASSERT_TRUE(outcome.end);
    EXPECT_EQ(outcome.end->ending, Ending::returned);
    EXPECT_EQ(outcome.end->message, "");
    EXPECT_EQ(outcome.end->value, each.expected);
    EXPECT_EQ(outcome.ended.status, 0);
  }
  const Value nan = value_of("return 0/0");
  ASSERT_TRUE(std::holds_alternative<double>(nan.data));
  EXPECT_TRUE(std::isnan(std::get<double>(nan.data)));
}

TEST(Returned, IsRefusedByThisTable) {
  const struct {
    const char* source;
    const char* message;
  } kCases[] = {
      {"return type", "a function cannot be returned"},
      {"return function() end", "a function cannot be returned"},
      {"return coroutine.create(type)", "a thread cannot be returned"},
      {"return {a = type}", "a function cannot be returned at return.a"},
      {"return {a = {[3] = {b = coroutine.create(type)}}}",
       "a thread cannot be returned at return.a.3.b"},
      {"return {[1.5] = 1}", "a float as a key cannot be returned"},
      {"return {x = {[{}] = 1}}", "a table as a key cannot be returned at return.x"},
      {"return {[type] = 1}", "a function as a key cannot be returned"},
      {"return {[1] = 'a', ['1'] = 'b'}",
       "two keys of a table that are the same once they are text, \"1\", cannot be returned"},
      {"return {[true] = 'a', ['true'] = 'b'}",
       "two keys of a table that are the same once they are text, \"true\", cannot be returned"},
      {"return {y = {[-7] = 1, ['-7'] = 2}}",
       "two keys of a table that are the same once they are text, \"-7\", cannot be returned at "
       "return.y"},
      {"local t = {} t.t = t return t", nullptr},
      {"return 1, 2", "more than one value returned: a program returns one, or a table of them"},
      {"return nil, nil",
       "more than one value returned: a program returns one, or a table of them"},
  };
  for (const auto& each : kCases) {
    SCOPED_TRACE(each.source);
    const Outcome outcome = shared_daemon().run(each.source);
    ASSERT_TRUE(outcome.end);
    EXPECT_EQ(outcome.end->ending, Ending::result);
    EXPECT_FALSE(outcome.end->too_big);
    EXPECT_TRUE(outcome.end->value.is_nil());
    if (each.message != nullptr) {
      EXPECT_EQ(outcome.end->message, each.message);
    }
  }
}

TEST(Returned, NestsTwentyTablesDeep) {
  const auto nested = [](int depth) {
    return shared_daemon().run("local t = 'leaf' for i = 1, " + std::to_string(depth) +
                               " do t = {t} end return t");
  };
  EXPECT_EQ(nested(20).end->ending, Ending::returned);
  const Outcome deeper = nested(21);
  EXPECT_EQ(deeper.end->ending, Ending::result);
  EXPECT_THAT(deeper.end->message, HasSubstr("tables nested deeper than 20 at return.1.1.1"));
}

// As much as the program may have of memory, and what a frame holds.
TEST(Returned, IsBounded) {
  const auto sized = [](int bytes, u64 memory) {
    return shared_daemon().run("return string.rep('x', " + std::to_string(bytes) + ")", {},
                               {.memory_bytes = memory});
  };
  const Outcome fits = sized(4'000'000, 10_MiB);
  EXPECT_EQ(std::get<std::string>(fits.end->value.data).size(), 4'000'000U);
  EXPECT_EQ(sized(14'000'000, 100_MiB).end->ending, Ending::returned);
  const Outcome too_big = sized(17'000'000, 100_MiB);
  EXPECT_EQ(too_big.end->ending, Ending::result);
  EXPECT_TRUE(too_big.end->too_big);
  EXPECT_EQ(too_big.end->message, "the returned value is too big");
  const Outcome shared = shared_daemon().run(R"(
    local s = string.rep("x", 1000000)
    local t = {}
    for i = 1, 12 do t[i] = s end
    return t)");
  EXPECT_TRUE(shared.end->too_big);  // It is 12 MB of a program that may have 10.
  const Outcome many = shared_daemon().run(
      "local t = {} for i = 1, 499990 do t[i] = true end return t", {}, {.memory_bytes = 100_MiB});
  EXPECT_EQ(std::get<Record>(many.end->value.data).size(), 499'990U);
  const Outcome too_many = shared_daemon().run(
      "local t = {} for i = 1, 600000 do t[i] = true end return t", {}, {.memory_bytes = 100_MiB});
  EXPECT_TRUE(too_many.end->too_big);
}

TEST(Argument, IsWhatTheChunkIsCalledWith) {
  message::Begin begin = testing::begin_of(
      "local args, more = ... return {type(args), args.argv and #args.argv or -1, select('#', "
      "...), "
      "tostring(argv)}");
  EXPECT_EQ(shared_daemon().run(begin).end->value,
            Value(Record{{"1", "table"}, {"2", i64{2}}, {"3", i64{1}}, {"4", "nil"}}));
  begin.source = "return ...";
  const Value tree = Record{{"a", Record{{"1", i64{5}}, {"2", 2.5}}},
                            {"b", false},
                            {"c", "text"},
                            {"d", Record{{"1", Record{{"1", "x"}}}}}};
  begin.argument = Record{{"a", List{i64{5}, 2.5}},
                          {"b", false},
                          {"c", "text"},
                          {"d", List{Value(List{"x"})}},
                          {"e", Value()}};
  EXPECT_EQ(shared_daemon().run(begin).end->value, tree);
  begin.argument = {};
  begin.source = "return type((...))";
  EXPECT_EQ(shared_daemon().run(begin).end->value, Value("nil"));
}

}  // namespace
}  // namespace coppice::lua
