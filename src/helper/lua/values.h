// helper/lua/values.h — Lua's values as messages carry them, in both directions.
//
// Theory. Three ways: arguments of verbs go out straight into the question's bytes; answers come in
// straight from their bytes; what a program returns is gathered, ordered and checked first. None of
// the outgoing ways raises an error of Lua's, so they may own memory; they return what is wrong.
#pragma once

#include <lua.hpp>
#include <optional>
#include <string>

#include "base/endian.h"
#include "message/value.h"

namespace coppice::lua {

inline constexpr int kReturnDepthMax = 20;   // Tables in one another, of a program's result.
inline constexpr int kArgumentDepthMax = 8;  // The same, of a verb's argument.
// Of a result: while it is put in order each takes some hundred bytes of the helper's own memory.
inline constexpr size_t kReturnedValuesMax = 500'000;

// Appends a list and a record: what a function was called with, the `count` values from `first` on.
// If that is one table, the values of 1..n and of its names; else the values (without nils at their
// end) and no names. A table among them is a list if its keys are 1..n (or there are none), a
// record in the order of its names if they are text. Otherwise says what is wrong, and `to` is
// spoiled.
std::optional<std::string> encode_arguments(lua_State* state, int first, int count,
                                            message::Encoder& to);

// Pushes one value read from bytes that the daemon sent. False: they are none; nothing is pushed.
// Raises for want of memory only.
bool push_encoded(lua_State* state, Reader& from);
// Reads over one.
bool skip_encoded(Reader& from);

// Pushes. The value outlives the call, whatever is raised.
void push_value(lua_State* state, const message::Value& value);

struct Returned {
  message::Value value;
  std::string error;     // Not empty: what cannot be converted, and where it is.
  bool too_big = false;  // Then `error` says so.
};
// What a program returned, the value at `index`. Tables are records: integers and booleans among
// their keys become text, integers in their order first, then text in byte order.
Returned convert_returned(lua_State* state, int index, size_t bytes_max);

}  // namespace coppice::lua
