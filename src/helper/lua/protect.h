// helper/lua/protect.h — what catches errors: pcall, xpcall, coroutines. None of it catches a stop.
#pragma once

#include <lua.hpp>

namespace coppice::lua {

// Puts pcall and xpcall into the table of globals, on top of the stack.
void set_protected_calls(lua_State* state);
// Puts resume, wrap and close into the table of the coroutine library, on top of the stack.
void set_coroutines(lua_State* state);

}  // namespace coppice::lua
