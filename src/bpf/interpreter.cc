#include "bpf/interpreter.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "bpf/ring_buffer.h"

namespace coppice::bpf {
namespace {

template <class T>
T load_from(u64 address) {
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
  return value;
}
template <class T>
void store_to(u64 address, T value) {
  std::memcpy(reinterpret_cast<void*>(address), &value, sizeof value);
}

template <class T>
u64 compare_exchange(u64 address, u64 expected, u64 wanted) {
  T seen = static_cast<T>(expected);
  __atomic_compare_exchange_n(reinterpret_cast<T*>(address), &seen, static_cast<T>(wanted), false,
                              __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return seen;
}

}  // namespace

Result<u64> result_of(const Outcome& outcome) {
  const char* what = "the program was stopped";
  const u32 slot = outcome.slot;
  switch (outcome.stop) {
    case Stop::exited: return outcome.r0;
    case Stop::budget:
      return fail(Errc::too_big, what,
                  fmt::format("slot {}: it ran more instructions than it may", slot));
    case Stop::depth:
      return fail(Errc::too_big, what,
                  fmt::format("slot {}: calls lie more than {} deep", slot, kFrames));
    case Stop::load:
    case Stop::store:
      return fail(Errc::denied, what,
                  fmt::format("slot {}: {} address {:#x}, which is not its to {}", slot,
                              outcome.stop == Stop::load ? "loads from" : "stores to",
                              outcome.address, outcome.stop == Stop::load ? "read" : "write"));
    case Stop::misaligned:
      return fail(Errc::invalid, what,
                  fmt::format("slot {}: an atomic operation on address {:#x}, which is not a "
                              "multiple of its size",
                              slot, outcome.address));
    case Stop::argument:
      return fail(
          Errc::denied, what,
          fmt::format("slot {}: argument r{} is not what the helper takes", slot, outcome.address));
    case Stop::records:
      return fail(
          Errc::invalid, what,
          fmt::format("slot {}: reserved ring records were not submitted or discarded", slot));
    case Stop::unsatisfied:
      return fail(Errc::unsupported, what,
                  fmt::format("slot {}: it needs a type or function that the host has not", slot));
    case Stop::watch: return fail(Errc::cancelled, what, fmt::format("slot {}", slot));
  }
  return fail(Errc::invalid, what);
}

Machine::Machine(Services services)
    : services_(std::move(services)),
      stack_(std::make_unique<std::byte[]>(kFrames * kFrameBytes)),
      keys_(std::make_unique<std::byte[]>((kFrames + 1) * kKeySizeMax)),
      random_state_(u64{std::random_device{}()} << 32 | std::random_device{}()) {
  CHECK(services_.budget <= kBudget);
  CHECK(static_cast<void*>(&view_) == this);  // Where machine code looks for it.
  view_.slot = services_.slot;
  CHECK(reinterpret_cast<u64>(stack_.get()) % 8 == 0);
}

void Machine::log(std::string_view line) const {
  if (services_.log) services_.log(line);
}

u32 Machine::random() {
  random_state_ += 0x9e3779b97f4a7c15;
  u64 mixed = (random_state_ ^ (random_state_ >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return static_cast<u32>(mixed >> 32);
}

bool Machine::may_read(u64 address, u64 size) const {
  if (guard_ != nullptr) return guard_->reaches(address, size, false);
  CHECK(code_ != nullptr);
  // A verifier follows addresses in registers; this one is a number of the program's.
  const auto lies_in = [&](u64 base, u64 bytes) {
    return address >= base && size <= bytes && address - base <= bytes - size;
  };
  if (lies_in(reinterpret_cast<u64>(stack_.get()), u64{depth_} * kFrameBytes)) return true;
  for (u32 i = 0; native_ && i < std::min(view_.depth, kFrames); ++i) {
    if (lies_in(view_.frames[i], kFrameBytes)) return true;
  }
  const auto is_value_of = [&](const Code* code) {
    return std::ranges::any_of(code->maps(),
                               [&](const Map* map) { return map->reaches(address, size); });
  };
  if (!native_) return is_value_of(code_);
  return std::any_of(visited_, visited_ + tail_calls_ + 1, is_value_of);
}

u64 Machine::frame_end() const { return reinterpret_cast<u64>(&stack_[0]) + depth_ * kFrameBytes; }

bool Machine::end(Stop stop, u32 slot, u64 address) {
  if (!stopped()) outcome_ = {.r0 = 0, .stop = stop, .slot = slot, .address = address};
  return false;
}

Outcome Machine::finish(u64 r0) const {
  Outcome outcome = outcome_;
  if (outcome.stop == Stop::exited) outcome.r0 = r0;
  return outcome;
}

Outcome Machine::run(const Code& code, u64 r1, u64 r2) {
  CHECK(code_ == nullptr);  // One run at a time.
  code_ = &code;
  outcome_ = {};
  budget_left_ = static_cast<i64>(services_.budget);
  tail_calls_ = 0;
  const u64 arguments[4] = {r1, r2, 0, 0};
  const u64 r0 = execute<false>(code, code.steps() + code.entry(), arguments);
  code_ = nullptr;
  return finish(r0);
}

Outcome Machine::run_checked(const Code& code, std::span<const Region> regions, u64 r1, u64 r2,
                             Watch* watch) {
  CHECK(code_ == nullptr);
  Guard guard(regions, r1);
  guard.use_maps_of(code);
  guard.set_keys({.base = reinterpret_cast<u64>(keys_.get()), .size = (kFrames + 1) * kKeySizeMax});
  guard_ = &guard;
  watch_ = watch;
  code_ = &code;
  outcome_ = {};
  budget_left_ = static_cast<i64>(services_.budget);
  tail_calls_ = 0;
  std::memset(stack_.get(), 0, kFrames * kFrameBytes);  // Nothing of an earlier run.
  const u64 arguments[4] = {r1, r2, 0, 0};
  const u64 r0 = execute<true>(code, code.steps() + code.entry(), arguments);
  if (!guard.records().empty()) {
    for (const Region& record : guard.records())
      RingBuffer::discard(reinterpret_cast<std::byte*>(record.base), 0);
    end(Stop::records, static_cast<u32>(code.entry()));
  }
  guard_ = nullptr;
  watch_ = nullptr;
  code_ = nullptr;
  return finish(r0);
}

// The frame is counted, so that callback_key() differs; its stack is the thread's.
u64 Machine::call_native(u64 address, u64 r1, u64 r2, u64 r3, u64 r4) {
  CHECK(native_);
  if (!enter<false>(0)) return 0;
  const u64 r0 = reinterpret_cast<Native::Entry>(address)(*this, r1, r2, r3, r4, 0);
  leave<false>();
  return r0;
}

u64 Machine::call(u64 code_address, u64 r1, u64 r2, u64 r3, u64 r4) {
  CHECK(code_ != nullptr);
  if (code_address < kCodeAddress) return call_native(code_address, r1, r2, r3, r4);
  const Code& code = *code_;
  CHECK(code.is_subprogram(code_address));
  constexpr i64 kCost = 4;  // Of a verified callback, which may hold no jump back that counts.
  if (guard_ == nullptr && (budget_left_ -= kCost) <= 0) {
    end(Stop::budget, static_cast<u32>(code_address - kCodeAddress));
    return 0;
  }
  const u64 arguments[4] = {r1, r2, r3, r4};
  const Step* step = code.steps() + (code_address - kCodeAddress);
  const u64 r0 = guard_ != nullptr ? execute<true>(code, step, arguments)
                                   : execute<false>(code, step, arguments);
  code_ = &code;  // A tail call may have gone elsewhere.
  if (guard_ != nullptr) guard_->use_maps_of(code);
  return r0;
}

template <bool kChecked>
bool Machine::allows(u64 address, u64 size, bool write, u32 slot) {
  if constexpr (kChecked) {
    if (!guard_->reaches(address, size, write)) [[unlikely]]
      return end(write ? Stop::store : Stop::load, slot, address);
  }
  return true;
}

template <bool kChecked>
bool Machine::enter(u32 slot) {
  if (depth_ == kFrames) [[unlikely]]
    return end(Stop::depth, slot);
  ++depth_;
  if constexpr (kChecked)
    guard_->set_stack({.base = reinterpret_cast<u64>(stack_.get()),
                       .size = u64{depth_} * kFrameBytes,
                       .writable = true});
  return true;
}

template <bool kChecked>
void Machine::leave() {
  --depth_;
  if constexpr (kChecked)
    guard_->set_stack({.base = reinterpret_cast<u64>(stack_.get()),
                       .size = u64{depth_} * kFrameBytes,
                       .writable = true});
}

template <bool kChecked>
const Step* Machine::call_helper(const Step* step, u64* registers) {
  const Helper& helper = *reinterpret_cast<const Helper*>(step->imm);
  u64* r = registers;
  [[maybe_unused]] const u32 slot = static_cast<u32>(step - code_->steps());
  if constexpr (kChecked) {
    if (const int wrong = guard_->wrong_argument(helper, r); wrong != 0) {
      end(Stop::argument, slot, static_cast<u64>(wrong));
      return nullptr;
    }
  }
  r[0] = helper.function(*this, r[1], r[2], r[3], r[4], r[5]);
  if constexpr (kChecked) {
    if (!guard_->note_call(helper, r + 1, r[0])) end(Stop::records, slot);
  }
  return stopped() ? nullptr : step + 1;
}

// The program that runs instead from now on; null: this one goes on, or the run was stopped.
template <bool kChecked>
const Code* Machine::tail_call(const Step* step, const u64* registers) {
  auto* map = reinterpret_cast<Map*>(registers[2]);
  if constexpr (kChecked) {
    static const Helper prototype{
        .name = "tail_call",
        .arguments = {Argument::context, Argument::programs, Argument::anything}};
    const u32 slot = static_cast<u32>(step - code_->steps());
    if (const int wrong = guard_->wrong_argument(prototype, registers); wrong != 0) {
      end(Stop::argument, slot, static_cast<u64>(wrong));
      return nullptr;
    }
  } else {
    static_cast<void>(step);
  }
  return next_of(static_cast<ProgramArray&>(*map), registers[3]).code;
}

// The entry, if a run may go there.
ProgramArray::Entry Machine::next_of(const ProgramArray& programs, u64 index) {
  const ProgramArray::Entry next = programs.at(static_cast<u32>(index));
  if (next.code == nullptr || tail_calls_ == kTailCallsMax) return {};
  visited_[++tail_calls_] = next.code;
  return next;
}

u64 Machine::find_tail(Machine& machine, u64, u64 programs, u64 index, u64, u64) {
  const auto* array = static_cast<ProgramArray*>(reinterpret_cast<Map*>(programs));
  const ProgramArray::Entry next = machine.next_of(*array, index);
  if (next.native != nullptr) return reinterpret_cast<u64>(next.native->entry());
  return next.code != nullptr ? reinterpret_cast<u64>(&interpret_tail) : 0;
}

// In the place of the machine code that asked find_tail(); returns to whoever called that.
u64 Machine::interpret_tail(Machine& machine, u64 context, u64, u64, u64, u64) {
  const Code* before = machine.code_;
  const Code* next = machine.visited_[machine.tail_calls_];
  machine.code_ = next;
  machine.budget_left_ = static_cast<i64>(machine.services_.budget);
  const u64 arguments[4] = {context, 0, 0, 0};
  const u64 r0 = machine.execute<false>(*next, next->steps() + next->entry(), arguments);
  machine.code_ = before;
  return r0;
}

// NOLINTBEGIN(bugprone-macro-parentheses): the operands are declarations and types.
#define ALU(name, width, Unsigned, Signed, suffix, second)                                         \
  case Operation::name##_##width##suffix: {                                                        \
    using T = Unsigned;                                                                            \
    using S [[maybe_unused]] = Signed;                                                             \
    [[maybe_unused]] const T a = static_cast<T>(r[step->dst]);                                     \
    const T b = static_cast<T>(second);                                                            \
    r[step->dst] = operation::name<T, S>(a, b);                                                    \
    ++step;                                                                                        \
    break;                                                                                         \
  }
#define ALU_ALL(name, ...)                                                                         \
  ALU(name, 64, u64, i64, k, step->imm)                                                            \
  ALU(name, 64, u64, i64, x, r[step->src])                                                         \
  ALU(name, 32, u32, i32, k, step->imm)                                                            \
  ALU(name, 32, u32, i32, x, r[step->src])

#define JUMP(name, width, Unsigned, Signed, suffix, second)                                        \
  case Operation::name##_##width##suffix: {                                                        \
    if (operation::name<Unsigned, Signed>(static_cast<Unsigned>(r[step->dst]),                     \
                                          static_cast<Unsigned>(second)))                          \
      goto take_jump;                                                                              \
    ++step;                                                                                        \
    break;                                                                                         \
  }
#define JUMP_ALL(name, ...)                                                                        \
  JUMP(name, 64, u64, i64, k, step->imm)                                                           \
  JUMP(name, 64, u64, i64, x, r[step->src])                                                        \
  JUMP(name, 32, u32, i32, k, step->imm)                                                           \
  JUMP(name, 32, u32, i32, x, r[step->src])

#define LOAD(name, Type, Through)                                                                  \
  case Operation::name: {                                                                          \
    const u64 address = r[step->src] + static_cast<u64>(static_cast<i64>(step->offset));           \
    if (!allows<kChecked>(address, sizeof(Type), false, SLOT)) goto stop;                          \
    r[step->dst] = static_cast<u64>(static_cast<Through>(load_from<Type>(address)));               \
    ++step;                                                                                        \
    break;                                                                                         \
  }

#define STORE(name, Type, suffix, value)                                                           \
  case Operation::name##_##suffix: {                                                               \
    const u64 address = r[step->dst] + static_cast<u64>(static_cast<i64>(step->offset));           \
    if (!allows<kChecked>(address, sizeof(Type), true, SLOT)) goto stop;                           \
    store_to<Type>(address, static_cast<Type>(value));                                             \
    ++step;                                                                                        \
    break;                                                                                         \
  }
#define STORE_ALL(name, Type) STORE(name, Type, k, step->imm) STORE(name, Type, x, r[step->src])

#define ATOMIC(name, Type, action)                                                                 \
  case Operation::name: {                                                                          \
    const u64 address = r[step->dst] + static_cast<u64>(static_cast<i64>(step->offset));           \
    if (!allows<kChecked>(address, sizeof(Type), true, SLOT)) goto stop;                           \
    if (kChecked && address % sizeof(Type) != 0) {                                                 \
      end(Stop::misaligned, SLOT, address);                                                        \
      goto stop;                                                                                   \
    }                                                                                              \
    auto* place = reinterpret_cast<Type*>(address);                                                \
    const Type operand = static_cast<Type>(r[step->src]);                                          \
    action;                                                                                        \
    ++step;                                                                                        \
    break;                                                                                         \
  }
#define ATOMIC_BOTH(name, builtin)                                                                 \
  ATOMIC(atomic_##name##_64, u64, builtin(place, operand, __ATOMIC_RELAXED))                       \
  ATOMIC(atomic_##name##_32, u32, builtin(place, operand, __ATOMIC_RELAXED))                       \
  ATOMIC(fetch_##name##_64, u64, r[step->src] = builtin(place, operand, __ATOMIC_SEQ_CST))         \
  ATOMIC(fetch_##name##_32, u32, r[step->src] = builtin(place, operand, __ATOMIC_SEQ_CST))

#define UNARY(name, expression)                                                                    \
  case Operation::name: {                                                                          \
    const u64 a = r[step->dst];                                                                    \
    r[step->dst] = expression;                                                                     \
    ++step;                                                                                        \
    break;                                                                                         \
  }
#define MOVSX(name, Narrow, Signed, Unsigned)                                                      \
  case Operation::name: {                                                                          \
    r[step->dst] = static_cast<Unsigned>(static_cast<Signed>(static_cast<Narrow>(r[step->src])));  \
    ++step;                                                                                        \
    break;                                                                                         \
  }
#define SLOT static_cast<u32>(step - code_->steps())

namespace operation {
#define X(name, expression)                                                                        \
  template <class T, class S>                                                                      \
  inline T name([[maybe_unused]] T a, [[maybe_unused]] T b) {                                      \
    return expression;                                                                             \
  }
COPPICE_BPF_ALU(X)
#undef X
#define X(name, expression)                                                                        \
  template <class T, class S>                                                                      \
  inline bool name(T a, T b) {                                                                     \
    return expression;                                                                             \
  }
COPPICE_BPF_JUMPS(X)
#undef X
}  // namespace operation

template <bool kChecked>
u64 Machine::execute(const Code& code, const Step* step, const u64* arguments) {
  if (!enter<kChecked>(static_cast<u32>(step - code.steps()))) return 0;
  const u32 outermost = depth_;
  Frame frames[kFrames];
  u64 r[16] = {0,
               arguments[0],
               arguments[1],
               arguments[2],
               arguments[3],
               0,
               0,
               0,
               0,
               0,
               frame_end(),
               0,
               0,
               0,
               0,
               0};
  for (;;) {
    if constexpr (kChecked) {
      if (budget_left_-- <= 0) {
        end(Stop::budget, SLOT);
        goto stop;
      }
      if (watch_ != nullptr && !watch_->before({.code = *code_, .slot = SLOT, .registers = r})) {
        end(Stop::watch, SLOT);
        goto stop;
      }
    }
    switch (step->operation) {
      COPPICE_BPF_ALU(ALU_ALL)
      COPPICE_BPF_JUMPS(JUMP_ALL)
      COPPICE_BPF_LOADS(LOAD)
      COPPICE_BPF_STORES(STORE_ALL)
      COPPICE_BPF_ATOMICS(ATOMIC_BOTH)
      ATOMIC(exchange_64, u64, r[step->src] = __atomic_exchange_n(place, operand, __ATOMIC_SEQ_CST))
      ATOMIC(exchange_32, u32, r[step->src] = __atomic_exchange_n(place, operand, __ATOMIC_SEQ_CST))
      ATOMIC(compare_exchange_64, u64, static_cast<void>(place);
             r[0] = compare_exchange<u64>(address, r[0], operand))
      ATOMIC(compare_exchange_32, u32, static_cast<void>(place);
             r[0] = compare_exchange<u32>(address, r[0], operand))
      UNARY(neg_64, u64{0} - a)
      UNARY(neg_32, u32{0} - static_cast<u32>(a))
      MOVSX(movsx8_64, std::int8_t, i64, u64)
      MOVSX(movsx16_64, i16, i64, u64)
      MOVSX(movsx32_64, i32, i64, u64)
      MOVSX(movsx8_32, std::int8_t, i32, u32)
      MOVSX(movsx16_32, i16, i32, u32)
      UNARY(low16, static_cast<u16>(a))
      UNARY(low32, static_cast<u32>(a))
      UNARY(low64, a)
      UNARY(swap16, __builtin_bswap16(static_cast<u16>(a)))
      UNARY(swap32, __builtin_bswap32(static_cast<u32>(a)))
      UNARY(swap64, __builtin_bswap64(a))
      case Operation::load_imm64:
        r[step->dst] = step->imm;
        step += 2;
        break;
      case Operation::jump: goto take_jump;
      case Operation::call_helper:
        step = call_helper<kChecked>(step, r);
        if (step == nullptr) [[unlikely]]
          goto stop;
        break;
      case Operation::call_local: {
        if (!enter<kChecked>(SLOT)) goto stop;
        Frame& frame = frames[depth_ - outermost - 1];
        frame.code = code_;
        frame.back = step + 1;
        std::memcpy(frame.saved, &r[6], sizeof frame.saved);
        r[10] = frame_end();
        if constexpr (!kChecked) budget_left_ -= kFrames;  // Recursion ends by depth; this by time.
        step += 1 + step->offset;
        break;
      }
      case Operation::tail_call: {
        const Code* next = tail_call<kChecked>(step, r);
        if (stopped()) goto stop;
        r[0] = static_cast<u64>(-1);
        ++step;
        if (next == nullptr) break;
        code_ = next;  // In this frame; where it returns to stays.
        if constexpr (kChecked) guard_->use_maps_of(*next);
        step = next->steps() + next->entry();
        break;
      }
      case Operation::unsatisfied: end(Stop::unsatisfied, SLOT); goto stop;
      case Operation::exit: {
        if (depth_ == outermost) {
          leave<kChecked>();
          return r[0];
        }
        leave<kChecked>();
        const Frame& frame = frames[depth_ - outermost];
        std::memcpy(&r[6], frame.saved, sizeof frame.saved);
        r[10] = frame_end();
        if (code_ != frame.code) [[unlikely]] {
          code_ = frame.code;
          if constexpr (kChecked) guard_->use_maps_of(*code_);
        }
        step = frame.back;
        break;
      }
    }
    continue;
  take_jump:
    if constexpr (!kChecked) {
      if (step->offset < 0) {
        budget_left_ += step->offset;
        if (budget_left_ <= 0) [[unlikely]] {
          end(Stop::budget, SLOT);
          goto stop;
        }
      }
    }
    step += 1 + step->offset;
  }
stop:
  while (depth_ >= outermost) leave<kChecked>();
  return 0;
}
// NOLINTEND(bugprone-macro-parentheses)

}  // namespace coppice::bpf
