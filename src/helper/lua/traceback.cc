#include "helper/lua/traceback.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "helper/lua/machine.h"

namespace coppice::lua {
namespace {

void append_text(std::string_view text, std::string& into) {
  into += '"';
  const std::string_view shown = text.substr(0, kValueBytesShown);
  for (const char c : shown) {
    if (c == '"' || c == '\\') {
      into += '\\';
      into += c;
    } else if (c >= ' ' && c < 0x7f) {
      into += c;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\%03u", static_cast<unsigned char>(c));
      into += escaped;
    }
  }
  into += shown.size() < text.size() ? "\"..." : "\"";
}

void append_locals(lua_State* thread, lua_Debug& frame, std::string& into) {
  int shown = 0;
  const char* separator = "\n      ";
  for (int i = 1;; ++i) {
    const char* name = lua_getlocal(thread, &frame, i);
    if (name == nullptr) break;
    if (name[0] != '(') {  // What the compiler keeps for itself is named "(temporary)".
      if (shown++ == kLocalsShown) {
        into += ", ...";
        lua_pop(thread, 1);
        break;
      }
      into += separator;
      into += name;
      into += " = ";
      append_value(thread, -1, into);
      separator = ", ";
    }
    lua_pop(thread, 1);
  }
}

void append_frame(lua_State* thread, lua_Debug& frame, std::string& into) {
  lua_getinfo(thread, "Slnt", &frame);
  into += "\n    ";
  into += frame.short_src;
  into += ':';
  if (frame.currentline > 0) into += std::to_string(frame.currentline) + ":";
  if (frame.namewhat[0] != '\0') {
    into.append(" in ").append(frame.namewhat).append(" '").append(frame.name).append("'");
  } else if (*frame.what == 'm') {
    into += " in main chunk";
  } else if (*frame.what == 'C') {
    into += " in a function of the library";
  } else {
    into += " in function of line " + std::to_string(frame.linedefined);
  }
  if (frame.istailcall) into += " (its callers are gone: tail calls)";
  if (*frame.what != 'C') append_locals(thread, frame, into);
}

int depth_of(lua_State* thread) {
  lua_Debug frame;
  int low = 0, high = 1;  // `low` exists, or nothing does; `high` does not.
  while (lua_getstack(thread, high, &frame) != 0) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    (lua_getstack(thread, middle, &frame) != 0 ? low : high) = middle;
  }
  return lua_getstack(thread, 0, &frame) != 0 ? low + 1 : 0;
}

}  // namespace

void append_value(lua_State* thread, int index, std::string& into) {
  switch (lua_type(thread, index)) {
    case LUA_TNIL: into += "nil"; return;
    case LUA_TBOOLEAN: into += lua_toboolean(thread, index) != 0 ? "true" : "false"; return;
    case LUA_TNUMBER: {
      char shown[64];
      if (lua_isinteger(thread, index) != 0) {
        std::snprintf(shown, sizeof shown, "%lld", lua_tointeger(thread, index));
      } else {
        std::snprintf(shown, sizeof shown, "%.14g", lua_tonumber(thread, index));
      }
      into += shown;
      return;
    }
    case LUA_TSTRING: {
      size_t length = 0;
      const char* text = lua_tolstring(thread, index, &length);
      append_text({text, length}, into);
      return;
    }
    case LUA_TTABLE: {
      const auto entries = lua_rawlen(thread, index);
      into += entries > 0 ? "table of " + std::to_string(entries) : "table";
      return;
    }
    default: into += lua_typename(thread, lua_type(thread, index));
  }
}

void append_frames(lua_State* thread, int level, std::string& into) {
  const int depth = depth_of(thread);
  const int half = kFramesShown / 2;
  for (int at = level; at < depth; ++at) {
    if (at == level + half && depth - at > half) {
      into += "\n    ... (" + std::to_string(depth - half - at) + " more)";
      at = depth - half;
    }
    lua_Debug frame;
    if (lua_getstack(thread, at, &frame) == 0) break;
    if (into.size() >= kTracebackBytesMax) return;
    append_frame(thread, frame, into);
  }
  if (into.size() > kTracebackBytesMax) into.resize(kTracebackBytesMax);
}

void trace_stop(lua_State* thread) {
  Machine& machine = machine_of(thread);
  if (machine.traced) return;
  machine.traced = true;
  machine.traceback.clear();
  append_frames(thread, 0, machine.traceback);
}

void trace_resumer(lua_State* thread) {
  Machine& machine = machine_of(thread);
  if (!machine.traced) return;
  append_frames(thread, 0, machine.traceback);
}

}  // namespace coppice::lua
