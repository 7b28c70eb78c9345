#include "hook/helpers.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace coppice::hook {
namespace {

using bpf::Answer;
using bpf::Argument;

u64 error(int number) { return static_cast<u64>(-static_cast<i64>(number)); }

Call& call_of(bpf::Machine& machine) {
  Call* call = static_cast<HookMachine&>(machine).call;
  CHECK(call != nullptr);
  return *call;
}

u64 text(bpf::Machine& machine, u64, u64 kind, u64 to, u64 size, u64) {
  const Call& call = call_of(machine);
  if (kind >= kTexts || call.texts[kind].data() == nullptr) return error(EINVAL);
  const std::string_view text = call.texts[kind];
  const size_t length = std::min<size_t>(text.size(), size - 1);
  std::memcpy(reinterpret_cast<void*>(to), text.data(), length);
  std::memset(reinterpret_cast<char*>(to) + length, 0, size - length);
  return text.size();
}

u64 refuse(bpf::Machine& machine, u64, u64 from, u64 size, u64, u64) {
  const std::string_view said(reinterpret_cast<const char*>(from), size);
  std::string& message = call_of(machine).message;
  message.assign(said.substr(0, std::min(said.find('\0'), kRefusalBytesMax)));
  for (char& each : message)  // It becomes a line of somebody's terminal.
    if (static_cast<unsigned char>(each) < ' ' || each == 0x7f) each = '?';
  return 0;
}

u64 reply(bpf::Machine& machine, u64, u64 offset, u64 from, u64 size, u64) {
  Call& call = call_of(machine);
  if (offset > call.answer.size() || size > call.answer.size() - offset) return error(ERANGE);
  if (!call.answered) std::memset(call.answer.data(), 0, call.answer.size());
  call.answered = true;
  std::memcpy(call.answer.data() + offset, reinterpret_cast<const void*>(from), size);
  return 0;
}

u64 payload(bpf::Machine& machine, u64, u64 offset, u64 to, u64 size, u64) {
  const Call& call = call_of(machine);
  if (offset > call.payload.size() || size > call.payload.size() - offset) {
    std::memset(reinterpret_cast<void*>(to), 0, size);
    return error(ERANGE);
  }
  std::memcpy(reinterpret_cast<void*>(to), call.payload.data() + offset, size);
  return 0;
}

u64 view(bpf::Machine& machine, u64, u64 to, u64 size, u64, u64) {
  const auto view = static_cast<HookMachine&>(machine).view;
  const size_t length = std::min<size_t>(view.size(), size);
  std::memcpy(reinterpret_cast<void*>(to), view.data(), length);
  std::memset(reinterpret_cast<std::byte*>(to) + length, 0, size - length);
  return view.size();
}

}  // namespace

void add_view_helper(bpf::HelperTable& table) {
  table.add({.number = kHelperView,
             .name = "coppice_view",
             .function = view,
             .arguments = {Argument::context, Argument::written, Argument::size, Argument::none,
                           Argument::none}});
}

void add_text_helpers(bpf::HelperTable& table) {
  table.add({.number = kHelperText,
             .name = "coppice_text",
             .function = text,
             .arguments = {Argument::context, Argument::anything, Argument::written, Argument::size,
                           Argument::none}});
  table.add({.number = kHelperRefuse,
             .name = "coppice_refuse",
             .function = refuse,
             .arguments = {Argument::context, Argument::read, Argument::size, Argument::none,
                           Argument::none}});
}

void add_request_helpers(bpf::HelperTable& table) {
  table.add({.number = kHelperReply,
             .name = "coppice_reply",
             .function = reply,
             .arguments = {Argument::context, Argument::anything, Argument::read,
                           Argument::size_or_zero, Argument::none}});
  table.add({.number = kHelperPayload,
             .name = "coppice_payload",
             .function = payload,
             .arguments = {Argument::context, Argument::anything, Argument::written,
                           Argument::size_or_zero, Argument::none}});
}

}  // namespace coppice::hook
