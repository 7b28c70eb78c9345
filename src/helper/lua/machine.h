// helper/lua/machine.h — one Lua state with its memory, its budget, and what ends its program.
//
// Theory. A program may catch errors (pcall, coroutines), but never the end of its means. So there
// is one flag, `stop`: who sets it also raises an error, and every place where Lua would catch an
// error (ours all, since those of the library are not given to programs) looks at the flag and
// raises again. Instructions are counted by Lua's count hook, exactly: the count left is a field of
// each thread, handed over with control (thread_count()). What is not reached by errors is refused
// from the start: finalizers (__gc) of programs, in which hooks are off.
//
// Lua raises errors by longjmp, which runs no destructors: between two calls of Lua's that may
// raise, nothing with a destructor lives on the stack. What must grow lies in the Machine.
#pragma once

#include <lua.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "helper/lua/arena.h"
#include "message/program.h"

namespace coppice::lua {

class Stream;

enum class Stop : u8 {
  none,
  instructions,
  memory,
  lost,  // The daemon is gone or talks nonsense.
};

// Coroutines within close() handlers within close() handlers: each level takes C stack anew.
inline constexpr int kCloseDepthMax = 8;

struct Machine {
  explicit Machine(Arena& memory);  // Makes the state, empty but for its hook.
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Arena& arena;
  lua_State* state = nullptr;
  std::vector<message::VerbName> verbs{};

  // --- The program
  Stream* stream = nullptr;
  bool sync = false;
  std::string pool{};

  // --- Its means
  Stop stop = Stop::none;
  u64 instructions_max = 0;
  u64 instructions_given = 0;  // To the count of the running thread, of instructions_max + 1.
  u64 instructions_at_stop = 0;
  int close_depth = 0;

  // --- Reports
  bool traced = false;      // `traceback` is that of the stop.
  std::string traceback{};  // Of the error that ended the program.
  std::string unwound{};    // Of coroutines that the error which is on its way came through.

  // --- The API
  u64 generation = 0;                     // Changes of the pool so far: rows read before are stale.
  std::vector<u64> dropped{};             // Cursors that nobody will ask again.
  std::optional<message::Encoder> ask{};  // The question being put together.
  std::vector<std::byte> frame{};         // The last one sent.
  std::string wrong{};                    // What an error being raised will say.

  void give_instructions(u64 max);  // From here on, to the main thread.
  u64 instructions_used() const;    // While the main thread runs.
};

Machine& machine_of(lua_State* state);

// Marks the end of the program's means: from here on the first instruction of any thread raises.
// No-op if that is marked already.
void mark_stop(lua_State* thread, Stop why);
// The same, and raises.
[[noreturn]] void stop(lua_State* thread, Stop why);
// Its message; static.
const char* reason(Stop why);

// The count of instructions that a thread may still begin, one of them being the last.
int& thread_count(lua_State* thread);

// Runs small programs to see that the count is where it was found and that it counts. Once, before
// any program runs. False: this liblua keeps it otherwise; nothing can be counted.
bool verify_counting(Machine& machine);

}  // namespace coppice::lua
