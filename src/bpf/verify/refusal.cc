#include "bpf/verify/refusal.h"

#include <fmt/format.h>

#include <algorithm>

#include "bpf/disassembler.h"
#include "bpf/object/object.h"

namespace coppice::bpf {

const char* name_of(Rule rule) {
  switch (rule) {
    case Rule::unreachable: return "unreachable";
    case Rule::uninitialised: return "uninitialised";
    case Rule::not_a_pointer: return "not-a-pointer";
    case Rule::maybe_null: return "maybe-null";
    case Rule::out_of_bounds: return "out-of-bounds";
    case Rule::unbounded: return "unbounded";
    case Rule::wrong_pointer: return "wrong-pointer";
    case Rule::misaligned: return "misaligned";
    case Rule::bad_constant: return "bad-constant";
    case Rule::read_only: return "read-only";
    case Rule::unwritten_stack: return "unwritten-stack";
    case Rule::stack_bounds: return "stack-bounds";
    case Rule::context_access: return "context-access";
    case Rule::packet_bounds: return "packet-bounds";
    case Rule::structure_access: return "structure-access";
    case Rule::pointer_arithmetic: return "pointer-arithmetic";
    case Rule::pointer_store: return "pointer-store";
    case Rule::atomic_access: return "atomic-access";
    case Rule::unknown_helper: return "unknown-helper";
    case Rule::unsatisfied: return "unsatisfied";
    case Rule::second_tier: return "second-tier";
    case Rule::wrong_argument: return "wrong-argument";
    case Rule::map_kind: return "map-kind";
    case Rule::not_constant: return "not-constant";
    case Rule::released_twice: return "released-twice";
    case Rule::not_released: return "not-released";
    case Rule::wrong_callback: return "wrong-callback";
    case Rule::wrong_result: return "wrong-result";
    case Rule::endless_loop: return "endless-loop";
    case Rule::too_complex: return "too-complex";
    case Rule::too_deep: return "too-deep";
    case Rule::global_function: return "global-function";
    case Rule::tail_call: return "tail-call";
  }
  return "?";
}

const Line* line_of(std::span<const Line> lines, u32 slot) {
  const auto after = std::ranges::upper_bound(lines, slot, {}, &Line::slot);
  return after == lines.begin() ? nullptr : &*(after - 1);
}

std::string describe(const Refusal& refusal, const Program& program, std::span<const Line> lines) {
  std::string text;
  const auto place = [&](u32 slot, const Line*& shown) {
    const Line* line = line_of(lines, slot);
    if (line == nullptr || line == shown) return;
    shown = line;
    const size_t begin = std::min(line->text.find_first_not_of(" \t"), line->text.size());
    text += fmt::format("  {}:{}: {}\n", line->file, line->line, line->text.substr(begin));
  };
  const Line* shown = nullptr;
  text += fmt::format("refused ({}) at instruction {}: {}\n", name_of(refusal.rule), refusal.slot,
                      refusal.what);
  place(refusal.slot, shown);
  if (refusal.slot < program.slots().size())
    text += fmt::format("  {:>5}: {}\n", refusal.slot, disassemble(program, refusal.slot));
  if (!refusal.needed.empty()) text += fmt::format("needed: {}\n", refusal.needed);
  if (!refusal.known.empty()) text += fmt::format("known:  {}\n", refusal.known);
  if (!refusal.history.empty()) text += "how it came to this, latest first:\n";
  for (const HistoryStep& step : refusal.history) {
    place(step.slot, shown);
    text += fmt::format("  {:>5}: {}\n", step.slot, step.what);
  }
  if (!refusal.suggestion.empty()) text += fmt::format("try: {}\n", refusal.suggestion);
  return text;
}

}  // namespace coppice::bpf
