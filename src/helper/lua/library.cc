#include "helper/lua/library.h"

#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "helper/lua/protect.h"

namespace coppice::lua {
namespace {

constexpr const char* kSealed = "coppice.sealed";  // In the metatable of a sealed table.

struct ErrnoName {
  const char* name;
  int value;
};
constexpr ErrnoName kErrnoNames[] = {
    {"EPERM", EPERM},         {"ENOENT", ENOENT},   {"ESRCH", ESRCH},
    {"EINTR", EINTR},         {"EIO", EIO},         {"ENXIO", ENXIO},
    {"E2BIG", E2BIG},         {"ENOEXEC", ENOEXEC}, {"EBADF", EBADF},
    {"ECHILD", ECHILD},       {"EAGAIN", EAGAIN},   {"ENOMEM", ENOMEM},
    {"EACCES", EACCES},       {"EFAULT", EFAULT},   {"ENOTBLK", ENOTBLK},
    {"EBUSY", EBUSY},         {"EEXIST", EEXIST},   {"EXDEV", EXDEV},
    {"ENODEV", ENODEV},       {"ENOTDIR", ENOTDIR}, {"EISDIR", EISDIR},
    {"EINVAL", EINVAL},       {"ENFILE", ENFILE},   {"EMFILE", EMFILE},
    {"ENOTTY", ENOTTY},       {"ETXTBSY", ETXTBSY}, {"EFBIG", EFBIG},
    {"ENOSPC", ENOSPC},       {"ESPIPE", ESPIPE},   {"EROFS", EROFS},
    {"EMLINK", EMLINK},       {"EPIPE", EPIPE},     {"EDOM", EDOM},
    {"ERANGE", ERANGE},       {"EDEADLK", EDEADLK}, {"ENAMETOOLONG", ENAMETOOLONG},
    {"ENOLCK", ENOLCK},       {"ECHRNG", ECHRNG},   {"ENOTSUP", ENOTSUP},
    {"EDQUOT", EDQUOT},       {"ETIME", ETIME},     {"EOVERFLOW", EOVERFLOW},
    {"ENOTEMPTY", ENOTEMPTY}, {"ESTALE", ESTALE},   {"EALREADY", EALREADY},
    {"ECANCELED", ECANCELED},
};

void remove_fields(lua_State* state, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    lua_pushnil(state);
    lua_setfield(state, -2, name);
  }
}

bool is_sealed(lua_State* state, int table) {
  if (luaL_getmetafield(state, table, kSealed) == LUA_TNIL) return false;
  lua_pop(state, 1);
  return true;
}

// ------------------------------------------------------------------ replaced functions

// Finalizers would run where instructions are not counted, and their errors are lost.
int set_metatable(lua_State* state) {
  const int type = lua_type(state, 2);
  luaL_checktype(state, 1, LUA_TTABLE);
  luaL_argexpected(state, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
  if (type == LUA_TTABLE) {
    lua_pushliteral(state, "__gc");
    if (lua_rawget(state, 2) != LUA_TNIL) {
      return luaL_error(state, "setmetatable: programs have no finalizers (__gc)");
    }
  }
  if (luaL_getmetafield(state, 1, "__metatable") != LUA_TNIL) {
    return luaL_error(state, "cannot change a protected metatable");
  }
  lua_settop(state, 2);
  lua_setmetatable(state, 1);
  return 1;
}

int raw_set(lua_State* state) {
  luaL_checktype(state, 1, LUA_TTABLE);
  luaL_checkany(state, 2);
  luaL_checkany(state, 3);
  if (is_sealed(state, 1)) return luaL_error(state, "rawset: this table cannot be changed");
  lua_settop(state, 3);
  lua_rawset(state, 1);
  return 1;
}

int collect_garbage(lua_State* state) {
  static constexpr const char* kOptions[] = {"collect", "count", "step", nullptr};
  switch (luaL_checkoption(state, 1, "collect", kOptions)) {
    case 0: lua_pushinteger(state, lua_gc(state, LUA_GCCOLLECT)); return 1;
    case 1:
      lua_pushnumber(state, lua_gc(state, LUA_GCCOUNT) + lua_gc(state, LUA_GCCOUNTB) / 1024.0);
      return 1;
    default: lua_pushboolean(state, lua_gc(state, LUA_GCSTEP, 0)); return 1;
  }
}

// Upvalue: Lua's own randomseed, which without arguments would look for randomness.
int random_seed(lua_State* state) {
  luaL_checknumber(state, 1);
  lua_settop(state, 2);
  if (lua_isnil(state, 2)) lua_settop(state, 1);
  lua_pushvalue(state, lua_upvalueindex(1));
  lua_insert(state, 1);
  lua_call(state, lua_gettop(state) - 1, 0);
  return 0;
}

// ------------------------------------------------------------------ sealed tables

int refuse_change(lua_State* state) {
  return luaL_error(state, "this table cannot be changed (field '%s')",
                    lua_type(state, 2) == LUA_TSTRING ? lua_tostring(state, 2) : "?");
}

// Upvalue: the table behind. Not handed out, as pairs() otherwise would.
int next_sealed(lua_State* state) {
  lua_settop(state, 2);
  if (lua_next(state, lua_upvalueindex(1)) != 0) return 2;
  lua_pushnil(state);
  return 1;
}

int pairs_sealed(lua_State* state) {
  lua_pushvalue(state, lua_upvalueindex(1));
  lua_pushcclosure(state, next_sealed, 1);
  lua_pushvalue(state, 1);
  lua_pushnil(state);
  return 3;
}

void open_base(lua_State* state) {
  luaL_requiref(state, LUA_GNAME, luaopen_base, 1);
  remove_fields(state, {"dofile", "load", "loadfile", "print", "warn"});
  static constexpr luaL_Reg kReplaced[] = {{"setmetatable", set_metatable},
                                           {"rawset", raw_set},
                                           {"collectgarbage", collect_garbage},
                                           {nullptr, nullptr}};
  luaL_setfuncs(state, kReplaced, 0);
  set_protected_calls(state);
  for (const ErrnoName& each : kErrnoNames) {
    lua_pushinteger(state, each.value);
    lua_setfield(state, -2, each.name);
  }
  lua_pop(state, 1);
}

void open_math(lua_State* state) {
  luaL_requiref(state, LUA_MATHLIBNAME, luaopen_math, 1);
  lua_getfield(state, -1, "randomseed");
  lua_pushvalue(state, -1);
  lua_pushinteger(state, 0);
  lua_call(state, 1, 0);
  lua_pushcclosure(state, random_seed, 1);
  lua_setfield(state, -2, "randomseed");
  lua_pop(state, 1);
}

}  // namespace

void seal_table(lua_State* state) {
  lua_newtable(state);  // table, proxy
  lua_newtable(state);  // table, proxy, metatable
  lua_pushvalue(state, -3);
  lua_setfield(state, -2, "__index");
  lua_pushcfunction(state, refuse_change);
  lua_setfield(state, -2, "__newindex");
  lua_pushvalue(state, -3);
  lua_pushcclosure(state, pairs_sealed, 1);
  lua_setfield(state, -2, "__pairs");
  lua_pushboolean(state, 0);
  lua_setfield(state, -2, "__metatable");
  lua_pushboolean(state, 1);
  lua_setfield(state, -2, kSealed);
  lua_setmetatable(state, -2);
  lua_remove(state, -2);
}

void open_language(lua_State* state) {
  open_base(state);
  luaL_requiref(state, LUA_STRLIBNAME, luaopen_string, 1);
  remove_fields(state, {"dump"});
  lua_pop(state, 1);
  lua_pushliteral(state, "");  // All strings have one metatable: it stays as it is.
  lua_getmetatable(state, -1);
  lua_pushboolean(state, 0);
  lua_setfield(state, -2, "__metatable");
  lua_pop(state, 2);
  luaL_requiref(state, LUA_TABLIBNAME, luaopen_table, 1);
  luaL_requiref(state, LUA_UTF8LIBNAME, luaopen_utf8, 1);
  luaL_requiref(state, LUA_COLIBNAME, luaopen_coroutine, 1);
  set_coroutines(state);
  lua_pop(state, 3);
  open_math(state);
}

}  // namespace coppice::lua
