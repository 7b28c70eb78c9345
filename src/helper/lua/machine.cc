#include "helper/lua/machine.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "helper/lua/traceback.h"

namespace coppice::lua {
namespace {

// A thread's count is an int; longer budgets are handed out in pieces.
constexpr u64 kPieceMax = u64{1} << 30;

// Where a lua_State keeps `hookcount`; no API tells. Found in find_count().
u32 count_offset = 0;

void* allocate(void* arena, void* block, size_t old_bytes, size_t new_bytes) {
  return static_cast<Arena*>(arena)->reallocate(block, old_bytes, new_bytes);
}

// What luaL_Buffer gets instead: unlike Lua's core it does not collect garbage before it gives up,
// and raises an ordinary error.
void* allocate_buffer(void* state, void* block, size_t old_bytes, size_t new_bytes) {
  lua_State* thread = static_cast<lua_State*>(state);
  Arena& arena = machine_of(thread).arena;
  void* made = arena.reallocate(block, old_bytes, new_bytes);
  if (made != nullptr || new_bytes == 0) return made;
  lua_gc(thread, LUA_GCCOLLECT);
  made = arena.reallocate(block, old_bytes, new_bytes);
  if (made == nullptr) stop(thread, Stop::memory);
  return made;
}

void on_count(lua_State* thread, lua_Debug*) {
  Machine& machine = machine_of(thread);
  const u64 total = machine.instructions_max + 1;
  if (machine.stop == Stop::none && machine.instructions_given < total) {
    const u64 piece = std::min(total - machine.instructions_given, kPieceMax);
    machine.instructions_given += piece;
    thread_count(thread) = static_cast<int>(piece);
    return;
  }
  stop(thread, machine.stop == Stop::none ? Stop::instructions : machine.stop);
}

// lua_sethook writes the count to two neighbouring ints of the state: what it begins with again,
// and what is left.
void find_count(lua_State* state) {
  constexpr int kPeculiar = 0x2b7e1516;
  constexpr size_t kSearchedBytes = 256;  // Less than a main thread has.
  lua_sethook(state, on_count, LUA_MASKCOUNT, kPeculiar);
  const auto* bytes = reinterpret_cast<const char*>(state);
  u32 found = 0;
  for (u32 at = 0; at + 2 * sizeof(int) <= kSearchedBytes; at += sizeof(int)) {
    int pair[2];
    std::memcpy(pair, bytes + at, sizeof pair);
    if (pair[0] == kPeculiar && pair[1] == kPeculiar) {
      count_offset = at + sizeof(int);
      ++found;
    }
  }
  if (found != 1) count_offset = 0;  // verify_counting() will say so.
}

u64 count_of(Machine& machine, const char* source, u64 max) {
  CHECK(luaL_loadstring(machine.state, source) == LUA_OK);
  machine.give_instructions(max);
  const int status = lua_pcall(machine.state, 0, 0, 0);
  if (status != LUA_OK) lua_pop(machine.state, 1);
  const u64 used = machine.instructions_used();
  machine.stop = Stop::none;
  machine.traced = false;  // By the one that was cut short.
  machine.traceback.clear();
  return used;
}

}  // namespace

int& thread_count(lua_State* thread) {
  return *reinterpret_cast<int*>(reinterpret_cast<char*>(thread) + count_offset);
}

Machine& machine_of(lua_State* state) { return **static_cast<Machine**>(lua_getextraspace(state)); }

Machine::Machine(Arena& memory) : arena(memory) {
  state = lua_newstate(allocate, &arena);
  CHECK(state != nullptr);
  *static_cast<Machine**>(lua_getextraspace(state)) = this;
  find_count(state);
}

Machine::~Machine() {
  lua_sethook(state, nullptr, 0, 0);
  lua_close(state);
}

void Machine::give_instructions(u64 max) {
  instructions_max = max;
  instructions_given = std::min(max + 1, kPieceMax);
  lua_sethook(state, on_count, LUA_MASKCOUNT, static_cast<int>(instructions_given));
}

u64 Machine::instructions_used() const {
  if (stop != Stop::none) return instructions_at_stop;
  return instructions_given - static_cast<u64>(thread_count(state));
}

bool verify_counting(Machine& machine) {
  if (count_offset == 0) return false;
  const u64 empty = count_of(machine, "", 1000);
  const u64 short_loop = count_of(machine, "for i = 1, 1000 do end", 100'000);
  const u64 long_loop = count_of(machine, "for i = 1, 3000 do end", 100'000);
  const u64 cut = count_of(machine, "for i = 1, 3000 do end", 2000);
  const bool good = empty > 0 && empty < 10 && short_loop > 1000 && short_loop < 1100 &&
                    long_loop - short_loop == 2000 && cut == 2000;
  lua_sethook(machine.state, nullptr, 0, 0);
  return good;
}

const char* reason(Stop why) {
  switch (why) {
    case Stop::none: break;
    case Stop::instructions: return "the program has used up its instructions";
    case Stop::memory: return "the program has used up its memory";
    case Stop::lost: return "the connection to the daemon is lost";
  }
  return "";
}

void mark_stop(lua_State* thread, Stop why) {
  CHECK(why != Stop::none);
  Machine& machine = machine_of(thread);
  int& count = thread_count(thread);
  if (machine.stop == Stop::none) {
    machine.stop = why;
    machine.instructions_at_stop = why == Stop::instructions
                                       ? machine.instructions_max
                                       : machine.instructions_given - static_cast<u64>(count);
  }
  count = 1;
}

void stop(lua_State* thread, Stop why) {
  mark_stop(thread, why);
  trace_stop(thread);
  // The address is the message: making a string takes memory, which there may not be.
  lua_pushlightuserdata(thread, const_cast<char*>(reason(machine_of(thread).stop)));
  lua_error(thread);
  __builtin_unreachable();
}

}  // namespace coppice::lua

// The linker puts these before functions of liblua (--wrap, see CMakeLists.txt).
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

int __real_luaG_traceexec(lua_State* thread, const unsigned* instruction);
[[noreturn]] void __real_luaD_throw(lua_State* thread, int status);

// Called before every instruction while there is a hook. The original saves six registers first;
// this is what takes counting from twice the time of not counting to less than half more.
[[gnu::hot, gnu::aligned(64)]] int __wrap_luaG_traceexec(lua_State* thread,
                                                         const unsigned* instruction) {
  int& count = coppice::lua::thread_count(thread);
  const int left = count;
  if (left > 1) [[likely]] {
    count = left - 1;
    return 1;
  }
  return __real_luaG_traceexec(thread, instruction);
}

// Every error comes through here. For lack of memory no message handler is called.
[[noreturn]] void __wrap_luaD_throw(lua_State* thread, int status) {
  if (status == LUA_ERRMEM) {
    coppice::lua::mark_stop(thread, coppice::lua::Stop::memory);
    coppice::lua::trace_stop(thread);
  }
  __real_luaD_throw(thread, status);
}

// Lua's seed of string hashes is made of the time and of addresses; it decides the order of keys.
unsigned int __wrap_luaS_hash(const char*, size_t, unsigned int) { return 0x9e3779b9; }

lua_Alloc __wrap_lua_getallocf(lua_State* thread, void** context) {
  *context = thread;
  return coppice::lua::allocate_buffer;
}

// math.random's first seed and the pivots of table.sort are made of these. There is no clock here.
long __wrap_time(long* into) {
  if (into != nullptr) *into = 0;
  return 0;
}
long __wrap_clock() { return 0; }
}
// NOLINTEND(bugprone-reserved-identifier)
