// hook/helpers.h — the helpers that only programs on hooks have, and the call they serve.
//
// Theory. A program sees its context; some of what it may ask or say has no place there: texts of
// any length, the bytes of an answer. Those lie in a Call beside the context, for as long as the
// chain runs, and the machine that runs it knows where. Numbers: include/coppice/bpf/types.h.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include <coppice/bpf/hooks.h>
#include "bpf/interpreter.h"

namespace coppice::hook {

inline constexpr i32 kHelperText = 0x10001, kHelperRefuse = 0x10002, kHelperReply = 0x10003,
                     kHelperPayload = 0x10004, kHelperView = 0x10005;
inline constexpr size_t kTexts = COPPICE_TEXT_PEER + 1;
inline constexpr size_t kRefusalBytesMax = 255;

// What stands beside a context.
struct Call {
  // By coppice_text_kind; of those that a hook does not have, no data.
  std::array<std::string_view, kTexts> texts = {};
  std::string message = {};                 // What coppice_refuse said last.
  std::span<std::byte> answer = {};         // Of a read that may be answered.
  std::span<const std::byte> payload = {};  // Of a write.
  bool answered = false;                    // Some of it was; the rest is zeroes.
};

// What programs on hooks run on.
class HookMachine final : public bpf::Machine {
 public:
  using Machine::Machine;
  Call* call = nullptr;                  // While a program runs.
  std::span<const std::byte> view = {};  // While one of a tracepoint runs: what it was given.
};

void add_text_helpers(bpf::HelperTable& table);     // coppice_text, coppice_refuse.
void add_request_helpers(bpf::HelperTable& table);  // coppice_reply, coppice_payload.
void add_view_helper(bpf::HelperTable& table);      // coppice_view.

}  // namespace coppice::hook
