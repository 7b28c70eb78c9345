// helper/lua/cursor.h — iterators over the pool's lists: rows come in pages, and are never stale.
//
// Theory. The daemon keeps the list as it was when it was asked for; a page is a piece of it with
// what is gone since left out. Rows fetched ahead could name what the program itself has destroyed
// or renamed meanwhile. So each change (Machine::generation) makes them void, and the next row is
// asked for anew, alone; while nothing changes the pages double.
#pragma once

#include <lua.hpp>

namespace coppice::lua {

inline constexpr int kFirstPageRows = 16;

// Pushes an iterator function over the list `what` ("snapshots") of the name at index 1.
int list_iterator(lua_State* state, const char* what, const char* function);

// Makes the type of iterators known; once in a state.
void open_cursors(lua_State* state);

}  // namespace coppice::lua
