// helper/lua/ask.h — questions to the daemon, from inside a Lua call.
#pragma once

#include <lua.hpp>
#include <string_view>

#include "base/endian.h"
#include "message/program.h"

namespace coppice::lua {

// What zfs.lua is called in messages.
inline constexpr const char* kLayerName = "=[zfs]";

// Starts a question; what it is about is appended to what this returns: a list, then a record.
message::Encoder& begin_ask(lua_State* state, message::Call call, u16 verb = 0);

struct AnswerView {
  i32 error = 0;
  bool fatal = false;
  Reader rest;  // The value, then the message; valid until the next question.
};
// Sends the question and waits. Stops the program if the daemon is gone or answers nonsense.
AnswerView finish_ask(lua_State* state);

// Both push what they read and stop the program if it is not there.
void push_answer_value(lua_State* state, AnswerView& answer);
void push_answer_message(lua_State* state, AnswerView& answer);

// Of an answer that may not be a refusal: raises its message as an error of `function`.
void demand(lua_State* state, AnswerView& answer, const char* function);

// luaL_error, but says where in the program itself, not in the layer over it (kLayerName).
[[gnu::format(printf, 2, 3)]] int raise(lua_State* state, const char* format, ...);

}  // namespace coppice::lua
