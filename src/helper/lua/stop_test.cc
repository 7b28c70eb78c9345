// The limits: counted exactly, and never caught.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "helper/lua/testing/daemon.h"

namespace coppice::lua {
namespace {

using message::Ending;
using message::Value;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::shared_daemon;

u64 instructions_of(std::string_view source) {
  const Outcome outcome = shared_daemon().run(source);
  EXPECT_TRUE(outcome.end && outcome.end->message.empty()) << source;
  return outcome.end ? outcome.end->instructions : 0;
}

// An iteration of an empty loop is one instruction, of a loop with an addition two (the second, for
// metamethods, is jumped over); of one with a call what the function has more.
TEST(Instructions, AreCountedOneByOne) {
  const u64 empty = instructions_of("for i = 1, 1000 do end");
  EXPECT_EQ(instructions_of("for i = 1, 2000 do end"), empty + 1000);
  EXPECT_EQ(instructions_of("for i = 1, 1001 do end"), empty + 1);
  const u64 adding = instructions_of("local s = 0 for i = 1, 1000 do s = s + i end");
  EXPECT_EQ(instructions_of("local s = 0 for i = 1, 2000 do s = s + i end"), adding + 2000);
}

// What a program needs is enough; one less is not, wherever it ends: in the main chunk, in a
// coroutine, in a function called by a sort.
TEST(Instructions, LimitExactly) {
  const char* kSources[] = {
      "for i = 1, 1000 do end",
      "local f = coroutine.wrap(function() for i = 1, 100 do coroutine.yield(i) end end) "
      "for i = 1, 50 do f() end",
      "local t = {} for i = 1, 100 do t[i] = -i end table.sort(t, function(a, b) return a < b end)",
      "local function f(n) if n > 0 then return f(n - 1) end end f(100) "
      "string.gsub('aaa', 'a', function(c) return c .. c end)",
  };
  for (const char* source : kSources) {
    SCOPED_TRACE(source);
    const u64 needed = instructions_of(source);
    const Outcome enough = shared_daemon().run(source, {}, {.instructions = needed});
    ASSERT_TRUE(enough.end);
    EXPECT_EQ(enough.end->ending, Ending::returned);
    EXPECT_EQ(enough.end->instructions, needed);
    for (const u64 budget : {needed - 1, needed / 2, u64{1}, u64{0}}) {
      const Outcome cut = shared_daemon().run(source, {}, {.instructions = budget});
      ASSERT_TRUE(cut.end);
      EXPECT_EQ(cut.end->ending, Ending::instructions);
      EXPECT_EQ(cut.end->instructions, budget);
      EXPECT_EQ(cut.end->message, "the program has used up its instructions");
    }
  }
}

// The traceback of a limit is of the program that met it.
TEST(Instructions, LimitTellsWhereItStruck) {
  const Outcome cut =
      shared_daemon().run("local rounds = 7\nwhile rounds > 0 do end", {}, {.instructions = 1000});
  ASSERT_TRUE(cut.end);
  EXPECT_EQ(cut.end->ending, Ending::instructions);
  EXPECT_THAT(cut.end->traceback, HasSubstr(":2: in main chunk"));
  EXPECT_THAT(cut.end->traceback, HasSubstr("rounds = 7"));
}

// The report of a limit shows where it was met, through coroutines, with locals.
TEST(Limits, ShowWhereTheyWereMet) {
  const Outcome outcome = shared_daemon().run(R"(
    local outside = "main"
    local f = coroutine.wrap(function(count)
      local inside = "thread"
      while true do count = count + 1 end
    end)
    pcall(f, 5))");
  ASSERT_TRUE(outcome.end);
  const std::string& report = outcome.end->traceback;
  EXPECT_THAT(report, HasSubstr("inside = \"thread\""));
  EXPECT_THAT(report, HasSubstr("outside = \"main\""));
  EXPECT_LT(report.find("inside ="), report.find("outside ="));
  const Outcome memory = shared_daemon().run(
      "local name = 'collector' local t = {} while true do t[#t + 1] = {name} end");
  EXPECT_THAT(memory.end->traceback, HasSubstr("name = \"collector\""));
}

// Coroutines count as if there were none: what they use is the program's, whoever resumes them.
TEST(Instructions, OfCoroutinesCount) {
  const char* source = R"(
    local function worker(n) for i = 1, n do if i % 100 == 0 then coroutine.yield() end end end
    local threads = {}
    for i = 1, 20 do threads[i] = coroutine.create(worker) end
    local function round(n) for i = 1, 20 do coroutine.resume(threads[i], n) end end
    round(COUNT))";
  const auto with = [&](const char* count) {
    std::string text = source;
    text.replace(text.find("COUNT"), 5, count);
    return instructions_of(text);
  };
  // 20 threads, 40 rounds more each; a round is a modulo, a comparison with its jump, and the loop.
  EXPECT_EQ(with("90") - with("50"), 20 * 40 * 3U);
}

// Whatever a program puts around it, the end of its means ends it, with what it had used up.
TEST(Limits, AreNeverCaught) {
  const struct {
    const char* name;
    const char* source;  // SPEND is put where means are used up.
  } kWays[] = {
      {"plain", "SPEND"},
      {"pcall", "pcall(function() SPEND end)"},
      {"pcall in a loop", "while true do pcall(function() SPEND end) end"},
      {"nested pcall", "pcall(pcall, pcall, function() SPEND end)"},
      {"xpcall", "xpcall(function() SPEND end, function(e) return 'caught' end)"},
      {"xpcall in a loop", "while true do xpcall(function() SPEND end, function() end) end"},
      {"in a handler", "xpcall(error, function(e) SPEND end)"},
      {"in a handler of a handler",
       "xpcall(function() xpcall(error, function() SPEND end) end, function() return 1 end)"},
      {"resume", "coroutine.resume(coroutine.create(function() SPEND end))"},
      {"resume in a loop",
       "while true do coroutine.resume(coroutine.create(function() SPEND end)) end"},
      {"wrap", "pcall(coroutine.wrap(function() SPEND end))"},
      {"resume after a yield",
       "local t = coroutine.create(function() coroutine.yield() pcall(function() SPEND end) end) "
       "coroutine.resume(t) coroutine.resume(t)"},
      {"pcall with a yield inside",
       "local t = coroutine.create(function() pcall(function() coroutine.yield() SPEND end) end) "
       "coroutine.resume(t) coroutine.resume(t)"},
      {"close of a coroutine",
       "local t = coroutine.create(function() local x <close> = setmetatable({}, "
       "{__close = function() SPEND end}) coroutine.yield() end) "
       "coroutine.resume(t) pcall(coroutine.close, t)"},
      {"close of a variable",
       "pcall(function() local x <close> = setmetatable({}, {__close = function() SPEND end}) "
       "end)"},
      {"close while unwinding",
       "pcall(function() local x <close> = setmetatable({}, {__close = function() SPEND end}) "
       "error('x') end)"},
      {"close after the limit",
       "pcall(function() local x <close> = setmetatable({}, {__close = function() "
       "while true do end end}) SPEND end)"},
      {"metamethods",
       "local m = setmetatable({}, {__index = function() SPEND end}) pcall(function() return m.x "
       "end)"},
      {"comparison in a sort", "pcall(table.sort, {3, 2, 1, 5, 4}, function() SPEND end)"},
      {"gsub", "pcall(string.gsub, 'aaaa', 'a', function() SPEND end)"},
      {"tostring", "pcall(tostring, setmetatable({}, {__tostring = function() SPEND end}))"},
      {"savepoint", "pool.savepoint(function() SPEND end)"},
      {"savepoints in a loop", "while true do pcall(pool.savepoint, function() SPEND end) end"},
      {"iterator", "pcall(function() for x in function() SPEND end do end end)"},
      {"deep", "local function f(n) if n == 0 then SPEND end pcall(f, n - 1) end f(20)"},
  };
  const struct {
    const char* spend;
    Ending ending;
    const char* message;
  } kMeans[] = {
      {"while true do end", Ending::instructions, "the program has used up its instructions"},
      {"local t = {} while true do t[#t + 1] = {1, 2, 3} end", Ending::memory,
       "the program has used up its memory"},
      {"local s = 'x' while true do s = s .. s end", Ending::memory,
       "the program has used up its memory"},
      {"local t = {} for i = 1, 100 do t[i] = string.rep('x', 1000000) end", Ending::memory,
       "the program has used up its memory"},
      {"string.format('%s%s', string.rep('x', 6000000), string.rep('y', 6000000))", Ending::memory,
       "the program has used up its memory"},
      {"local function f() local t = coroutine.create(f) coroutine.resume(t) end "
       "local k = {} while true do k[#k + 1] = coroutine.create(f) end",
       Ending::memory, "the program has used up its memory"},
  };
  for (const auto& means : kMeans) {
    for (const auto& way : kWays) {
      SCOPED_TRACE(std::string(way.name) + ": " + means.spend);
      std::string source = way.source;
      for (size_t at; (at = source.find("SPEND")) != std::string::npos;) {
        source.replace(at, 5, std::string("do ") + means.spend + " end");
      }
      const Outcome outcome = shared_daemon().run(
          source,
          [](const testing::Ask& ask) {
            return testing::ok(ask.call == message::Call::savepoint ? Value(i64{1}) : Value());
          },
          {.instructions = 3'000'000});
      ASSERT_TRUE(outcome.end);
      EXPECT_EQ(outcome.end->ending, means.ending);
      EXPECT_EQ(outcome.end->message, means.message);
      EXPECT_THAT(outcome.end->traceback, HasSubstr("test.lua:1:"));
      if (means.ending == Ending::instructions) {
        EXPECT_EQ(outcome.end->instructions, 3'000'000U);
      } else {
        EXPECT_LE(outcome.end->memory_peak_bytes, 10_MiB);
        EXPECT_GE(outcome.end->memory_peak_bytes, 3_MiB);
      }
    }
  }
}

// Garbage is collected before a program is told that memory is used up, for buffers too, and the
// count is of what was asked for.
TEST(Memory, IsOfWhatIsInUse) {
  const Outcome garbage = shared_daemon().run(
      "local n = 0 for i = 1, 40 do n = n + #string.rep('x', 1000000) end return n");
  ASSERT_TRUE(garbage.end);
  EXPECT_EQ(garbage.end->value, Value(i64{40'000'000}));
  EXPECT_LE(garbage.end->memory_peak_bytes, 10_MiB);
  const Outcome buffers = shared_daemon().run(R"(
    local s = string.rep("x", 1000000)
    local t = {}
    for i = 1, 20 do t = table.concat({s, s}) t = t:upper() end
    return #t)");
  ASSERT_TRUE(buffers.end);
  EXPECT_EQ(buffers.end->value, Value(i64{2'000'000}));
  for (const u64 kib : {64, 256, 1024, 4096}) {
    const Outcome held = shared_daemon().run("local s = string.rep('x', " +
                                             std::to_string(kib * 1024) + ") return #s");
    ASSERT_TRUE(held.end);
    EXPECT_GE(held.end->memory_peak_bytes, kib * 1024);
    EXPECT_LE(held.end->memory_peak_bytes, 3 * kib * 1024 + 32 * 1024);
  }
}

TEST(Memory, LimitIsTheProgramsOwn) {
  const char* source = "local s = string.rep('x', 20000000) return #s";
  const Outcome small = shared_daemon().run(source, {}, {.memory_bytes = 10_MiB});
  ASSERT_TRUE(small.end);
  EXPECT_EQ(small.end->ending, Ending::memory);
  const Outcome large = shared_daemon().run(source, {}, {.memory_bytes = 100_MiB});
  ASSERT_TRUE(large.end);
  EXPECT_EQ(large.end->value, Value(i64{20'000'000}));
  const Outcome none = shared_daemon().run("return {}", {}, {.memory_bytes = 0});
  ASSERT_TRUE(none.end);
  EXPECT_EQ(none.end->ending, Ending::memory);
}

// Functions of the library run without instructions. What bounds them is the CPU limit.
TEST(CpuLimit, EndsWhatCountsNoInstructions) {
  const char* kSources[] = {
      "local a, n = 'a', 300000 return a:rep(n):find(('a?'):rep(n) .. a:rep(n))",
      "return string.rep('a', 40):find('.-.-.-.-.-.-.-.-b')",
      "local t = {} for i = 1, 200000 do t[i] = i end while true do table.concat(t) end",
  };
  for (const char* source : kSources) {
    SCOPED_TRACE(source);
    const Outcome outcome =
        shared_daemon().run(source, {}, {.instructions = 100'000'000, .cpu_ns = 100'000'000});
    if (outcome.end) {
      EXPECT_NE(outcome.end->ending, Ending::instructions);
      continue;
    }
    EXPECT_EQ(outcome.ended.signal, SIGPROF);
    EXPECT_LT(outcome.elapsed_ns, 5'000'000'000U);
  }
}

}  // namespace
}  // namespace coppice::lua
