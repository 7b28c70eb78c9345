// helper/lua/library.h — the language that programs see: Lua's libraries without what reaches
// outside, is not deterministic, or would catch a stop.
#pragma once

#include <lua.hpp>

namespace coppice::lua {

// Opens base, string, table, math, utf8 and coroutine, and the errno names.
void open_language(lua_State* state);

// Replaces the table on top by one that reads like it and cannot be changed.
void seal_table(lua_State* state);

}  // namespace coppice::lua
