#include "helper/lua/protect.h"

#include "helper/lua/machine.h"
#include "helper/lua/traceback.h"

namespace coppice::lua {
namespace {

[[noreturn]] void raise_stop(lua_State* state) {
  stop(state, machine_of(state).stop);  // Marks nothing anew.
}

// ------------------------------------------------------------------ pcall, xpcall

// `kept` values below the results belong to the call itself.
int finish_protected(lua_State* state, int status, lua_KContext kept) {
  Machine& machine = machine_of(state);
  if (machine.stop != Stop::none) raise_stop(state);
  if (status != LUA_OK && status != LUA_YIELD) {
    machine.unwound.clear();
    lua_pushboolean(state, 0);
    lua_pushvalue(state, -2);
    return 2;
  }
  return lua_gettop(state) - static_cast<int>(kept);
}

int protected_call(lua_State* state) {
  luaL_checkany(state, 1);
  lua_pushboolean(state, 1);
  lua_insert(state, 1);
  const int status = lua_pcallk(state, lua_gettop(state) - 2, LUA_MULTRET, 0, 0, finish_protected);
  return finish_protected(state, status, 0);
}

// The message handler of xpcall: the program's, but not for a stop.
int handle(lua_State* state) {
  if (machine_of(state).stop != Stop::none) return 1;
  lua_pushvalue(state, lua_upvalueindex(1));
  lua_insert(state, 1);
  lua_call(state, lua_gettop(state) - 1, 1);
  return 1;
}

int protected_call_with_handler(lua_State* state) {
  luaL_checktype(state, 2, LUA_TFUNCTION);
  const int arguments = lua_gettop(state) - 2;
  lua_pushvalue(state, 2);
  lua_pushcclosure(state, handle, 1);
  lua_replace(state, 2);  // f, handler, arguments...
  lua_pushboolean(state, 1);
  lua_pushvalue(state, 1);
  lua_rotate(state, 3, 2);  // f, handler, true, f, arguments...
  const int status = lua_pcallk(state, arguments, LUA_MULTRET, 2, 2, finish_protected);
  return finish_protected(state, status, 2);
}

// ------------------------------------------------------------------ coroutines

lua_State* check_thread(lua_State* state) {
  lua_State* thread = lua_tothread(state, 1);
  luaL_argexpected(state, thread != nullptr, 1, "coroutine");
  return thread;
}

// Moves `arguments` values over and runs the thread. What it gives back, or -1 and the error's
// object lie on top.
int resume(lua_State* state, lua_State* thread, int arguments) {
  if (lua_checkstack(thread, arguments) == 0) {
    lua_pushliteral(state, "too many arguments to resume");
    return -1;
  }
  lua_xmove(state, thread, arguments);
  int results = 0;
  thread_count(thread) = thread_count(state);
  const int status = lua_resume(thread, state, arguments, &results);
  thread_count(state) = thread_count(thread);
  if (machine_of(state).stop != Stop::none) {
    trace_resumer(state);
    raise_stop(state);
  }
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(thread, state, 1);
    return -1;
  }
  if (lua_checkstack(state, results + 1) == 0) {
    lua_pop(thread, results);
    lua_pushliteral(state, "too many results to resume");
    return -1;
  }
  lua_xmove(thread, state, results);
  return results;
}

// Runs what the thread still has to close. False: the error's object lies on top.
bool close_thread(lua_State* state, lua_State* thread) {
  Machine& machine = machine_of(state);
  if (machine.close_depth == kCloseDepthMax) luaL_error(state, "coroutines closed too deep");
  ++machine.close_depth;
  thread_count(thread) = thread_count(state);
  const int status = lua_resetthread(thread);
  thread_count(state) = thread_count(thread);
  --machine.close_depth;
  if (machine.stop != Stop::none) {
    trace_resumer(state);
    raise_stop(state);
  }
  if (status == LUA_OK) return true;
  lua_xmove(thread, state, 1);
  return false;
}

int coroutine_resume(lua_State* state) {
  lua_State* thread = check_thread(state);
  const int results = resume(state, thread, lua_gettop(state) - 1);
  lua_pushboolean(state, results >= 0);
  if (results >= 0) {
    lua_insert(state, -(results + 1));
    return results + 1;
  }
  machine_of(state).unwound.clear();
  lua_insert(state, -2);
  return 2;
}

int wrapped(lua_State* state) {
  lua_State* thread = lua_tothread(state, lua_upvalueindex(1));
  const int results = resume(state, thread, lua_gettop(state));
  if (results >= 0) return results;
  const int status = lua_status(thread);
  if (status != LUA_OK && status != LUA_YIELD) {  // An error inside: what it opened is closed.
    append_frames(thread, 0, machine_of(state).unwound);
    lua_pushvalue(state, -1);  // lua_resetthread expects the error where resume() took it from.
    lua_xmove(state, thread, 1);
    if (!close_thread(state, thread)) lua_remove(state, -2);
  }
  if (lua_type(state, -1) == LUA_TSTRING) {
    luaL_where(state, 1);
    lua_insert(state, -2);
    lua_concat(state, 2);
  }
  return lua_error(state);
}

int coroutine_wrap(lua_State* state) {
  luaL_checktype(state, 1, LUA_TFUNCTION);
  lua_State* thread = lua_newthread(state);
  lua_pushvalue(state, 1);
  lua_xmove(state, thread, 1);
  lua_pushcclosure(state, wrapped, 1);
  return 1;
}

int coroutine_close(lua_State* state) {
  lua_State* thread = check_thread(state);
  const int status = lua_status(thread);
  lua_Debug frame;
  const bool active = thread == state || (status == LUA_OK && lua_getstack(thread, 0, &frame) != 0);
  if (active) return luaL_error(state, "cannot close a running coroutine");
  if (close_thread(state, thread)) {
    lua_pushboolean(state, 1);
    return 1;
  }
  lua_pushboolean(state, 0);
  lua_insert(state, -2);
  return 2;
}

}  // namespace

void set_protected_calls(lua_State* state) {
  static constexpr luaL_Reg kFunctions[] = {
      {"pcall", protected_call}, {"xpcall", protected_call_with_handler}, {nullptr, nullptr}};
  luaL_setfuncs(state, kFunctions, 0);
}

void set_coroutines(lua_State* state) {
  static constexpr luaL_Reg kFunctions[] = {{"resume", coroutine_resume},
                                            {"wrap", coroutine_wrap},
                                            {"close", coroutine_close},
                                            {nullptr, nullptr}};
  luaL_setfuncs(state, kFunctions, 0);
}

}  // namespace coppice::lua
