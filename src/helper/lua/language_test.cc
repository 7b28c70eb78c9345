// The language that programs see: what is there, what is not, and that it is the same every time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "helper/lua/testing/daemon.h"

namespace coppice::lua {
namespace {

using message::Ending;
using message::List;
using message::Record;
using message::Value;
using testing::Daemon;
using testing::error_of;
using ::testing::HasSubstr;
using testing::shared_daemon;
using testing::value_of;

TEST(Language, HasExactlyTheseGlobals) {
  const Value names = value_of(R"(
    local names = {}
    for name, value in pairs(_G) do
      if type(value) ~= "number" then names[#names + 1] = name end
    end
    table.sort(names)
    return table.concat(names, " "))");
  EXPECT_EQ(names, Value("_G _VERSION assert collectgarbage coroutine error getmetatable ipairs "
                         "math next pairs pcall pool rawequal rawget rawlen rawset select "
                         "setmetatable string table tonumber tostring type utf8 xpcall zfs"));
}

TEST(Language, HasExactlyTheseFunctionsInItsLibraries) {
  const Value names = value_of(R"(
    local result = {}
    for _, library in ipairs{"string", "table", "math", "utf8", "coroutine"} do
      local names = {}
      for name in pairs(_G[library]) do names[#names + 1] = name end
      table.sort(names)
      result[library] = table.concat(names, " ")
    end
    return result)");
  const Record expected = {
      {"coroutine", "close create isyieldable resume running status wrap yield"},
      {"math",
       "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max "
       "maxinteger min mininteger modf pi pow rad random randomseed sin sinh sqrt tan tanh "
       "tointeger type ult"},
      {"string",
       "byte char find format gmatch gsub len lower match pack packsize rep reverse sub unpack "
       "upper"},
      {"table", "concat insert move pack remove sort unpack"},
      {"utf8", "char charpattern codepoint codes len offset"}};
  EXPECT_EQ(names, Value(expected));
}

TEST(Language, KnowsErrnoNames) {
  const struct {
    const char* name;
    int value;
  } kNames[] = {{"EPERM", EPERM},   {"ENOENT", ENOENT},   {"ESRCH", ESRCH},
                {"EINTR", EINTR},   {"EIO", EIO},         {"ENXIO", ENXIO},
                {"E2BIG", E2BIG},   {"ENOEXEC", ENOEXEC}, {"EBADF", EBADF},
                {"ECHILD", ECHILD}, {"EAGAIN", EAGAIN},   {"ENOMEM", ENOMEM},
                {"EACCES", EACCES}, {"EFAULT", EFAULT},   {"ENOTBLK", ENOTBLK},
                {"EBUSY", EBUSY},   {"EEXIST", EEXIST},   {"EXDEV", EXDEV},
                {"ENODEV", ENODEV}, {"ENOTDIR", ENOTDIR}, {"EISDIR", EISDIR},
                {"EINVAL", EINVAL}, {"ENFILE", ENFILE},   {"EMFILE", EMFILE},
                {"ENOTTY", ENOTTY}, {"ETXTBSY", ETXTBSY}, {"EFBIG", EFBIG},
                {"ENOSPC", ENOSPC}, {"ESPIPE", ESPIPE},   {"EROFS", EROFS},
                {"EMLINK", EMLINK}, {"EPIPE", EPIPE},     {"EDOM", EDOM},
                {"ERANGE", ERANGE}, {"EDEADLK", EDEADLK}, {"ENAMETOOLONG", ENAMETOOLONG},
                {"ENOLCK", ENOLCK}, {"ECHRNG", ECHRNG},   {"ENOTSUP", ENOTSUP},
                {"EDQUOT", EDQUOT}, {"ETIME", ETIME},     {"ECANCELED", ECANCELED}};
  std::string source = "return {";
  for (const auto& each : kNames) source += std::string(each.name) + " = " + each.name + ", ";
  const Value values = value_of(source + "}");
  const auto& record = std::get<Record>(values.data);
  ASSERT_EQ(record.size(), std::size(kNames));
  for (const auto& each : kNames) {
    EXPECT_THAT(record,
                ::testing::Contains(std::pair<std::string, Value>(each.name, i64{each.value})));
  }
}

// Where 5.4 differs from the original's integers is for the manual; here that it is 5.4's.
TEST(Language, CountsAsLua54Does) {
  const Value values = value_of(R"(
    return {7 / 2, 7 // 2, -7 // 2, -7 % 3, 1.5, math.maxinteger + 1 == math.mininteger,
            1 << 62, "10" + 5, 2^53, _VERSION})");
  const Record expected = {{"1", 3.5},          {"2", i64{3}},  {"3", i64{-4}},
                           {"4", i64{2}},       {"5", 1.5},     {"6", true},
                           {"7", i64{1} << 62}, {"8", i64{15}}, {"9", 9007199254740992.0},
                           {"10", "Lua 5.4"}};
  EXPECT_EQ(values, Value(expected));
}

TEST(Language, TakesTextOnlyAndSaysWhereItIsWrong) {
  const auto syntax = shared_daemon().run("local x = = 1");
  ASSERT_TRUE(syntax.end);
  EXPECT_EQ(syntax.end->ending, Ending::syntax);
  EXPECT_EQ(syntax.end->message, "test.lua:1: unexpected symbol near '='");
  EXPECT_EQ(syntax.end->traceback, "");
  EXPECT_EQ(syntax.end->instructions, 0U);
  const auto binary = shared_daemon().run(std::string("\x1bLua\x54\0\x19\x93\r\n\x1a\n", 12));
  ASSERT_TRUE(binary.end);
  EXPECT_EQ(binary.end->ending, Ending::syntax);
  EXPECT_THAT(binary.end->message, HasSubstr("attempt to load a binary chunk (mode is 't')"));
  EXPECT_EQ(value_of("#!/usr/sbin/coppice program\nreturn 1"), Value(i64{1}));
  EXPECT_EQ(error_of("#!/bin/x\nlocal = 1"), "test.lua:2: <name> expected near '='");
  EXPECT_EQ(value_of("# only this"), Value());
}

TEST(Language, CatchesErrors) {
  EXPECT_EQ(value_of("return {pcall(error, 'x')}"), Value(Record{{"1", false}, {"2", "x"}}));
  EXPECT_EQ(value_of("return {pcall(function(...) return ... end, 1, 2)}"),
            Value(Record{{"1", true}, {"2", i64{1}}, {"3", i64{2}}}));
  EXPECT_EQ(value_of("local ok, e = pcall(error, {code = 7}) return e.code"), Value(i64{7}));
  EXPECT_EQ(
      value_of("return {xpcall(function(a) error(a) end, function(e) return e .. '!' end, 'x')}"),
      Value(Record{{"1", false}, {"2", "test.lua:1: x!"}}));
  EXPECT_EQ(value_of("return {xpcall(function(...) return ... end, error, 1, 2)}"),
            Value(Record{{"1", true}, {"2", i64{1}}, {"3", i64{2}}}));
  EXPECT_THAT(error_of("pcall()"), HasSubstr("bad argument #1 to 'pcall'"));
  EXPECT_THAT(error_of("xpcall(error)"), HasSubstr("bad argument #2 to 'xpcall'"));
  EXPECT_EQ(value_of(R"(
    local thread = coroutine.wrap(function()
      return pcall(function() return coroutine.yield(1) + 1 end)
    end)
    return {thread(), select(2, thread(41))})"),
            Value(Record{{"1", i64{1}}, {"2", i64{42}}}));
}

TEST(Language, HasCoroutines) {
  EXPECT_EQ(value_of(R"(
    local log = {}
    local thread = coroutine.create(function(a, b)
      log[#log + 1] = a + b
      local c = coroutine.yield(a * b)
      log[#log + 1] = c
      error("end")
    end)
    local _, product = coroutine.resume(thread, 3, 4)
    log[#log + 1] = product
    log[#log + 1] = coroutine.status(thread)
    local ok, message = coroutine.resume(thread, "c")
    log[#log + 1] = ok
    log[#log + 1] = message
    log[#log + 1] = coroutine.status(thread)
    log[#log + 1] = select(2, coroutine.resume(thread))
    return log)"),
            Value(Record{{"1", i64{7}},
                         {"2", i64{12}},
                         {"3", "suspended"},
                         {"4", "c"},
                         {"5", false},
                         {"6", "test.lua:7: end"},
                         {"7", "dead"},
                         {"8", "cannot resume dead coroutine"}}));
  EXPECT_EQ(value_of(R"(
    local closed = 0
    local thread = coroutine.create(function()
      local x <close> = setmetatable({}, {__close = function() closed = closed + 1 end})
      coroutine.yield()
    end)
    coroutine.resume(thread)
    local ok = coroutine.close(thread)
    return {ok, closed, coroutine.status(thread)})"),
            Value(Record{{"1", true}, {"2", i64{1}}, {"3", "dead"}}));
  EXPECT_EQ(value_of(R"(
    local closed = 0
    local f = coroutine.wrap(function()
      local x <close> = setmetatable({}, {__close = function() closed = closed + 1 end})
      error("inside")
    end)
    local ok, message = pcall(f)
    return {ok, message, closed})"),
            Value(Record{{"1", false}, {"2", "test.lua:5: inside"}, {"3", i64{1}}}));
  EXPECT_THAT(error_of("coroutine.close(coroutine.running())"), HasSubstr("running coroutine"));
  EXPECT_THAT(error_of("coroutine.resume(1)"), HasSubstr("coroutine expected"));
}

TEST(Language, HasNoFinalizersAndLittleCollection) {
  EXPECT_THAT(error_of("setmetatable({}, {__gc = function() end})"), HasSubstr("no finalizers"));
  EXPECT_THAT(error_of("setmetatable({}, {__gc = true})"), HasSubstr("no finalizers"));
  EXPECT_EQ(value_of("return collectgarbage('count') > 10"), Value(true));
  EXPECT_EQ(value_of("return collectgarbage()"), Value(i64{0}));
  for (const char* option : {"stop", "restart", "generational", "incremental", "setpause"}) {
    EXPECT_THAT(error_of(std::string("collectgarbage('") + option + "')"),
                HasSubstr("invalid option"));
  }
}

TEST(Language, HasRandomNumbersOfASeedOnly) {
  const char* source = "return {math.random(1, 1000000), math.random(1, 1000000)}";
  const Value first = value_of(source);
  EXPECT_EQ(first, value_of(source));
  EXPECT_NE(first, value_of("math.randomseed(1) " + std::string(source)));
  EXPECT_EQ(value_of("math.randomseed(7) " + std::string(source)),
            value_of("math.randomseed(7) " + std::string(source)));
  EXPECT_THAT(error_of("math.randomseed()"), HasSubstr("number expected"));
  EXPECT_EQ(value_of("math.randomseed(7, 8) return 1"), Value(i64{1}));
}

// A sort that goes badly takes its pivots at random: from a clock, in Lua as it comes.
TEST(Language, SortsWithoutAClock) {
  EXPECT_EQ(value_of(R"(
    local t = {}
    for i = 1, 20000 do t[i] = "key" .. i % 100 end
    table.sort(t)
    for i = 2, #t do assert(t[i - 1] <= t[i]) end
    return #t)"),
            Value(i64{20'000}));
}

// Everything that could differ from run to run, in two zygotes: order of keys that are texts,
// numbers, tables and functions, addresses, what is left after collection, counts.
TEST(Language, IsTheSameInEveryRun) {
  const char* source = R"(
    local parts = {}
    local function add(...) parts[#parts + 1] = table.concat({...}, " ") end
    local keys = {}
    for i = 1, 500 do keys["key" .. i * 7919] = i end
    for i = 1, 100 do keys[{}] = i; keys[function() return i end] = i; keys[i * 1.5] = i end
    keys[print or type], keys[pairs], keys[coroutine.create(function() end)] = 1, 2, 3
    for key, value in pairs(keys) do add(tostring(key), value) end
    add(tostring({}), tostring(type), tostring(pool), tostring(coroutine.running()))
    add(string.format("%p %p %p", {}, type, "text"))
    add(math.random(), math.random(1 << 40))
    for name in pairs(_G) do add(name) end
    for name in pairs(pool.sync) do add(name) end
    for i = 1, 20000 do local garbage = {i, tostring(i)} end
    add(collectgarbage("count"))
    local weak = setmetatable({}, {__mode = "k"})
    for i = 1, 1000 do weak[{}] = i end
    local left = 0
    for _ in pairs(weak) do left = left + 1 end
    add(left)
    return table.concat(parts, "\n"))";
  Daemon other;
  const auto first = shared_daemon().run(source);
  const auto again = shared_daemon().run(source);
  const auto second = other.run(source);
  ASSERT_TRUE(first.end && second.end && again.end);
  ASSERT_EQ(first.end->message, "");
  ASSERT_GT(std::get<std::string>(first.end->value.data).size(), 10'000U);
  EXPECT_EQ(first.end->value, again.end->value);
  EXPECT_EQ(first.end->value, second.end->value);
  EXPECT_EQ(first.end->instructions, second.end->instructions);
  EXPECT_EQ(first.end->memory_peak_bytes, second.end->memory_peak_bytes);
}

TEST(Language, ReportsFramesWithTheirLocals) {
  const auto outcome = shared_daemon().run(R"(local limit = 3
local function inner(name, options)
  local count <const> = 12
  local ratio, flag = 0.5, true
  error("no such thing: " .. name)
end
local function outer(list)
  for i, each in ipairs(list) do inner(each, {i}) end
end
outer{"tank/\"a\"\n", "b"})");
  ASSERT_TRUE(outcome.end);
  EXPECT_EQ(outcome.end->ending, Ending::failed);
  EXPECT_EQ(outcome.end->message, "test.lua:5: no such thing: tank/\"a\"\n");
  EXPECT_EQ(outcome.end->traceback, R"(
    [C]: in global 'error'
    test.lua:5: in upvalue 'inner'
      name = "tank/\"a\"\010", options = table of 1, ratio = 0.5, flag = true
    test.lua:8: in local 'outer'
      list = table of 2, i = 1, each = "tank/\"a\"\010"
    test.lua:10: in main chunk
      limit = 3, inner = function, outer = function
    [C]: in a function of the library)");
}

TEST(Language, ReportsFramesOfCoroutines) {
  const auto outcome = shared_daemon().run(R"(
local f = coroutine.wrap(function(depth)
  local inside = "here"
  error("lost")
end)
local outside = 1
f(9))");
  ASSERT_TRUE(outcome.end);
  EXPECT_THAT(outcome.end->message, HasSubstr("lost"));
  EXPECT_THAT(outcome.end->traceback, HasSubstr("inside = \"here\""));
  EXPECT_THAT(outcome.end->traceback, HasSubstr("outside = 1"));
  EXPECT_LT(outcome.end->traceback.find("inside ="), outcome.end->traceback.find("outside ="));
}

TEST(Language, ReportsAnyErrorObject) {
  EXPECT_EQ(error_of("error{1}"), "(error object is a table value)");
  EXPECT_EQ(error_of("error(setmetatable({}, {__tostring = function() return 'told' end}))"),
            "told");
  EXPECT_EQ(error_of("error()"), "(error object is a nil value)");
  EXPECT_EQ(error_of("error(12)"), "12");
  EXPECT_EQ(error_of("error(print)"), "(error object is a nil value)");
  EXPECT_EQ(error_of("error(type)"), "(error object is a function value)");
  EXPECT_THAT(error_of("error(setmetatable({}, {__tostring = function() error('again') end}))"),
              ::testing::Not(""));
}

}  // namespace
}  // namespace coppice::lua
