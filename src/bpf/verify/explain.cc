#include <fmt/format.h>

#include "bpf/disassembler.h"
#include "bpf/verify/walker.h"

namespace coppice::bpf {
namespace {

constexpr size_t kHistoryMax = 12;  // Steps that are shown.

const char* how(OriginKind kind) {
  switch (kind) {
    case OriginKind::argument: return "as the function was given it";
    case OriginKind::made: return "";
    case OriginKind::taken: return ", taken";
    case OriginKind::not_taken: return ", not taken";
    case OriginKind::kept: return "";
    case OriginKind::widened: return ": it differs from round to round";
    case OriginKind::voided: return ": what it pointed to is gone";
    case OriginKind::stored: return "";
  }
  return "";
}

}  // namespace

const char* name_of(ValueKind kind) {
  switch (kind) {
    case ValueKind::nothing: return "nothing: it was never set";
    case ValueKind::number: return "a number";
    case ValueKind::context: return "the context";
    case ValueKind::stack: return "a pointer to the stack";
    case ValueKind::map: return "a map";
    case ValueKind::map_value: return "a pointer to a map's value";
    case ValueKind::packet: return "a pointer into the packet";
    case ValueKind::packet_meta: return "a pointer to what precedes the packet";
    case ValueKind::packet_end: return "the end of the packet";
    case ValueKind::memory: return "a pointer to memory";
    case ValueKind::object: return "a pointer to a structure of the host's";
    case ValueKind::btf: return "a pointer to a structure of the host's";
    case ValueKind::code: return "a function";
  }
  return "?";
}

std::string Walker::map_name(u32 index) const {
  const std::string& name = input_.maps[index].spec.name;
  return name.empty() ? fmt::format("map {}", index) : fmt::format("map '{}'", name);
}

std::string Walker::describe(const Value& value) const {
  if (value.is_number()) return "a number, " + coppice::bpf::describe(value.number);
  std::string text = bpf::name_of(value.kind);
  if (value.kind == ValueKind::nothing) return text;
  if (value.kind == ValueKind::map) text = map_name(value.index);
  if (value.kind == ValueKind::map_value)
    text = fmt::format("a pointer to a value of {} ({} bytes)", map_name(value.index),
                       input_.maps[value.index].spec.value_size);
  if (value.kind == ValueKind::memory) text += fmt::format(" of {} bytes", value.size);
  if (value.kind == ValueKind::object) text = fmt::format("a pointer to {}", value.layout->name);
  if (value.kind == ValueKind::btf && input_.host_btf != nullptr)
    text = fmt::format("a pointer to '{}'", input_.host_btf->describe(value.index));
  if (value.has_fixed_offset() && value.fixed_offset() != 0)
    text += fmt::format(" {:+}", value.fixed_offset());
  if (!value.has_fixed_offset()) {
    if (value.offset != 0) text += fmt::format(" {:+}", value.offset);
    text += fmt::format(" + ({})", coppice::bpf::describe(value.number));
  }
  if (value.is_packet())
    text += fmt::format(" (of which {} bytes are known to be there)", value.range);
  if (value.nullable) text += ", or null";
  return text;
}

std::string Walker::named(u8 reg, const State& s) const {
  return fmt::format("r{} is {}", reg, describe(s.reg(reg)));
}

// From the latest step back, along what each was mainly made of.
std::vector<HistoryStep> Walker::history(Origin origin) const {
  std::vector<HistoryStep> steps;
  while (origin != 0 && steps.size() < kHistoryMax) {
    const Origins::Node& node = origins_.node(origin);
    if (node.kind != OriginKind::kept && node.kind != OriginKind::stored) {
      std::string what = node.kind == OriginKind::argument
                             ? std::string(how(node.kind))
                             : disassemble(program_, node.slot) + how(node.kind);
      if (const Scalar* value = origins_.value(origin))
        what += fmt::format(": {}", coppice::bpf::describe(*value));
      steps.push_back({.slot = node.slot, .what = std::move(what)});
    }
    // Where the first operand tells nothing, the second may.
    origin = node.from != 0 ? node.from : node.and_from;
  }
  return steps;
}

bool Walker::refuse(const State& s, Rule rule, std::string what, std::string needed,
                    std::string known, std::string suggestion, Origin about) {
  verdict_.refusal = Refusal{.rule = rule,
                             .slot = s.slot,
                             .what = std::move(what),
                             .needed = std::move(needed),
                             .known = std::move(known),
                             .suggestion = std::move(suggestion),
                             .history = history(about)};
  return false;
}

bool Walker::refuse_uninitialised(const State& s, u8 reg) {
  return refuse(
      s, Rule::uninitialised, fmt::format("r{} is read", reg),
      "a register that every path before has set",
      reg >= 1 && reg <= 5 ? "it was never set, or a call has overwritten it since"
                           : "it was never set",
      reg == 0 ? "return a value on every path" : "initialise the variable where it is declared");
}

void Walker::log_state(const State& s) {
  verdict_.log += fmt::format("{:>6}: {:<36};", s.slot, disassemble(program_, s.slot));
  for (u8 reg = 0; reg < kRegisters; ++reg) {
    const Value& value = s.reg(reg);
    if (value.kind == ValueKind::nothing || reg == kFramePointer) continue;
    verdict_.log += fmt::format(" r{}={};", reg, describe(value));
  }
  for (size_t i = 0; i < s.frame().slots.size(); ++i) {
    const StackSlot& slot = s.frame().slots[i];
    const i64 at = -8 * static_cast<i64>(i + 1);
    if (slot.holds_value()) {
      verdict_.log += fmt::format(" fp{}={};", at + slot.begin, describe(slot.value));
      continue;
    }
    std::string bytes;
    for (const ByteKind byte : slot.bytes)
      bytes += byte == ByteKind::unwritten ? '?' : byte == ByteKind::zero ? '0' : 'm';
    if (bytes != "????????") verdict_.log += fmt::format(" fp{}={};", at, bytes);
  }
  verdict_.log += '\n';
}

}  // namespace coppice::bpf
