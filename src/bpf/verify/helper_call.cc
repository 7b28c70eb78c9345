#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "bpf/core_helpers.h"
#include "bpf/verify/walker.h"

namespace coppice::bpf {
namespace {

// What the kernel has under these numbers and this verifier does not know yet.
const char* second_tier_of(i32 number) {
  switch (number) {
    case 93:
    case 94: return "spin locks";
    case 169:
    case 170:
    case 171:
    case 172: return "timers";
    case 194: return "pointers kept in maps";
    case 197:
    case 198:
    case 199:
    case 200:
    case 201:
    case 202:
    case 203: return "dynamic pointers";
    case 209: return "user ring buffers";
    default: return nullptr;
  }
}

// Which maps a helper serves; those that are not named serve all.
bool serves(i32 number, MapKind kind) {
  using enum MapKind;
  const bool keyed = kind == hash || kind == array || kind == percpu_hash || kind == percpu_array ||
                     kind == lru_hash || kind == lpm_trie;
  switch (number) {
    case 1:
    case 2:
    case 3: return keyed;
    case 87:
    case 88:
    case 89: return kind == queue || kind == stack;
    case 164: return keyed && kind != lpm_trie;
    case 195: return kind == percpu_hash || kind == percpu_array;
    default: return true;
  }
}

bool changes_map(i32 number) {
  return number == 2 || number == 3 || number == 87 || number == 88;  // Update, delete, push, pop.
}

bool is_sized(Argument argument) {
  return argument == Argument::read || argument == Argument::written;
}

}  // namespace

bool Walker::check_map_kind(State& s, const CallView& view) {
  const MapSpec& spec = view.map->spec;
  if (!view.map->refused.empty())
    return refuse(s, Rule::second_tier, fmt::format("{} is used", map_name(view.map_index)),
                  "a map of a kind that is supported", view.map->refused);
  if (view.map->read_only && changes_map(view.helper->number))
    return refuse(s, Rule::read_only,
                  fmt::format("{} is called for {}", view.helper->name, map_name(view.map_index)),
                  "a map that programs may write", "it is read-only");
  if (serves(view.helper->number, spec.kind)) return true;
  return refuse(s, Rule::map_kind,
                fmt::format("{} is called for {}", view.helper->name, map_name(view.map_index)),
                "a map of a kind that it serves",
                fmt::format("a map of kind {}", bpf::name_of(spec.kind)));
}

bool Walker::check_map_argument(State& s, u8 index, CallView& view) {
  const u8 reg = static_cast<u8>(index + 1);
  const Value& value = s.reg(reg);
  const Argument wanted = view.helper->arguments[index];
  const auto bad = [&](const char* needed) {
    return refuse(s, Rule::wrong_argument,
                  fmt::format("r{} is passed to {}", reg, view.helper->name), needed,
                  describe(value), {}, value.origin);
  };
  if (value.kind != ValueKind::map || value.nullable) return bad("a map");
  view.map = &input_.maps[value.index];
  view.map_index = value.index;
  if (wanted == Argument::ring && view.map->spec.kind != MapKind::ringbuf)
    return bad("a ring buffer");
  if (wanted == Argument::programs && view.map->spec.kind != MapKind::program_array)
    return bad("a program array");
  Fact& fact = verdict_.facts.slots[s.slot];
  const i32 known = static_cast<i32>(value.index);
  fact.map = maps_seen_[s.slot] && fact.map != known ? kNoMap : known;
  maps_seen_[s.slot] = true;
  return check_map_kind(s, view);
}

// `size` bytes from the address in `reg` may be read, or written.
bool Walker::check_buffer(State& s, u8 reg, u64 size, bool write, const char* what) {
  const Value pointer = s.reg(reg);
  if (pointer.kind == ValueKind::stack) {
    const Access access{
        .size = static_cast<u32>(std::min<u64>(size, kFrameBytes + 1)), .write = write, .reg = reg};
    i64 least = 0, most = 0;
    if (!stack_range(s, pointer, access, least, most)) return false;
    if (size == 0) return true;
    if (!write) {
      bool zero = false;
      return read_bytes(s, pointer, access, least, most, &zero);
    }
    // What a helper fills; a range with a moving start is filled in part.
    const bool sure = pointer.has_fixed_offset();
    if (!sure) {
      bool zero = false;
      if (!read_bytes(s, pointer, access, least, most, &zero)) return false;
    }
    write_bytes(s, pointer.index, least, most, sure);
    return true;
  }
  if (pointer.is_pointer() && !pointer.nullable && pointer.kind != ValueKind::map_value &&
      pointer.kind != ValueKind::memory && !pointer.is_packet())
    return refuse(s, Rule::wrong_argument, fmt::format("r{} is passed as {}", reg, what),
                  "a pointer to the stack, a map's value, a packet or memory", describe(pointer),
                  {}, pointer.origin);
  if (size > static_cast<u64>(kOffsetMax))
    return refuse(s, Rule::unbounded, fmt::format("r{} is passed as {}", reg, what),
                  "memory of bounded size", fmt::format("up to {} bytes", size));
  Access access{.size = static_cast<u32>(size), .write = write, .reg = reg};
  if (!type_.strict_alignment) return check_access(s, pointer, access);
  access.size = 1;  // Helpers do not mind: only the ends count.
  if (!check_access(s, pointer, access)) return false;
  access.offset = size == 0 ? 0 : static_cast<i64>(size) - 1;
  return check_access(s, pointer, access);
}

// Memory in `reg` and its size in the next.
bool Walker::check_sized(State& s, u8 index, CallView& view) {
  const u8 reg = static_cast<u8>(index + 1), size_reg = static_cast<u8>(index + 2);
  const Value& size = s.reg(size_reg);
  const bool may_be_none = view.helper->arguments[index + 1] == Argument::size_or_zero;
  if (size.kind == ValueKind::nothing) return refuse_uninitialised(s, size_reg);
  const auto bad = [&](Rule rule, std::string needed, std::string suggestion) {
    return refuse(s, rule,
                  fmt::format("r{} is passed to {} as a size", size_reg, view.helper->name),
                  std::move(needed), describe(size), std::move(suggestion), size.origin);
  };
  if (!size.is_number()) return bad(Rule::wrong_argument, "a number", "");
  origins_.mark_precise(size.origin);
  if (size.number.smin < 0)
    return bad(Rule::unbounded, "a size that is not negative",
               "make it unsigned, or test it: if (size < 0) return 0;");
  if (size.number.umax >= static_cast<u64>(kOffsetMax))
    return bad(Rule::unbounded, "a bounded size",
               "test it before the call: if (size > sizeof(buffer)) return 0;");
  if (size.number.umin == 0 && !may_be_none)
    return bad(Rule::wrong_argument, "a size above 0", "test it before: if (size == 0) return 0;");
  view.size_most = size.number.umax;
  const Value& pointer = s.reg(reg);
  if (pointer.kind == ValueKind::nothing) return refuse_uninitialised(s, reg);
  const bool null_allowed = (view.helper->nullable >> index & 1) != 0;
  if (null_allowed && pointer.is_null()) {
    origins_.mark_precise(pointer.origin);
    if (size.number.umax == 0) return true;
    return bad(Rule::wrong_argument, "0, because the pointer is null", "");
  }
  // Of a size that varies the most is read or filled, but only the least is filled for sure.
  const bool write = view.helper->arguments[index] == Argument::written;
  if (write && !size.is_constant() && pointer.kind == ValueKind::stack) {
    if (!check_buffer(s, reg, size.number.umax, false, "memory")) return false;
  }
  return check_buffer(s, reg, size.number.umax, write, "memory");
}

// A string that stays as it is: of a frozen map.
bool Walker::check_text(State& s, u8 reg) {
  const Value& value = s.reg(reg);
  const auto bad = [&](std::string known) {
    return refuse(s, Rule::wrong_argument, fmt::format("r{} is passed as text", reg),
                  "a constant string, which ends with a zero", std::move(known),
                  "static const char text[] = \"...\";", value.origin);
  };
  if (value.kind != ValueKind::map_value || value.nullable) return bad(describe(value));
  const MapView& map = input_.maps[value.index];
  if (!map.frozen) return bad(fmt::format("{} is not read-only", map_name(value.index)));
  if (!value.has_fixed_offset()) return bad(describe(value));
  const i64 at = value.fixed_offset();
  if (at < 0 || static_cast<u64>(at) >= map.contents.size())
    return bad(fmt::format("offset {} lies outside", at));
  const auto rest = map.contents.subspan(static_cast<size_t>(at));
  if (std::ranges::find(rest, std::byte{0}) != rest.end()) return true;
  return bad("it does not end");
}

bool Walker::check_reference_argument(State& s, u8 index, CallView& view) {
  const u8 reg = static_cast<u8>(index + 1);
  const Value& value = s.reg(reg);
  const Argument wanted = view.helper->arguments[index];
  const auto bad = [&](Rule rule, std::string needed, std::string suggestion = {}) {
    return refuse(s, rule, fmt::format("r{} is passed to {}", reg, view.helper->name),
                  std::move(needed), describe(value), std::move(suggestion), value.origin);
  };
  if (value.nullable)
    return bad(Rule::maybe_null, "a pointer that was compared with null",
               "add a test before the call: if (!p) return 0;");
  if (wanted == Argument::record) {
    if (value.kind != ValueKind::memory || value.reference == 0)
      return bad(Rule::released_twice, "a record that was reserved and is not let go yet");
  } else {
    const Layout* layout = view.helper->layouts[index];
    if (value.kind != ValueKind::object || (layout != nullptr && value.layout != layout))
      return bad(Rule::wrong_argument,
                 fmt::format("a pointer to {}",
                             layout == nullptr ? "a structure of the host's" : layout->name));
    if (wanted == Argument::object) {
      view.lent = value.reference;
      return true;
    }
    if (!value.owned) return bad(Rule::released_twice, "something acquired that is not let go yet");
  }
  if (!value.has_fixed_offset() || value.fixed_offset() != 0)
    return bad(Rule::wrong_argument, "the pointer as it was given, with no offset");
  const auto held = std::ranges::find(s.references, value.reference, &Reference::id);
  if (held == s.references.end()) return bad(Rule::released_twice, "something that is held");
  u32 callback = 0;  // The innermost one that runs.
  for (u32 i = 0; i < s.frames.size(); ++i)
    if (s.frames[i].is_callback) callback = i;
  if (held->frame < callback)
    return bad(Rule::wrong_callback, "something that this callback acquired itself",
               "release it behind the loop");
  view.released = value.reference;
  return true;
}

bool Walker::check_argument(State& s, u8 index, CallView& view) {
  const u8 reg = static_cast<u8>(index + 1);
  const Argument wanted = view.helper->arguments[index];
  const Value& value = s.reg(reg);
  if (value.kind == ValueKind::nothing) return refuse_uninitialised(s, reg);
  const bool null_allowed = (view.helper->nullable >> index & 1) != 0;
  const auto bad = [&](std::string needed) {
    return refuse(s, Rule::wrong_argument,
                  fmt::format("r{} is passed to {}", reg, view.helper->name), std::move(needed),
                  describe(value), {}, value.origin);
  };
  if (null_allowed && value.is_null() && !is_sized(wanted)) {
    origins_.mark_precise(value.origin);
    return true;
  }
  if (value.is_packet() && wanted != Argument::anything && !view.helper->takes_packet)
    return bad("memory that is no packet's, for this helper may move packets or fill them");
  switch (wanted) {
    case Argument::none:
    case Argument::anything: return true;
    case Argument::size:
    case Argument::size_or_zero:
      if (index > 0 && is_sized(view.helper->arguments[index - 1])) return true;
      return value.is_number() || bad("a number");
    case Argument::map:
    case Argument::ring:
    case Argument::programs: return check_map_argument(s, index, view);
    case Argument::key: return check_buffer(s, reg, view.map->spec.key_size, false, "a key");
    case Argument::value: return check_buffer(s, reg, view.map->spec.value_size, false, "a value");
    case Argument::value_out:
      return check_buffer(s, reg, view.map->spec.value_size, true, "a value");
    case Argument::number_out: {
      const Access access{.size = sizeof(u64), .write = true, .reg = reg};
      return check_buffer(s, reg, sizeof(u64), true, "a number") &&
             check_alignment(s, value, access);
    }
    case Argument::read:
    case Argument::written: return check_sized(s, index, view);
    case Argument::text: return check_text(s, reg);
    case Argument::code: {
      if (value.kind != ValueKind::code) return bad("a static function");
      const Function* function = function_at(value.index);
      if (function != nullptr && function->global)
        return bad("a static function, for it is verified with its arguments");
      view.callback = value.index;
      view.has_callback = true;
      return true;
    }
    case Argument::context:
      if (value.kind == ValueKind::context && value.has_fixed_offset() && value.fixed_offset() == 0)
        return true;
      return bad("the context, as r1 was in the beginning");
    case Argument::record_size:
      if (!value.is_constant() || value.number.value() > static_cast<u64>(kOffsetMax))
        return refuse(s, Rule::not_constant,
                      fmt::format("r{} is passed to {}", reg, view.helper->name),
                      "a size that is known when the program is loaded", describe(value),
                      "use bpf_ringbuf_output for records of varying size", value.origin);
      origins_.mark_precise(value.origin);
      view.record_bytes = static_cast<u32>(value.number.value());
      return true;
    case Argument::record:
    case Argument::object:
    case Argument::released: return check_reference_argument(s, index, view);
  }
  return true;
}

// Whatever came with this reference is a number now.
void Walker::release(State& s, u32 reference) {
  std::erase_if(s.references, [&](const Reference& each) { return each.id == reference; });
  for_each_value(s.frames, [&](Value& value) {
    if (value.reference != reference) return;
    value = number_value(Scalar::unknown(), origins_.add(OriginKind::voided, s.slot, value.origin));
  });
}

void Walker::void_packets(State& s) {
  for_each_value(s.frames, [&](Value& value) {
    if (!value.is_packet() && value.kind != ValueKind::packet_end) return;
    value = number_value(Scalar::unknown(), origins_.add(OriginKind::voided, s.slot, value.origin));
  });
}

bool Walker::set_answer(State& s, const CallView& view) {
  const Helper& helper = *view.helper;
  const Origin origin = made(s);
  Value answer = number_value(Scalar::unknown(), origin);
  const auto acquire = [&] {
    answer.reference = next_id_++;
    answer.owned = true;
    s.references.push_back(
        {.id = answer.reference, .slot = s.slot, .frame = static_cast<u32>(s.frames.size() - 1)});
  };
  const auto null = [&] {
    answer.nullable = true;
    answer.id = next_id_++;
  };
  switch (helper.answer) {
    case Answer::nothing: answer = {}; break;
    case Answer::number:
      if (helper.range)
        answer.number = Scalar::between_signed(helper.range->least, helper.range->most);
      if (helper.returns_length) {
        constexpr i64 kErrnoMax = 4095;
        answer.number = Scalar::between_signed(-kErrnoMax, static_cast<i64>(view.size_most));
      }
      break;
    case Answer::value_or_null:
      answer = pointer_value(ValueKind::map_value, origin);
      answer.index = view.map_index;
      answer.read_only = view.map->read_only;
      null();
      break;
    case Answer::record_or_null:
      answer = pointer_value(ValueKind::memory, origin);
      answer.size = view.record_bytes;
      null();
      acquire();
      break;
    case Answer::object:
    case Answer::object_or_null:
    case Answer::acquired_or_null:
      answer = pointer_value(ValueKind::object, origin);
      answer.layout = helper.answer_layout;
      answer.reference = view.lent;  // It ends with what it was made of.
      if (helper.answer != Answer::object) null();
      if (helper.answer == Answer::acquired_or_null) acquire();
      break;
  }
  origins_.remember(origin, answer.number);
  clear_arguments(s);
  s.reg(0) = answer;
  return true;
}

Walker::Next Walker::call_helper(State& s, const Instruction& in) {
  if (in.imm == kUnsatisfied) {
    refuse(s, Rule::unsatisfied, "the program needs a type or field that the host does not have",
           "a relocation that was resolved when the program was loaded", "it was not",
           "ask before: if (bpf_core_field_exists(...)) or bpf_core_type_exists");
    return Next::refused;
  }
  const Helper* helper = type_.helpers->find(in.imm);
  if (in.imm == kTailCall && helper == nullptr && type_.may_tail_call) return tail_call(s);
  if (const char* later = second_tier_of(in.imm); later != nullptr && helper == nullptr) {
    refuse(s, Rule::second_tier, fmt::format("helper {} is called", in.imm), "a supported helper",
           fmt::format("{} are not supported", later));
    return Next::refused;
  }
  if (helper == nullptr) {
    refuse(s, in.imm == kTailCall ? Rule::tail_call : Rule::unknown_helper,
           fmt::format("helper {} is called", in.imm),
           fmt::format("a helper that programs of type {} may call", type_.name),
           "there is none of this number for them");
    return Next::refused;
  }
  CallView view{.helper = helper};
  for (u8 i = 0; i < 5 && helper->arguments[i] != Argument::none; ++i) {
    if (!check_argument(s, i, view)) return Next::refused;
  }
  if (view.has_callback) return call_back(s, view);
  if (view.released != 0) release(s, view.released);
  if (helper->changes_packet) void_packets(s);
  if (!set_answer(s, view)) return Next::refused;
  ++s.slot;
  return Next::go_on;
}

// Two ways on: the helper has had enough, or the callback runs once more and comes back here.
Walker::Next Walker::call_back(State& s, const CallView& view) {
  State round = s;
  const bool counts = view.helper->callback == Callback::iteration;
  const Value& count = s.reg(1);
  bool enters = true;
  u64 rounds_most = counts ? kLoopsMax : view.map->spec.max_entries;
  if (counts && count.is_number()) {
    // How long a run may take depends on it, whatever else does.
    origins_.mark_precise(count.origin);
    rounds_most = std::min(rounds_most, count.number.umax);
    enters = s.frame().rounds < rounds_most;
  }
  s.frame().rounds = 0;
  if (!set_answer(s, view)) return Next::refused;
  ++s.slot;
  if (!enters) return Next::go_on;
  ++round.frame().rounds;
  const State caller = round;
  const u8 context_reg = static_cast<u8>(3);
  const Value context = caller.reg(context_reg);
  const Value code_map = caller.reg(1);
  if (!enter(round, view.callback, true)) return Next::refused;
  round.frame().runs = multiply(caller.frame().runs, rounds_most);
  for (u8 reg = 1; reg <= 5; ++reg) round.reg(reg) = {};
  if (counts) {
    round.reg(1) = number_value(Scalar::between(0, UINT32_MAX), made(caller));
    round.reg(2) = context;
  } else {
    const MapSpec& spec = view.map->spec;
    round.reg(1) = code_map;
    round.reg(2) = pointer_value(ValueKind::memory, made(caller));
    round.reg(2).size = spec.key_size;
    round.reg(2).read_only = true;
    round.reg(3) = pointer_value(ValueKind::map_value, made(caller));
    round.reg(3).index = view.map_index;
    round.reg(3).read_only = view.map->read_only;
    round.reg(4) = context;
  }
  return push(std::move(round)) ? Next::go_on : Next::refused;
}

// Whether another program may take over here, or in a global function that is called here.
bool Walker::check_tail_call(State& s) {
  if (!check_references(s, 0, "before another program takes over")) return false;
  if (std::ranges::none_of(s.frames, &StackFrame::is_callback)) return true;
  return refuse(s, Rule::tail_call, "another program is to take over", "no callback in between",
                "a callback runs");
}

Walker::Next Walker::tail_call(State& s) {
  static const Helper kPrototype{
      .number = kTailCall,
      .name = "tail_call",
      .arguments = {Argument::context, Argument::programs, Argument::anything}};
  CallView view{.helper = &kPrototype};
  for (u8 i = 0; i < 3; ++i) {
    if (!check_argument(s, i, view)) return Next::refused;
  }
  if (!check_tail_call(s)) return Next::refused;
  if (s.frames.size() > 1) {
    // The other program returns to the caller of this function, and may have changed the packet.
    State returned = s;
    void_packets(returned);
    returned.slot = s.frame().call_slot + 1;
    returned.frames.pop_back();
    returned.reg(0) = number_value(Scalar::unknown(), made(s));
    if (!push(std::move(returned))) return Next::refused;
  }
  return set_answer(s, view) ? (++s.slot, Next::go_on) : Next::refused;
}

}  // namespace coppice::bpf
