#include <fmt/format.h>

#include <algorithm>

#include "bpf/verify/walker.h"

namespace coppice::bpf {

void Walker::clear_arguments(State& s) {
  for (u8 reg = 0; reg <= 5; ++reg) s.reg(reg) = {};
}

Walker::Next Walker::call(State& s, const Instruction& in) {
  const auto callee = static_cast<Callee>(in.src);
  if (callee == Callee::helper) return call_helper(s, in);
  if (callee == Callee::btf) {
    refuse(s, Rule::second_tier, "calls a function of the host's by its type",
           "a helper or a subprogram", "such functions are not supported");
    return Next::refused;
  }
  const u32 target = static_cast<u32>(program_.target_of(s.slot));
  const Function* function = function_at(target);
  if (function != nullptr && function->global) {
    if (!call_global(s, *function)) return Next::refused;
    ++s.slot;
    return Next::go_on;
  }
  return enter(s, target, false) ? Next::go_on : Next::refused;
}

// Into a subprogram: r1 to r5 are what the caller has there.
bool Walker::enter(State& s, u32 subprogram, bool is_callback) {
  if (s.frames.size() >= kFrames)
    return refuse(s, Rule::too_deep, "a function is called",
                  fmt::format("at most {} functions in one another", kFrames),
                  fmt::format("{} are", s.frames.size()),
                  "recursion cannot be verified: use a loop");
  StackFrame frame;
  frame.subprogram = subprogram;
  frame.call_slot = s.slot;
  frame.is_callback = is_callback;
  frame.runs = s.frame().runs;
  for (u8 reg = 1; reg <= 5; ++reg) frame.registers[reg] = s.reg(reg);
  frame.registers[kFramePointer] = pointer_value(ValueKind::stack, made(s));
  frame.registers[kFramePointer].index = static_cast<u32>(s.frames.size());
  if (!is_callback) clear_arguments(s);
  s.frames.push_back(std::move(frame));
  s.slot = subprogram;
  return true;
}

// What the attributes of a parameter promise: __arg_ctx and __arg_nonnull of libbpf's headers.
Walker::ArgumentTag Walker::tag_of(const Function& function, u8 reg) const {
  for (const Tagged& each : tagged_) {
    if (each.function == function.type && each.argument == reg - 1) return each.tag;
  }
  return ArgumentTag::none;
}

bool Walker::is_context(const Btf::Parameter& parameter, ArgumentTag tag) const {
  if (tag == ArgumentTag::context) return true;
  const Btf::Type& pointee = input_.btf->plain(input_.btf->plain(parameter.type).type);
  return pointee.kind != Btf::Kind::none && pointee.name == type_.context.name;
}

// One argument of a global function, against the type that it was verified for.
bool Walker::global_argument(State& s, u8 reg, const Btf::Parameter& parameter, ArgumentTag tag) {
  const Value& value = s.reg(reg);
  const auto bad = [&](std::string needed) {
    return refuse(s, Rule::wrong_argument,
                  fmt::format("r{} is passed as '{}' to a global function", reg, parameter.name),
                  std::move(needed), describe(value), {}, value.origin);
  };
  const Btf& btf = *input_.btf;
  const Btf::Type& type = btf.plain(parameter.type);
  if (type.kind != Btf::Kind::pointer) return value.is_number() || bad("a number");
  if (is_context(parameter, tag))
    return (value.kind == ValueKind::context && value.has_fixed_offset() &&
            value.fixed_offset() == 0) ||
           bad("the context");
  if (tag == ArgumentTag::not_null && (value.nullable || value.is_null()))
    return bad("a pointer that is not null");
  if (value.is_null()) {
    origins_.mark_precise(value.origin);
    return true;
  }
  const u32 size = btf.size_of(type.type).value_or(0);
  if (value.is_number()) return bad(fmt::format("a pointer to {} bytes, or null", size));
  Value whole = value;  // If it is null, so much is allowed.
  whole.nullable = false;
  const Value before = value;
  s.reg(reg) = whole;
  const bool good = check_buffer(s, reg, size, true, "the argument");
  s.reg(reg) = before;
  return good;
}

bool Walker::call_global(State& s, const Function& function) {
  if (input_.btf == nullptr || function.type == 0)
    return refuse(s, Rule::global_function, "a global function is called", "its type", "unknown");
  const Btf::Type& prototype = input_.btf->type(input_.btf->type(function.type).type);
  const u8 effects = effects_[subprogram_index(function.slot)];
  if ((effects & kTailCalls) != 0 && !check_tail_call(s)) return false;
  u8 reg = 1;
  for (const Btf::Parameter& parameter : prototype.parameters) {
    if (reg > 5) break;  // It will be refused itself.
    if (s.reg(reg).kind == ValueKind::nothing) return refuse_uninitialised(s, reg);
    if (s.reg(reg).is_packet() && (effects & kChangesPacket) != 0)
      return refuse(
          s, Rule::wrong_argument,
          fmt::format("r{} is passed to a global function that may change the packet", reg),
          "memory that stays where it is", describe(s.reg(reg)),
          "pass the context, and let the function read the packet's address from it",
          s.reg(reg).origin);
    if (!global_argument(s, reg, parameter, tag_of(function, reg))) return false;
    ++reg;
  }
  if ((effects & kChangesPacket) != 0) void_packets(s);
  add(walk_->calls[function.slot], s.frame().runs);
  clear_arguments(s);
  if (prototype.type != 0) s.reg(0) = number_value(Scalar::unknown(), made(s));
  return true;
}

bool Walker::check_references(State& s, u32 from_frame, const char* when) {
  for (const Reference& reference : s.references) {
    if (reference.frame < from_frame) continue;
    const Line* line = line_of(input_.lines, reference.slot);
    const std::string where =
        line == nullptr ? std::string() : fmt::format(" ({}:{})", line->file, line->line);
    return refuse(
        s, Rule::not_released, fmt::format("something acquired is not let go {}", when),
        "every path releases what it acquired, exactly once",
        fmt::format("what instruction {}{} acquired is still held", reference.slot, where),
        "release it on this path too: bpf_ringbuf_submit or bpf_ringbuf_discard for a "
        "record");
  }
  return true;
}

Walker::Next Walker::leave_callback(State& s) {
  const Value& result = s.reg(0);
  if (!result.is_number() || !Scalar::between(0, 1).covers(result.number)) {
    refuse(s, Rule::wrong_callback, "a callback returns", "0 to go on or 1 for enough, in r0",
           named(0, s), {}, result.origin);
    return Next::refused;
  }
  origins_.mark_precise(result.origin);
  if (!check_references(s, static_cast<u32>(s.frames.size() - 1), "when the callback returns"))
    return Next::refused;
  s.slot = s.frame().call_slot;  // To be called again, or not.
  s.frames.pop_back();
  return Next::go_on;
}

Walker::Next Walker::exit(State& s) {
  if (s.frame().is_callback) return leave_callback(s);
  const Value result = s.reg(0);
  if (s.frames.size() > 1) {
    if (result.kind == ValueKind::stack && result.index + 1 == s.frames.size()) {
      refuse(s, Rule::wrong_result, "a function returns a pointer to its own stack",
             "a pointer that outlives the function", describe(result), {}, result.origin);
      return Next::refused;
    }
    s.slot = s.frame().call_slot + 1;
    s.frames.pop_back();
    for (Reference& reference : s.references)
      reference.frame = std::min(reference.frame, static_cast<u32>(s.frames.size() - 1));
    s.reg(0) = result;
    return Next::go_on;
  }
  if (!check_references(s, 0, "when the program ends")) return Next::refused;
  const bool returns_nothing = walked_ != nullptr && walked_->type != 0 && input_.btf != nullptr &&
                               input_.btf->type(input_.btf->type(walked_->type).type).type == 0;
  if (returns_nothing) return Next::ended;
  if (result.kind == ValueKind::nothing) {
    refuse_uninitialised(s, 0);
    return Next::refused;
  }
  if (walked_ != nullptr && !result.is_number()) {
    refuse(s, Rule::wrong_result, "a global function returns", "a number in r0", named(0, s), {},
           result.origin);
    return Next::refused;
  }
  if (walked_ != nullptr || !type_.returns) return Next::ended;
  const AnswerRange range = *type_.returns;
  origins_.mark_precise(result.origin);
  if (result.is_number() && Scalar::between_signed(range.least, range.most).covers(result.number))
    return Next::ended;
  refuse(s, Rule::wrong_result, fmt::format("a program of type {} returns", type_.name),
         fmt::format("a number from {} to {} in r0", range.least, range.most), named(0, s), {},
         result.origin);
  return Next::refused;
}

}  // namespace coppice::bpf
