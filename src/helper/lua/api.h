// helper/lua/api.h — what programs see of the pool: `pool`, made from the table of verbs, and
// `zfs`, a layer of Lua over it (zfs.lua).
#pragma once

#include <lua.hpp>
#include <string_view>

namespace coppice::lua {

// Makes the globals `pool` and `zfs` for machine.verbs. Once in a state, before any program.
void open_api(lua_State* state);

// pool.name, which only the program's begin tells.
void set_pool_name(lua_State* state, std::string_view name);

// The text of zfs.lua, put into the binary when it is built.
std::string_view zfs_source();

}  // namespace coppice::lua
