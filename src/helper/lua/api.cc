#include "helper/lua/api.h"

#include "base/check.h"
#include "helper/lua/ask.h"
#include "helper/lua/cursor.h"
#include "helper/lua/library.h"
#include "helper/lua/machine.h"
#include "helper/lua/values.h"

namespace coppice::lua {
namespace {

using message::Call;

constexpr const char* kBehindPool = "coppice.pool";  // In the registry: the table behind `pool`.

struct Mode {
  const char* name;
  Call call;
};
constexpr Mode kModes[] = {{"check", Call::check}, {"sync", Call::sync}, {"try", Call::try_}};

constexpr const char* kLists[] = {"children", "snapshots",   "bookmarks",       "clones",
                                  "holds",    "properties",  "user_properties", "system_properties",
                                  "exports",  "descendants", "links",           "objects"};

// Puts the one text argument of a call into the question.
void put_texts(lua_State* state, int count, message::Encoder& ask) {
  ask.put_list_head(static_cast<size_t>(count));
  for (int i = 1; i <= count; ++i) {
    size_t length = 0;
    const char* text = lua_tolstring(state, i, &length);
    ask.put_text_value({text, length});
  }
  ask.put_record_head(0);
}

void check_texts(lua_State* state, int count, const char* usage) {
  bool good = lua_gettop(state) == count;
  for (int i = 1; i <= count; ++i) good = good && lua_type(state, i) == LUA_TSTRING;
  if (!good) raise(state, "wrong arguments; usage: %s", usage);
}

// ------------------------------------------------------------------ verbs

// Upvalues: the call, the verb's number, the function's full name.
int call_verb(lua_State* state) {
  Machine& machine = machine_of(state);
  const auto call = static_cast<Call>(lua_tointeger(state, lua_upvalueindex(1)));
  const auto verb = static_cast<u16>(lua_tointeger(state, lua_upvalueindex(2)));
  const char* function = lua_tostring(state, lua_upvalueindex(3));
  if (call == Call::sync && !machine.sync) {
    return raise(state,
                 "%s: changing the pool requires passing sync=TRUE: this program was started "
                 "read-only (-n); pool.try.%s shows what would happen",
                 function, machine.verbs[verb].name.c_str());
  }
  message::Encoder& ask = begin_ask(state, call, verb);
  bool good = true;
  if (auto wrong = encode_arguments(state, 1, lua_gettop(state), ask)) {
    machine.wrong = std::move(*wrong);
    good = false;
  }
  if (!good) {
    return raise(state, "%s: wrong arguments: %s; usage: %s", function, machine.wrong.c_str(),
                 machine.verbs[verb].usage.c_str());
  }
  AnswerView answer = finish_ask(state);
  if (answer.fatal) demand(state, answer, function);
  if (answer.error == 0 && call != Call::check) ++machine.generation;
  lua_pushinteger(state, answer.error);
  push_answer_value(state, answer);
  if (answer.error == 0) {
    if (!lua_isnil(state, -1)) return 2;
    lua_pop(state, 1);
    return 1;
  }
  push_answer_message(state, answer);
  return 3;
}

// ------------------------------------------------------------------ questions

int pool_list(lua_State* state) {
  return list_iterator(state, lua_tostring(state, lua_upvalueindex(1)),
                       lua_tostring(state, lua_upvalueindex(2)));
}

int pool_exists(lua_State* state) {
  check_texts(state, 1, "pool.exists(NAME)");
  put_texts(state, 1, begin_ask(state, Call::exists));
  AnswerView answer = finish_ask(state);
  demand(state, answer, "pool.exists");
  push_answer_value(state, answer);
  return 1;
}

int pool_get(lua_State* state) {
  check_texts(state, 2, "pool.get(NAME, PROPERTY)");
  put_texts(state, 2, begin_ask(state, Call::get));
  AnswerView answer = finish_ask(state);
  demand(state, answer, "pool.get");
  push_answer_value(state, answer);
  if (lua_isnil(state, -1)) return 1;
  if (!lua_istable(state, -1)) stop(state, Stop::lost);
  lua_rawgeti(state, -1, 1);
  lua_rawgeti(state, -2, 2);
  return 2;
}

int pool_note(lua_State* state) {
  check_texts(state, 1, "pool.note(TEXT)");
  put_texts(state, 1, begin_ask(state, Call::note));
  AnswerView answer = finish_ask(state);
  demand(state, answer, "pool.note");
  return 0;
}

// ------------------------------------------------------------------ savepoints

void end_savepoint(lua_State* state, Call call, i64 number) {
  message::Encoder& ask = begin_ask(state, call);
  ask.put_list_head(1);
  ask.put_integer_value(number);
  ask.put_record_head(0);
  AnswerView answer = finish_ask(state);
  demand(state, answer, "pool.savepoint");
}

// Not resumable: the function cannot yield out of its savepoint, so savepoints nest.
int pool_savepoint(lua_State* state) {
  Machine& machine = machine_of(state);
  luaL_checktype(state, 1, LUA_TFUNCTION);
  message::Encoder& ask = begin_ask(state, Call::savepoint);
  ask.put_list_head(0);
  ask.put_record_head(0);
  AnswerView answer = finish_ask(state);
  demand(state, answer, "pool.savepoint");
  if (answer.rest.get<message::Tag>() != message::Tag::integer) stop(state, Stop::lost);
  const i64 number = answer.rest.get<i64>();
  const int status = lua_pcall(state, lua_gettop(state) - 1, LUA_MULTRET, 0);
  if (machine.stop != Stop::none) stop(state, machine.stop);
  if (status == LUA_OK) {
    end_savepoint(state, Call::keep, number);
    lua_pushboolean(state, 1);
    lua_insert(state, 1);
    return lua_gettop(state);
  }
  machine.unwound.clear();
  end_savepoint(state, Call::roll_back, number);
  ++machine.generation;
  lua_pushboolean(state, 0);
  lua_insert(state, -2);
  return 2;
}

// ------------------------------------------------------------------ putting it together

void add_verbs(lua_State* state, const Mode& mode) {
  const Machine& machine = machine_of(state);
  lua_newtable(state);
  for (size_t verb = 0; verb < machine.verbs.size(); ++verb) {
    const char* name = machine.verbs[verb].name.c_str();
    lua_pushinteger(state, static_cast<lua_Integer>(mode.call));
    lua_pushinteger(state, static_cast<lua_Integer>(verb));
    lua_pushfstring(state, "pool.%s.%s", mode.name, name);
    lua_pushcclosure(state, call_verb, 3);
    lua_setfield(state, -2, name);
  }
  seal_table(state);
  lua_setfield(state, -2, mode.name);
}

void add_lists(lua_State* state) {
  lua_newtable(state);
  for (const char* what : kLists) {
    lua_pushstring(state, what);
    lua_pushfstring(state, "pool.list.%s", what);
    lua_pushcclosure(state, pool_list, 2);
    lua_setfield(state, -2, what);
  }
  seal_table(state);
  lua_setfield(state, -2, "list");
}

int seal_first(lua_State* state) {
  luaL_checktype(state, 1, LUA_TTABLE);
  lua_settop(state, 1);
  seal_table(state);
  return 1;
}

void open_zfs(lua_State* state) {
  const std::string_view source = zfs_source();
  const int status = luaL_loadbufferx(state, source.data(), source.size(), kLayerName, "t");
  if (status != LUA_OK) std::fprintf(stderr, "zfs.lua: %s\n", lua_tostring(state, -1));
  CHECK(status == LUA_OK);
  lua_getglobal(state, "pool");
  lua_pushcfunction(state, seal_first);
  lua_call(state, 2, 1);
  lua_setglobal(state, "zfs");
}

}  // namespace

void open_api(lua_State* state) {
  open_cursors(state);
  static constexpr luaL_Reg kFunctions[] = {{"exists", pool_exists},
                                            {"get", pool_get},
                                            {"note", pool_note},
                                            {"savepoint", pool_savepoint},
                                            {nullptr, nullptr}};
  luaL_newlib(state, kFunctions);
  for (const Mode& mode : kModes) add_verbs(state, mode);
  add_lists(state);
  lua_pushvalue(state, -1);
  lua_setfield(state, LUA_REGISTRYINDEX, kBehindPool);
  seal_table(state);
  lua_setglobal(state, "pool");
  open_zfs(state);
}

void set_pool_name(lua_State* state, std::string_view name) {
  lua_getfield(state, LUA_REGISTRYINDEX, kBehindPool);
  lua_pushlstring(state, name.data(), name.size());
  lua_setfield(state, -2, "name");
  lua_pop(state, 1);
}

}  // namespace coppice::lua
