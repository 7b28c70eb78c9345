// helper/lua/traceback.h — who called whom, with the locals of each frame, for people.
//
// Theory. Frames are looked at before they are unwound: in a message handler, where a limit is met,
// or in a coroutine that died. All of it is bounded, needs no memory of the program's and calls
// nothing of the program's: metatables are not asked.
#pragma once

#include <lua.hpp>
#include <string>

#include "base/types.h"

namespace coppice::lua {

inline constexpr size_t kTracebackBytesMax = 64_KiB;
inline constexpr int kFramesShown = 32;  // Half of them the youngest, half the oldest.
inline constexpr int kLocalsShown = 24;  // Of each frame.
inline constexpr size_t kValueBytesShown = 60;

// Appends the frames of `thread` from `level` on, youngest first.
void append_frames(lua_State* thread, int level, std::string& into);

// The value at `index` in a few words: nil, 12, "text...", table.
void append_value(lua_State* thread, int index, std::string& into);

// For the machine's end: keeps the frames of `thread`, once. The threads that resumed it follow in
// trace_resumer().
void trace_stop(lua_State* thread);
void trace_resumer(lua_State* thread);

}  // namespace coppice::lua
