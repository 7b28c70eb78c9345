// Programs and daemons that mean harm: the one ends, the helper goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include "base/prng.h"
#include "helper/lua/seal.h"
#include "helper/lua/testing/daemon.h"

namespace coppice::lua {
namespace {

using message::Call;
using message::Ending;
using message::FrameKind;
using message::List;
using message::Record;
using message::Value;
using testing::Ask;
using ::testing::HasSubstr;
using testing::ok;
using testing::Outcome;
using testing::shared_daemon;
using testing::value_of;

constexpr int kAny = -1;

// Each ends in an orderly way, however it ends; the next program never notices.
TEST(HostileProgram, EndsInOrder) {
  const struct {
    const char* name;
    int ending;  // kAny: any of them, or the CPU limit.
    const char* message;
    const char* source;
  } kPrograms[] = {
      {"recursion", int(Ending::memory), "", "local function f() return 1 + f() end f()"},
      {"caught recursion", int(Ending::memory), "",
       "local function f() return 1 + f() end for i = 1, 3 do pcall(f) end"},
      {"recursion in tail calls", int(Ending::instructions), "",
       "local function f() return f() end f()"},
      {"recursion through pcall", int(Ending::returned), "", "local function f() pcall(f) end f()"},
      {"recursion through metamethods", int(Ending::failed), "C stack overflow",
       "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end "
       "local x = t.y"},
      {"recursion through gsub", int(Ending::failed), "stack overflow",
       "local function f(c) return (string.gsub('a', 'a', f)) end f()"},
      {"recursion through sort", int(Ending::failed), "stack overflow",
       "local function f() table.sort({1, 2, 3}, f) end f()"},
      {"recursion through tostring", int(Ending::failed), "stack overflow",
       "local t = setmetatable({}, {__tostring = function(t) return tostring(t) end}) tostring(t)"},
      {"recursion through coroutines", kAny, "",
       "local function f() return coroutine.wrap(f)() end f()"},
      {"recursion through resume", int(Ending::returned), "",
       "local function f() return coroutine.resume(coroutine.create(f)) end f()"},
      {"recursion through close", kAny, "", R"(
        local function nested(depth)
          local thread = coroutine.create(function()
            local x <close> = setmetatable({}, {__close = function()
              if depth > 0 then coroutine.close(nested(depth - 1)) end
            end})
            coroutine.yield()
          end)
          coroutine.resume(thread)
          return thread
        end
        local ok, message = coroutine.close(nested(10000))
        error(message))"},
      {"recursion in a handler", kAny, "",
       "local function h(e) error(e) end xpcall(error, h, 'x') xpcall(error, h, {})"},
      {"deep source", int(Ending::syntax), "overflow",
       "local t = "
       "((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((("
       "((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((("
       "(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((("
       "1"},
      {"huge rep", int(Ending::memory), "", "return string.rep('x', 1 << 30)"},
      {"larger rep", int(Ending::failed), "resulting string too large",
       "return string.rep('x', 1 << 40)"},
      {"huge rep of nothing", kAny, "", "return #string.rep('', 1 << 62)"},
      {"overflowing rep", int(Ending::failed), "resulting string too large",
       "return string.rep('xx', math.maxinteger)"},
      {"rep with a separator", int(Ending::memory), "",
       "return string.rep('x', 1 << 20, ('y'):rep(1000))"},
      {"rep of rep", int(Ending::memory), "", "local s = 'x' for i = 1, 60 do s = s:rep(10) end"},
      {"concat", int(Ending::memory), "",
       "local t = {} local s = ('x'):rep(100000) for i = 1, 100 do t[i] = s end return "
       "table.concat(t)"},
      {"format width", int(Ending::failed), "invalid conversion",
       "return string.format('%99999d', 1)"},
      {"format of much", int(Ending::memory), "",
       "local s = ('x'):rep(2000000) return string.format(('%s'):rep(50), table.unpack({s, s, s, "
       "s, s, s, "
       "s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, "
       "s, s, s, "
       "s, s, s, s, s, s, s, s, s, s, s}))"},
      {"unpack of much", int(Ending::failed), "too many results to unpack",
       "return table.unpack({}, 1, 1 << 30)"},
      {"pack of much", kAny, "", "return table.pack(table.unpack({}, 1, 900000)).n"},
      {"byte of much", kAny, "", "return #{string.byte(('x'):rep(5000000), 1, -1)}"},
      {"char of much", kAny, "", "return string.char(table.unpack({}, 1, 200000))"},
      {"string.pack", int(Ending::memory), "", "return string.pack('!16 c1000000000', 'x')"},
      {"concat range", kAny, "", "return table.concat({}, '', 1, math.maxinteger)"},
      {"move range", kAny, "", "return #table.move({}, 1, math.maxinteger - 1, 2)"},
      {"insert position", int(Ending::failed), "out of bounds", "table.insert({}, 1 << 40, 1)"},
      {"false length", kAny, "",
       "table.sort(setmetatable({}, {__len = function() return 1 << 30 end, __index = function() "
       "return 1 end}))"},
      {"sort without order", kAny, "",
       "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() return true end)"},
      {"sort that changes its table", kAny, "",
       "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function(a, b) t[#t] = nil "
       "return "
       "(a or 0) < (b or 0) end)"},
      {"pattern", kAny, "", "return string.find(('a'):rep(60), ('a?'):rep(60) .. ('a'):rep(60))"},
      {"pattern recursion", int(Ending::failed), "pattern too complex",
       "return string.match(('x'):rep(300000), ('x-'):rep(250) .. 'y')"},
      {"bad patterns", int(Ending::failed), "malformed pattern", "return ('x'):find('[a')"},
      {"tables of tables", int(Ending::memory), "", "local t = {} while true do t = {t} end"},
      {"hash table", int(Ending::memory), "",
       "local t = {} for i = 1, 1 << 30 do t[i * 0.5] = i end"},
      {"array by size", kAny, "", "local t = table.pack() t[1 << 60] = 1 return t[1 << 60]"},
      {"threads", int(Ending::memory), "",
       "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end"},
      {"running threads", int(Ending::memory), "",
       "local t = {} while true do local c = coroutine.create(coroutine.yield) "
       "coroutine.resume(c) t[#t + 1] = c end"},
      {"threads of garbage", int(Ending::instructions), "",
       "while true do coroutine.wrap(function() coroutine.yield() end)() end"},
      {"closures", int(Ending::memory), "",
       "local t = {} while true do t[#t + 1] = function() return t end end"},
      {"iterators", kAny, "",
       "local t = {} while true do t[#t + 1] = pool.list.children('tank') end"},
      {"deep stack", kAny, "",
       "local function f(n, ...) if n == 0 then return select('#', ...) end return f(n - 1, n, "
       "...) end "
       "return f(240)"},
      {"goto", int(Ending::instructions), "", "::again:: goto again"},
      {"collector", kAny, "", "while true do collectgarbage('step') end"},
      {"weak tables", int(Ending::instructions), "",
       "local w = setmetatable({}, {__mode = 'kv'}) while true do w[{}] = {} end"},
      {"ephemerons", kAny, "",
       "local w = setmetatable({}, {__mode = 'k'}) local k = {} for i = 1, 20000 do local n = {} "
       "w[n] = k k = n end collectgarbage() return 1"},
      {"error objects", int(Ending::failed), "table value",
       "error(setmetatable({}, {__tostring = function() return {} end, __name = 'x'}))"},
      {"error object without end", int(Ending::instructions), "",
       "error(setmetatable({}, {__tostring = function() while true do end end}))"},
      {"long message", int(Ending::failed), "", "error(('x'):rep(3000000))"},
      {"locals without end", int(Ending::failed), "",
       "local function f(n) local a, b, c, d, e = ('x'):rep(999), {}, n, f, 2.5 if n == 0 then "
       "error('deep') end return (f(n - 1)) end f(1000)"},
      {"close without end", int(Ending::instructions), "",
       "local x <close> = setmetatable({}, {__close = function() while true do end end})"},
      {"yield from the program", int(Ending::failed), "outside a coroutine", "coroutine.yield(1)"},
      {"environment", int(Ending::failed), "nil value", "_ENV = nil x = 1"},
      {"globals gone", int(Ending::failed), "",
       "for name in next, _G do _G[name] = nil end pool.exists('tank')"},
  };
  for (const auto& each : kPrograms) {
    SCOPED_TRACE(each.name);
    const Outcome outcome = shared_daemon().run(
        each.source,
        [](const Ask& ask) { return ok(ask.call == Call::list ? Value(i64{1}) : Value()); },
        {.instructions = 1'000'000, .cpu_ns = 2'000'000'000});
    if (!outcome.end) {
      EXPECT_EQ(each.ending, kAny);
      EXPECT_EQ(outcome.ended.signal, SIGPROF);
    } else {
      EXPECT_EQ(outcome.ended.signal, 0);
      EXPECT_EQ(outcome.ended.status, 0);
      if (each.ending != kAny) {
        EXPECT_EQ(int(outcome.end->ending), each.ending) << outcome.end->message.substr(0, 300);
      }
      EXPECT_THAT(outcome.end->message, HasSubstr(each.message));
      EXPECT_LE(outcome.end->traceback.size(), 64 * 1024U);
      EXPECT_LE(outcome.end->message.size(), 64 * 1024U);
    }
  }
  EXPECT_EQ(value_of("return 1"), Value(i64{1}));
}

// Nothing is reached from one program that another left behind.
TEST(HostileProgram, LeavesNothingForTheNext) {
  value_of("string.rep = nil x = 1 math.pi = 3 table.leak = {} ");
  EXPECT_EQ(value_of("return {type(string.rep), type(x), math.pi > 3.1, type(table.leak)}"),
            Value(Record{{"1", "function"}, {"2", "nil"}, {"3", true}, {"4", "nil"}}));
}

TEST(HostileProgram, CannotReachOutside) {
  const char* kNames[] = {"io",
                          "os",
                          "debug",
                          "package",
                          "load",
                          "loadstring",
                          "loadfile",
                          "dofile",
                          "require",
                          "print",
                          "warn",
                          "string.dump",
                          "collectgarbage.x",
                          "newproxy",
                          "setfenv",
                          "jit",
                          "ffi",
                          "bit32",
                          "unpack",
                          "arg"};
  for (const char* name : kNames) {
    SCOPED_TRACE(name);
    EXPECT_EQ(value_of(std::string("local ok, value = pcall(function() return ") + name +
                       " end) return not ok or value == nil"),
              Value(true));
  }
  EXPECT_EQ(value_of(R"(
    local seen, queue, found = {}, {_G, getmetatable("x") or {}}, {}
    while #queue > 0 do
      local each = table.remove(queue)
      if type(each) == "table" and not seen[each] then
        seen[each] = true
        for key, value in pairs(each) do
          queue[#queue + 1] = key
          queue[#queue + 1] = value
        end
        queue[#queue + 1] = getmetatable(each) or nil
      elseif type(each) == "userdata" or type(each) == "thread" then
        found[#found + 1] = type(each)
      end
    end
    return #found)"),
            Value(i64{0}));
}

// --------------------------------------------------------------------- a daemon that lies

using Bytes = std::vector<std::byte>;

// Lets a program ask once and sends it these bytes. It must end without an End, and not by a
// signal.
void answer_with(const Bytes& bytes, const char* source) {
  testing::Daemon& daemon = shared_daemon();
  const auto child = daemon.spawn();
  ASSERT_TRUE(testing::send_all(child.stream, message::encode(testing::begin_of(source))));
  const auto ask = testing::read_frame(child.stream);
  ASSERT_TRUE(ask && ask->first == FrameKind::ask);
  testing::send_all(child.stream, bytes);
  shutdown(child.stream, SHUT_WR);
  const auto next = testing::read_frame(child.stream);
  EXPECT_FALSE(next && next->first == FrameKind::end);
  const message::Ended ended = daemon.wait(child);
  EXPECT_EQ(ended.signal, 0);
  EXPECT_EQ(ended.status, 1);
}

TEST(HostileDaemon, IsNotBelieved) {
  const Bytes good = message::encode(ok(true));
  const auto changed = [&](size_t at, u8 value) {
    Bytes bytes = good;
    bytes.at(at) = std::byte{value};
    return bytes;
  };
  Bytes twice = good;
  twice.insert(twice.end(), good.begin(), good.end());
  Bytes longer = good;
  longer.push_back(std::byte{0});
  const Bytes kWrong[] = {
      {},
      {good.begin(), good.begin() + 3},
      {good.begin(), good.begin() + 5},
      {good.begin(), good.end() - 1},
      twice,
      longer,
      changed(4, 1),  // Begin
      changed(4, 2),  // Ask
      changed(4, 4),  // End
      changed(4, 9),
      changed(0, 0),     // Shorter
      changed(3, 0xff),  // Longer than anything
      changed(9, 2),     // Neither fatal nor not
      changed(10, 99),   // No such value
      message::encode(testing::begin_of("return 1")),
  };
  for (size_t i = 0; i < std::size(kWrong); ++i) {
    SCOPED_TRACE(i);
    answer_with(kWrong[i], "pcall(pool.exists, 'tank') return 1");
  }
}

// Lists whose pages are not what was asked for.
TEST(HostileDaemon, CannotConfuseLists) {
  const Value kPages[] = {
      Value(),
      true,
      List{},
      List{Value(List{})},
      List{List{}, "x"},
      List{List{}, i64{0}, i64{0}},
      List{Record{}, i64{0}},
      List{List{true}, i64{0}},
      List{List{Value(List{})}, i64{0}},
      List{List{}, i64{5}},
      List{List{Value(List{"a"})}, i64{-1}},
      List{List(5000, Value(List{"a"})), i64{0}},
      List{List{Value(List(17, Value("x")))}, i64{0}},
  };
  for (size_t i = 0; i < std::size(kPages); ++i) {
    SCOPED_TRACE(i);
    int pages = 0;
    const Outcome outcome = shared_daemon().run(
        "local n = 0 for x in pool.list.children('tank') do n = n + 1 end return n",
        [&](const Ask& ask) {
          if (ask.call == Call::list) return ok(i64{1});
          if (ask.call == Call::page && ++pages < 100) return ok(kPages[i]);
          return ok(List{List{}, i64{0}});
        },
        {.cpu_ns = 2'000'000'000});
    EXPECT_FALSE(outcome.end.has_value());
    EXPECT_EQ(outcome.ended.status, 1);
    EXPECT_EQ(outcome.ended.signal, 0);
  }
}

TEST(HostileDaemon, MayBeginWithAnything) {
  testing::Daemon& daemon = shared_daemon();
  const Bytes good = message::encode(testing::begin_of("return 1"));
  for (u64 seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    Bytes bytes = good;
    for (u64 i = 0; i <= prng.below(4); ++i) {
      bytes[prng.below(bytes.size())] = static_cast<std::byte>(prng.below(256));
    }
    if (prng.chance(1, 3)) bytes.resize(prng.below(bytes.size()));
    const auto child = daemon.spawn({.cpu_ns = 1'000'000'000});
    testing::send_all(child.stream, bytes);
    shutdown(child.stream, SHUT_WR);
    while (testing::read_frame(child.stream)) continue;
    const message::Ended ended = daemon.wait(child);
    EXPECT_TRUE(ended.signal == 0 || ended.signal == SIGPROF) << ended.signal;
    EXPECT_LE(ended.status, 1);
  }
}

// A program may not have more memory than its process was made for.
TEST(HostileDaemon, CannotPromiseMoreThanItGave) {
  testing::Daemon& daemon = shared_daemon();
  const auto child = daemon.spawn({.memory_bytes = 1_MiB});
  testing::send_all(child.stream,
                    message::encode(testing::begin_of("return 1", {.memory_bytes = 2_MiB})));
  EXPECT_FALSE(testing::read_frame(child.stream).has_value());
  EXPECT_EQ(daemon.wait(child).status, 1);
}

// ------------------------------------------------------------------------------- processes

TEST(Processes, DieAloneByASignal) {
  testing::Daemon& daemon = shared_daemon();
  for (const int signal : {SIGSEGV, SIGKILL, SIGABRT, SIGBUS}) {
    SCOPED_TRACE(signal);
    // A sanitizer reports what is an error, by calls that the filter does not admit.
    if (kRelaxed && (signal == SIGSEGV || signal == SIGBUS)) continue;
    const auto child = daemon.spawn();
    const auto other = daemon.spawn();
    ASSERT_EQ(kill(static_cast<pid_t>(child.pid), signal), 0);
    EXPECT_EQ(daemon.wait(child).signal, signal);
    testing::send_all(other.stream, message::encode(testing::begin_of("return 7")));
    const auto frame = testing::read_frame(other.stream);
    ASSERT_TRUE(frame && frame->first == FrameKind::end);
    EXPECT_EQ(message::decode<message::End>(frame->second)->value, Value(i64{7}));
    EXPECT_EQ(daemon.wait(other).status, 0);
  }
}

TEST(Processes, OfManyProgramsRunBesideEachOther) {
  testing::Daemon& daemon = shared_daemon();
  std::vector<testing::Daemon::Child> children;
  for (int i = 0; i < 40; ++i) children.push_back(daemon.spawn());
  for (size_t i = 0; i < children.size(); ++i) {
    testing::send_all(children[i].stream,
                      message::encode(testing::begin_of("return " + std::to_string(i))));
  }
  for (size_t i = 0; i < children.size(); ++i) {
    const auto frame = testing::read_frame(children[i].stream);
    ASSERT_TRUE(frame && frame->first == FrameKind::end);
    EXPECT_EQ(message::decode<message::End>(frame->second)->value, Value(static_cast<i64>(i)));
    EXPECT_EQ(daemon.wait(children[i]).status, 0);
  }
}

// When the daemon is gone, so are the zygote and every program.
TEST(Processes, EndWithTheirDaemon) {
  int process = -1;
  {
    testing::Daemon daemon;
    auto child = daemon.spawn();
    testing::send_all(child.stream, message::encode(testing::begin_of(
                                        "while true do end", {.instructions = 1'000'000'000'000})));
    process = dup(child.process);
    close(child.stream);
    close(child.process);
  }
  pollfd watched = {.fd = process, .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&watched, 1, 10'000), 1);  // A pidfd is readable once its process has ended.
  close(process);
}

}  // namespace
}  // namespace coppice::lua
