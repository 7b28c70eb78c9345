#include "helper/lua/cursor.h"

#include <algorithm>
#include <new>

#include "helper/lua/ask.h"
#include "helper/lua/machine.h"
#include "helper/lua/values.h"

namespace coppice::lua {
namespace {

constexpr const char* kType = "coppice.cursor";

// A userdata; its user value is the page, as the bytes that came.
struct Cursor {
  i64 id = 0;
  i64 at = 0;          // The row that comes next, in the daemon's count.
  i64 page_at = 0;     // The page's first row.
  u64 generation = 0;  // Of the pool, when the page was read.
  size_t offset = 0;   // Into the page, behind the rows that were given out.
  u32 rows_left = 0;   // In the page.
  int page_rows = 0;   // How many to ask for next.
  bool has_page = false;
  bool done = false;
};

void finish(lua_State* state, Cursor& cursor) {
  if (cursor.done) return;
  cursor.done = true;
  cursor.has_page = false;
  machine_of(state).dropped.push_back(static_cast<u64>(cursor.id));
}

int collect(lua_State* state) {
  finish(state, *static_cast<Cursor*>(lua_touserdata(state, 1)));
  return 0;
}

// Asks for the rows from `at` on and keeps them with the userdata at `index`.
void fetch(lua_State* state, int index, Cursor& cursor) {
  Machine& machine = machine_of(state);
  message::Encoder& ask = begin_ask(state, message::Call::page);
  ask.put_list_head(3);
  ask.put_integer_value(cursor.id);
  ask.put_integer_value(cursor.at);
  ask.put_integer_value(cursor.page_rows);
  ask.put_record_head(0);
  AnswerView answer = finish_ask(state);
  demand(state, answer, "list");
  Reader page = answer.rest;
  Reader after = page;
  if (!skip_encoded(after)) stop(state, Stop::lost);
  const size_t size = page.remaining() - after.remaining();
  const auto bytes = page.bytes(size);
  Reader inside(bytes);
  bool good = inside.get<message::Tag>() == message::Tag::list && inside.get<u32>() == 2 &&
              inside.get<message::Tag>() == message::Tag::list;
  cursor.rows_left = inside.get<u32>();
  good = good && inside.good() && cursor.rows_left <= static_cast<u32>(cursor.page_rows);
  if (!good) stop(state, Stop::lost);
  cursor.offset = size - inside.remaining();
  lua_pushlstring(state, reinterpret_cast<const char*>(bytes.data()), bytes.size());
  lua_setiuservalue(state, index, 1);
  cursor.generation = machine.generation;
  cursor.has_page = true;
  cursor.page_at = cursor.at;
  cursor.page_rows = std::min(cursor.page_rows * 2, static_cast<int>(message::kPageRowsMax));
}

// Pushes the columns of the next row of the page; 0 if it is gone.
int push_row(lua_State* state, Cursor& cursor, Reader& page) {
  --cursor.rows_left;
  ++cursor.at;
  const auto tag = page.get<message::Tag>();
  if (tag == message::Tag::nil) return 0;
  const u32 columns = page.get<u32>();
  constexpr u32 kColumnsMax = 16;
  if (tag != message::Tag::list || columns == 0 || columns > kColumnsMax) {
    stop(state, Stop::lost);
  }
  luaL_checkstack(state, static_cast<int>(columns), "too many columns");
  for (u32 i = 0; i < columns; ++i) {
    if (!push_encoded(state, page)) stop(state, Stop::lost);
  }
  return static_cast<int>(columns);
}

int next_row(lua_State* state) {
  lua_settop(state, 0);
  lua_pushvalue(state, lua_upvalueindex(1));
  Cursor& cursor = *static_cast<Cursor*>(lua_touserdata(state, 1));
  const Machine& machine = machine_of(state);
  while (!cursor.done) {
    if (cursor.has_page && cursor.generation != machine.generation) {
      cursor.has_page = false;
      cursor.page_rows = 1;
    }
    if (!cursor.has_page) fetch(state, 1, cursor);
    lua_getiuservalue(state, 1, 1);
    size_t size = 0;
    const char* bytes = lua_tolstring(state, 2, &size);
    Reader page(std::span(reinterpret_cast<const std::byte*>(bytes), size));
    page.skip(cursor.offset);
    while (cursor.rows_left > 0) {
      const int columns = push_row(state, cursor, page);
      cursor.offset = size - page.remaining();
      if (columns > 0) return columns;
    }
    const auto tag = page.get<message::Tag>();
    const i64 next = page.get<i64>();
    if (tag != message::Tag::integer || !page.done()) stop(state, Stop::lost);
    if (next == 0) {
      finish(state, cursor);
    } else if (next < cursor.at || next == cursor.page_at) {
      stop(state, Stop::lost);
    }
    cursor.at = next;
    cursor.has_page = false;
    lua_settop(state, 1);
  }
  lua_pushnil(state);
  return 1;
}

}  // namespace

int list_iterator(lua_State* state, const char* what, const char* function) {
  if (lua_type(state, 1) != LUA_TSTRING || lua_gettop(state) != 1) {
    return raise(state, "%s: one name is expected; usage: %s(NAME)", function, function);
  }
  auto* cursor = new (lua_newuserdatauv(state, sizeof(Cursor), 1)) Cursor;
  cursor->done = true;  // Until the daemon has one too.
  luaL_setmetatable(state, kType);
  message::Encoder& ask = begin_ask(state, message::Call::list);
  size_t length = 0;
  const char* name = lua_tolstring(state, 1, &length);
  ask.put_list_head(2);
  ask.put_text_value(what);
  ask.put_text_value({name, length});
  ask.put_record_head(0);
  AnswerView answer = finish_ask(state);
  demand(state, answer, function);
  if (answer.rest.get<message::Tag>() != message::Tag::integer) stop(state, Stop::lost);
  cursor->id = answer.rest.get<i64>();
  cursor->page_rows = kFirstPageRows;
  cursor->done = false;
  lua_pushcclosure(state, next_row, 1);
  return 1;
}

void open_cursors(lua_State* state) {
  luaL_newmetatable(state, kType);
  lua_pushcfunction(state, collect);
  lua_setfield(state, -2, "__gc");
  lua_pop(state, 1);
}

}  // namespace coppice::lua
