#include "helper/lua/ask.h"

#include <cstdarg>
#include <cstring>

#include "helper/lua/machine.h"
#include "helper/lua/stream.h"
#include "helper/lua/values.h"

namespace coppice::lua {
namespace {

using message::Call;

AnswerView exchange(lua_State* state) {
  Machine& machine = machine_of(state);
  machine.frame = message::end_frame(*machine.ask);
  if (machine.frame.size() - sizeof(u32) > message::kAskBytesMax) {
    raise(state, "the arguments are longer than %d bytes", static_cast<int>(message::kAskBytesMax));
  }
  if (machine.stream == nullptr || !machine.stream->send(machine.frame)) stop(state, Stop::lost);
  const auto bytes = machine.stream->receive(message::FrameKind::answer);
  if (!bytes) stop(state, Stop::lost);
  Reader rest(*bytes);
  const i32 error = rest.get<i32>();
  const u8 fatal = rest.get<u8>();
  Reader whole = rest;
  if (fatal > 1 || !skip_encoded(whole)) stop(state, Stop::lost);
  whole.skip(whole.get<u32>());
  if (!whole.done()) stop(state, Stop::lost);
  return {.error = error, .fatal = fatal == 1, .rest = rest};
}

// Cursors whose iterators are gone. Not when they go: that may be in the middle of a question.
void drop_cursors(lua_State* state) {
  Machine& machine = machine_of(state);
  while (!machine.dropped.empty()) {
    const u64 cursor = machine.dropped.back();
    machine.dropped.pop_back();
    machine.ask.emplace(message::begin_frame(message::FrameKind::ask));
    machine.ask->put(Call::drop);
    machine.ask->put(u16{0});
    machine.ask->put_list_head(1);
    machine.ask->put_integer_value(static_cast<i64>(cursor));
    machine.ask->put_record_head(0);
    exchange(state);
  }
}

// "NAME:LINE: " of the youngest frame that is the program's.
void push_where(lua_State* state) {
  lua_Debug frame;
  for (int level = 1; lua_getstack(state, level, &frame) != 0; ++level) {
    lua_getinfo(state, "Sl", &frame);
    if (frame.currentline > 0 && std::strcmp(frame.source, kLayerName) != 0) {
      lua_pushfstring(state, "%s:%d: ", frame.short_src, frame.currentline);
      return;
    }
  }
  lua_pushliteral(state, "");
}

}  // namespace

message::Encoder& begin_ask(lua_State* state, Call call, u16 verb) {
  Machine& machine = machine_of(state);
  drop_cursors(state);
  machine.ask.emplace(message::begin_frame(message::FrameKind::ask));
  machine.ask->put(call);
  machine.ask->put(verb);
  return *machine.ask;
}

AnswerView finish_ask(lua_State* state) { return exchange(state); }

void push_answer_value(lua_State* state, AnswerView& answer) {
  if (!push_encoded(state, answer.rest)) stop(state, Stop::lost);
}

void push_answer_message(lua_State* state, AnswerView& answer) {
  const auto text = answer.rest.bytes(answer.rest.get<u32>());
  if (!answer.rest.good()) stop(state, Stop::lost);
  lua_pushlstring(state, reinterpret_cast<const char*>(text.data()), text.size());
}

void demand(lua_State* state, AnswerView& answer, const char* function) {
  if (answer.error == 0 && !answer.fatal) return;
  if (!skip_encoded(answer.rest)) stop(state, Stop::lost);
  push_answer_message(state, answer);
  raise(state, "%s: %s", function, lua_tostring(state, -1));
}

int raise(lua_State* state, const char* format, ...) {
  push_where(state);
  va_list arguments;
  va_start(arguments, format);
  lua_pushvfstring(state, format, arguments);
  va_end(arguments);
  lua_concat(state, 2);
  return lua_error(state);
}

}  // namespace coppice::lua
