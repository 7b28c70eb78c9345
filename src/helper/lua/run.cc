#include "helper/lua/run.h"

#include <algorithm>

#include "helper/lua/api.h"
#include "helper/lua/library.h"
#include "helper/lua/traceback.h"
#include "helper/lua/values.h"

namespace coppice::lua {
namespace {

using message::Ending;

constexpr size_t kMessageBytesMax = 16_KiB;
constexpr size_t kFrameSlackBytes = 1_MiB;  // Of an End, for all but the value.

struct Run {
  const message::Begin& begin;
  Returned returned;
  bool compiled = false;
};

// As `lua` has it: a first line that begins with # is for the shell.
std::string_view without_shebang(std::string_view source) {
  if (!source.starts_with('#')) return source;
  return source.substr(std::min(source.find('\n'), source.size()));
}

// The message handler: makes a text of the error's object and keeps the frames.
int report(lua_State* state) {
  Machine& machine = machine_of(state);
  if (machine.stop != Stop::none) return 1;
  machine.traceback = std::move(machine.unwound);
  machine.unwound.clear();
  append_frames(state, 1, machine.traceback);
  if (lua_type(state, 1) == LUA_TSTRING) return 1;
  if (luaL_callmeta(state, 1, "__tostring") != 0 && lua_type(state, -1) == LUA_TSTRING) return 1;
  if (lua_isnumber(state, 1) != 0) {
    lua_tostring(state, 1);
    lua_settop(state, 1);
    return 1;
  }
  lua_pushfstring(state, "(error object is a %s value)", luaL_typename(state, 1));
  return 1;
}

int load_and_call(lua_State* state) {
  Run& run = *static_cast<Run*>(lua_touserdata(state, 1));
  const message::Begin& begin = run.begin;
  set_pool_name(state, begin.pool);
  const std::string_view source = without_shebang(begin.source);
  lua_pushfstring(state, "=%s", begin.name.c_str());
  const int status =
      luaL_loadbufferx(state, source.data(), source.size(), lua_tostring(state, -1), "t");
  if (status != LUA_OK) return lua_error(state);
  run.compiled = true;
  push_value(state, begin.argument);
  const int base = lua_gettop(state) - 2;
  lua_call(state, 1, LUA_MULTRET);
  const int results = lua_gettop(state) - base;
  if (results > 1) {
    run.returned.error = "more than one value returned: a program returns one, or a table of them";
  } else if (results == 1 && lua_isnil(state, -1)) {
    run.returned.value = true;  // As zfs program has it: there is a result, which has no value.
  } else if (results == 1) {
    const size_t bytes_max = std::min<size_t>(message::kFrameBytesMax - kFrameSlackBytes,
                                              std::max<size_t>(begin.memory_bytes_max, 1));
    run.returned = convert_returned(state, -1, bytes_max);
  }
  return 0;
}

std::string message_of(lua_State* state) {
  if (lua_type(state, -1) != LUA_TSTRING) return "(error object is not a string)";
  size_t length = 0;
  const char* text = lua_tolstring(state, -1, &length);
  return {text, std::min(length, kMessageBytesMax)};
}

message::End describe(Machine& machine, int status, Run& run) {
  message::End end;
  end.instructions = machine.instructions_used();
  if (machine.stop != Stop::none) {
    end.ending = machine.stop == Stop::instructions ? Ending::instructions
                 : machine.stop == Stop::memory     ? Ending::memory
                                                    : Ending::failed;
    end.message = reason(machine.stop);
    end.traceback = std::move(machine.traceback);
  } else if (status != LUA_OK) {
    end.ending = run.compiled ? Ending::failed : Ending::syntax;
    end.message = message_of(machine.state);
    if (run.compiled) end.traceback = std::move(machine.traceback);
  } else if (!run.returned.error.empty()) {
    end.ending = Ending::result;
    end.too_big = run.returned.too_big;
    end.message = std::move(run.returned.error);
  } else {
    end.value = std::move(run.returned.value);
  }
  end.traceback.resize(std::min(end.traceback.size(), kTracebackBytesMax));
  return end;
}

}  // namespace

bool prepare(Machine& machine, std::vector<message::VerbName> verbs) {
  if (!verify_counting(machine)) return false;
  machine.verbs = std::move(verbs);
  open_language(machine.state);
  open_api(machine.state);
  lua_gc(machine.state, LUA_GCCOLLECT);
  return true;
}

message::End run_program(Machine& machine, Stream& stream, const message::Begin& begin) {
  Arena& arena = machine.arena;
  machine.stream = &stream;
  machine.sync = begin.sync;
  Run run{.begin = begin, .returned = {}};
  lua_settop(machine.state, 0);
  lua_pushcfunction(machine.state, report);
  lua_pushcfunction(machine.state, load_and_call);
  lua_pushlightuserdata(machine.state, &run);
  const size_t used_before = arena.used_bytes();
  arena.set_limit(used_before + std::min<u64>(begin.memory_bytes_max, SIZE_MAX / 2));
  arena.restart_peak();
  machine.give_instructions(begin.instructions_max);
  const int status = lua_pcall(machine.state, 1, 0, 1);
  message::End end = describe(machine, status, run);
  end.memory_peak_bytes = arena.peak_bytes() - used_before;
  arena.set_limit(SIZE_MAX);
  lua_settop(machine.state, 0);
  machine.stream = nullptr;
  return end;
}

}  // namespace coppice::lua
