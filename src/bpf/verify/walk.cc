#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "bpf/verify/liveness.h"
#include "bpf/verify/walker.h"

namespace coppice::bpf {
namespace {

// A call of a subprogram, or its address.
bool names_code(const Instruction& in) {
  if (in.opcode == kOpcodeCall) return in.src == static_cast<u8>(Callee::local);
  return in.is_wide() && in.src == static_cast<u8>(Immediate::code);
}

}  // namespace

Walker::Walker(const VerifyInput& input, const VerifyOptions& options, bool keep_values)
    : input_(input),
      options_(options),
      program_(input.program),
      type_(input.type),
      origins_(keep_values),
      live_(live_registers(input.program, *input.type.helpers)),
      kept_(input.program.slots().size()),
      calls_(input.program.subprograms().size()),
      stack_bytes_(input.program.subprograms().size(), 0) {
  verdict_.facts.slots.resize(program_.slots().size());
  loaded_.assign(program_.slots().size(), false);
  opened_.resize(program_.slots().size());
  maps_seen_.assign(program_.slots().size(), false);
  if (options.claims) verdict_.claims = Claims(program_.slots().size());
  find_prune_points();
  find_calls();
  find_tags();
  find_effects();
}

void Walker::find_calls() {
  const auto slots = program_.slots();
  for (u32 i = 0; i < slots.size(); i += slots[i].is_wide() ? 2 : 1) {
    if (names_code(slots[i]))
      calls_[subprogram_index(i)].push_back(
          subprogram_index(static_cast<u32>(program_.target_of(i))));
  }
}

void Walker::find_tags() {
  if (input_.btf == nullptr) return;
  for (u32 id = 1; id < input_.btf->count(); ++id) {
    const Btf::Type& type = input_.btf->type(id);
    if (type.kind != Btf::Kind::declaration_tag || type.component < 0) continue;
    if (type.name == "arg:ctx")
      tagged_.push_back({type.type, type.component, ArgumentTag::context});
    if (type.name == "arg:nonnull")
      tagged_.push_back({type.type, type.component, ArgumentTag::not_null});
  }
}

void Walker::find_effects() {
  const auto slots = program_.slots();
  effects_.assign(calls_.size(), 0);
  for (u32 i = 0; i < slots.size(); i += slots[i].is_wide() ? 2 : 1) {
    const Instruction& in = slots[i];
    if (in.opcode != kOpcodeCall || in.src != static_cast<u8>(Callee::helper)) continue;
    u8& effects = effects_[subprogram_index(i)];
    const Helper* helper = type_.helpers->find(in.imm);
    if (in.imm == kTailCall) effects |= kChangesPacket | kTailCalls;
    if (helper != nullptr && helper->changes_packet) effects |= kChangesPacket;
  }
  // What is called hands on to who calls it. Each gets an effect once, so this ends soon.
  std::vector<std::vector<u32>> callers(calls_.size());
  for (u32 at = 0; at < calls_.size(); ++at)
    for (const u32 callee : calls_[at]) callers[callee].push_back(at);
  std::vector<u32> todo(calls_.size());
  std::iota(todo.begin(), todo.end(), 0);
  while (!todo.empty()) {
    const u32 callee = todo.back();
    todo.pop_back();
    for (const u32 at : callers[callee]) {
      if ((effects_[callee] & ~effects_[at]) == 0) continue;
      effects_[at] |= effects_[callee];
      todo.push_back(at);
    }
  }
}

Verdict Walker::walk() {
  bool good = check_reachable() && walk_function(static_cast<u32>(program_.entry()), nullptr);
  for (const Function& function : input_.functions) {
    if (!good) break;
    if (function.global && function.slot != program_.entry())
      good = walk_function(function.slot, &function);
  }
  if (good) good = check_depth();
  if (good) verdict_.cost.bound = find_bound();
  CHECK(good == !verdict_.refusal.has_value());
  if (options_.claims) verdict_.claims.settle(origins_);
  verdict_.facts.frame_bytes = stack_bytes_;
  return std::move(verdict_);
}

const Function* Walker::function_at(u32 slot) const {
  const auto found = std::ranges::lower_bound(input_.functions, slot, {}, &Function::slot);
  return found == input_.functions.end() || found->slot != slot ? nullptr : &*found;
}

u32 Walker::subprogram_index(u32 slot) const {
  const auto starts = program_.subprograms();
  return static_cast<u32>(std::ranges::upper_bound(starts, size_t{slot}) - starts.begin() - 1);
}

// Every instruction can be reached by jumps alone: one that cannot is a mistake of its author's.
bool Walker::check_reachable() {
  const auto slots = program_.slots();
  std::vector<bool> seen(slots.size(), false);
  std::vector<size_t> todo(program_.subprograms().begin(), program_.subprograms().end());
  while (!todo.empty()) {
    const size_t slot = todo.back();
    todo.pop_back();
    if (slot >= slots.size() || seen[slot]) continue;
    seen[slot] = true;
    const Instruction& in = slots[slot];
    if (in.is_wide()) seen[slot + 1] = true;
    const bool always = in.opcode == kOpcodeJump || in.opcode == kOpcodeLongJump;
    if (in.is_jump() && in.opcode != kOpcodeCall && in.opcode != kOpcodeExit)
      todo.push_back(program_.target_of(slot));
    if (in.opcode != kOpcodeExit && !always) todo.push_back(slot + (in.is_wide() ? 2u : 1u));
  }
  const auto missed = std::ranges::find(seen, false);
  if (missed == seen.end()) return true;
  State s;
  s.slot = static_cast<u32>(missed - seen.begin());
  return refuse(s, Rule::unreachable, "no path of the program leads here",
                "every instruction can be reached", "no jump comes here, and none falls through");
}

State Walker::first_state(u32 slot) const {
  State s;
  s.slot = slot;
  s.frames.emplace_back();
  s.frames.back().subprogram = slot;
  s.reg(kFramePointer) = pointer_value(ValueKind::stack, 0);
  return s;
}

bool Walker::walk_function(u32 slot, const Function* function) {
  walked_ = function;
  walk_ = &walks_[slot];
  // What was kept is of another function, with other frames.
  for (const Checkpoint& each : checkpoints_) kept_[each.slot].clear();
  checkpoints_.clear();
  on_path_.clear();
  kept_count_ = 0;
  State s = first_state(slot);
  const Origin argument = origins_.add(OriginKind::argument, slot);
  s.reg(kFramePointer).origin = argument;
  if (function == nullptr) {
    s.reg(1) = pointer_value(ValueKind::context, argument);
    s.reg(1).layout = &type_.context;
  } else if (!set_global_arguments(s, *function)) {
    return false;
  }
  return walk_paths(std::move(s));
}

bool Walker::set_global_arguments(State& s, const Function& function) {
  const auto bad = [&](std::string known) {
    return refuse(s, Rule::global_function,
                  fmt::format("the global function '{}' is verified by itself", function.name),
                  "a signature of numbers, the context, and pointers to types of known size",
                  std::move(known), "make the function static");
  };
  if (input_.btf == nullptr || function.type == 0) return bad("it has no type information");
  const Btf::Type& prototype = input_.btf->type(input_.btf->type(function.type).type);
  if (prototype.parameters.size() > 5) return bad("it has more than 5 parameters");
  if (prototype.type != 0) {
    const Btf::Type& result = input_.btf->plain(prototype.type);
    if (result.kind != Btf::Kind::integer && !result.is_enumeration())
      return bad(fmt::format("it returns '{}'", input_.btf->describe(prototype.type)));
  }
  u8 reg = 1;
  for (const Btf::Parameter& parameter : prototype.parameters) {
    const Origin argument = origins_.add(OriginKind::argument, s.slot);
    const Btf::Type& type = input_.btf->plain(parameter.type);
    Value& value = s.reg(reg++);
    if (type.kind == Btf::Kind::integer || type.is_enumeration()) {
      value = number_value(Scalar::unknown(), argument);
      continue;
    }
    if (type.kind != Btf::Kind::pointer)
      return bad(fmt::format("parameter '{}' is '{}'", parameter.name,
                             input_.btf->describe(parameter.type)));
    const ArgumentTag tag = tag_of(function, static_cast<u8>(reg - 1));
    if (is_context(parameter, tag)) {
      value = pointer_value(ValueKind::context, argument);
      value.layout = &type_.context;
      continue;
    }
    const auto size = input_.btf->size_of(type.type);
    if (!size || *size == 0)
      return bad(fmt::format("parameter '{}' is '{}', whose size nobody knows", parameter.name,
                             input_.btf->describe(parameter.type)));
    value = pointer_value(ValueKind::memory, argument);
    value.size = *size;
    value.nullable = tag != ArgumentTag::not_null;
    if (value.nullable) value.id = next_id_++;
  }
  return true;
}

bool Walker::walk_paths(State first) {
  pending_.clear();
  state_bytes_ = bytes_of(first);
  pending_.push_back(std::move(first));
  while (!pending_.empty()) {
    State s = std::move(pending_.back());
    pending_.pop_back();
    state_bytes_ -= bytes_of(s);
    for (Next next = Next::go_on; next == Next::go_on;) {
      if (!check_cost(s)) return false;
      add(walk_->steps, s.frame().runs);
      if (is_prune_point(s.slot)) {
        const Arrival arrival = arrive(s);
        if (arrival == Arrival::refused) return false;
        if (arrival == Arrival::cut) break;
      }
      if (options_.claims) verdict_.claims.note(s, live_[s.slot]);
      if (options_.log) log_state(s);
      verdict_.facts.slots[s.slot].reached = true;
      ++steps_since_;
      next = step(s);
      if (next == Next::refused) return false;
    }
    end_path(s);
  }
  return true;
}

// The steps of the program, and of each global function as often as it is called. Nothing: a tail
// call may hand over to another program. Functions do not call themselves: check_depth() saw to it.
std::optional<u64> Walker::find_bound() const {
  const u32 entry = static_cast<u32>(program_.entry());
  if ((effects_[subprogram_index(entry)] & kTailCalls) != 0) return std::nullopt;
  std::unordered_map<u32, u64> bounds;
  std::vector<u32> todo{entry};
  while (!todo.empty()) {
    const u32 slot = todo.back();
    const Walk& walk = walks_.at(slot);
    const size_t before = todo.size();
    for (const auto& [callee, runs] : walk.calls) {
      if (!bounds.contains(callee)) todo.push_back(callee);
    }
    if (todo.size() > before) continue;
    todo.pop_back();
    u64 bound = walk.steps;
    for (const auto& [callee, runs] : walk.calls) add(bound, multiply(runs, bounds.at(callee)));
    bounds.insert_or_assign(slot, bound);
  }
  return bounds.at(entry);
}

// Whether one more instruction may be walked.
bool Walker::check_cost(const State& s) {
  const bool steps = verdict_.cost.instructions++ < options_.instructions_max;
  if (steps && state_bytes_ <= kStateBytesMax && origins_.size() <= kOriginsMax) return true;
  return refuse(s, Rule::too_complex,
                steps ? "the states that are kept take too much memory"
                      : fmt::format("{} instructions were walked, and paths are left",
                                    options_.instructions_max),
                "a program whose paths are fewer",
                "each loop is walked round by round, each branch both ways",
                "bound loops tighter, use bpf_loop, or make functions global: each of those is "
                "verified once");
}

bool Walker::push(State s) {
  if (pending_.size() >= kPendingMax)
    return refuse(s, Rule::too_complex, fmt::format("{} paths are begun", kPendingMax),
                  "fewer branches in one another", "each is still to be walked");
  if (s.checkpoint != kNoCheckpoint) ++checkpoints_[s.checkpoint].paths;
  state_bytes_ += bytes_of(s);
  pending_.push_back(std::move(s));
  return true;
}

// One path less for the last checkpoint, and for those before it that it was the last path of.
void Walker::end_path(const State& s) {
  for (u32 at = s.checkpoint; at != kNoCheckpoint; at = checkpoints_[at].parent) {
    CHECK(checkpoints_[at].paths > 0);
    if (--checkpoints_[at].paths > 0) return;
    complete(at);
  }
}

Walker::Next Walker::step_wide(State& s, const Instruction& in) {
  const u32 slot = s.slot;
  Value& dst = s.reg(in.dst);
  const Origin origin = made(s);
  const auto kind = static_cast<Immediate>(in.src);
  s.slot += 2;
  if (kind == Immediate::number) {
    dst = number_value(Scalar::constant(program_.imm64(slot)), origin);
    return Next::go_on;
  }
  if (kind == Immediate::code) {
    dst = pointer_value(ValueKind::code, origin);
    dst.index = static_cast<u32>(program_.target_of(slot));
    return Next::go_on;
  }
  s.slot = slot;
  const auto bad = [&](std::string known) {
    refuse(s, Rule::wrong_argument, "the program names a map or variable that is not there",
           fmt::format("one of its {} maps", input_.maps.size()), std::move(known));
    return Next::refused;
  };
  if (kind == Immediate::variable) return bad("a variable of the host's");
  if (in.imm < 0 || static_cast<size_t>(in.imm) >= input_.maps.size())
    return bad(fmt::format("map {}", in.imm));
  const u32 index = static_cast<u32>(in.imm);
  if (kind == Immediate::map || kind == Immediate::map_by_index) {
    dst = pointer_value(ValueKind::map, origin);
  } else {
    const MapView& map = input_.maps[index];
    const u32 offset = static_cast<u32>(program_.slots()[slot + 1].imm);
    const u64 bytes = u64{stride_of(map.spec.value_size)} * map.spec.max_entries;
    if (map.spec.kind != MapKind::array || offset >= bytes)
      return bad(fmt::format("byte {} of {}", offset, map_name(index)));
    dst = pointer_value(ValueKind::map_value, origin);
    dst.read_only = map.read_only;
    dst.offset = offset % stride_of(map.spec.value_size);
  }
  dst.index = index;
  s.slot = slot + 2;
  return Next::go_on;
}

Walker::Next Walker::step(State& s) {
  const Instruction& in = program_.slots()[s.slot];
  if (in.is_wide()) return step_wide(s, in);
  if (in.is_jump()) {
    if (in.opcode == kOpcodeExit) return exit(s);
    if (in.opcode == kOpcodeCall) return call(s, in);
    return jump(s, in);
  }
  bool good = false;
  if (in.is_alu()) {
    good = arithmetic(s, in);
  } else if (in.instruction_class() == Class::ldx) {
    good = load(s, in);
  } else if (in.instruction_class() == Class::stx && in.mode() == Mode::atomic) {
    good = atomic(s, in);
  } else {
    good = store(s, in);
  }
  if (!good) return Next::refused;
  ++s.slot;
  return Next::go_on;
}

// Along calls, whether some path makes them or not, across functions that were verified by
// themselves: how many frames are in use at a time, and how much stack they take.
bool Walker::check_depth() {
  State s;
  s.slot = static_cast<u32>(program_.entry());
  const u32 entry = subprogram_index(s.slot);
  depths_.assign(calls_.size(), {});
  if (!measure_depth(entry, 0)) return false;
  verdict_.cost.stack_bytes = depths_[entry].bytes;
  if (depths_[entry].bytes <= type_.stack_bytes_max) return true;
  return refuse(s, Rule::too_deep, "the frames of calls in one another take stack together",
                fmt::format("at most {} bytes", type_.stack_bytes_max),
                fmt::format("{} bytes", depths_[entry].bytes),
                "keep large buffers in a map of one element");
}

// No deeper than the first chain of calls that is too long.
bool Walker::measure_depth(u32 subprogram, u32 above) {
  constexpr u32 kGrain = 16;
  Depth& depth = depths_[subprogram];
  if (above + std::max(depth.frames, 1u) > kFrames) {
    State s;
    s.slot = static_cast<u32>(program_.entry());
    return refuse(s, Rule::too_deep, "functions call one another",
                  fmt::format("at most {} in one another", kFrames), "there are more",
                  "inline some of them");
  }
  if (depth.known) return true;
  if (depth.begun) {
    State s;
    s.slot = static_cast<u32>(program_.subprograms()[subprogram]);
    return refuse(s, Rule::too_deep, "a function calls itself, by way of others perhaps",
                  "calls that end", "recursion", "use a loop");
  }
  depth.begun = true;
  u32 frames = 0, bytes = 0;
  for (const u32 callee : calls_[subprogram]) {
    if (!measure_depth(callee, above + 1)) return false;
    frames = std::max(frames, depths_[callee].frames);
    bytes = std::max(bytes, depths_[callee].bytes);
  }
  depth.frames = frames + 1;
  depth.bytes = bytes + std::max((stack_bytes_[subprogram] + kGrain - 1) / kGrain * kGrain, kGrain);
  depth.known = true;
  return true;
}

std::vector<MapView> views_of(const Object& object) {
  std::vector<MapView> views;
  for (const ObjectMap& map : object.maps()) {
    MapView view{.spec = map.spec,
                 .read_only = map.read_only,
                 .frozen = map.frozen,
                 .contents = map.contents};
    if (!map.kernel_field.empty())
      view.refused =
          fmt::format("its values hold a {}, which only the kernel has", map.kernel_field);
    views.push_back(std::move(view));
  }
  return views;
}

Verdict verify(const VerifyInput& input, const VerifyOptions& options) {
  CHECK(input.type.helpers != nullptr);
  Verdict verdict = Walker(input, options, false).walk();
  if (verdict.accepted()) return verdict;
  return Walker(input, options, true).walk();  // Once more, remembering how it came about.
}

}  // namespace coppice::bpf
