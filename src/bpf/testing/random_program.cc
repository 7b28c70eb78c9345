#include "bpf/testing/random_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/prng.h"
#include "bpf/core_helpers.h"
#include "bpf/testing/fact_watch.h"
#include "bpf/verify/oracle.h"

namespace coppice::bpf {
namespace {

// The maps, by number.
constexpr i32 kHash = 0, kArray = 1, kFrozen = 2, kRing = 3;
constexpr u32 kHashValue = 16, kArrayValue = 64, kFrozenValue = 32;
// The context's fields.
constexpr i16 kData = 0, kDataEnd = 8, kLength = 16, kMark = 20, kCookie = 24, kFlags = 32;

constexpr i32 kLookup = 1, kUpdate = 2, kRandom = 7, kReserve = 131, kSubmit = 132, kForEach = 164,
              kLoop = 181;

constexpr u8 kContext = 6;  // The register that keeps it; in a callback its argument.
constexpr i16 kSlots = 8;   // Of 8 bytes on the stack, all written at first.

constexpr u8 alu(AluCode code, bool wide, bool by_register) {
  return static_cast<u8>(static_cast<u8>(code) << 4 | (by_register ? kSourceRegister : 0) |
                         static_cast<u8>(wide ? Class::alu64 : Class::alu));
}
constexpr u8 jump(JumpCode code, bool wide, bool by_register) {
  return static_cast<u8>(static_cast<u8>(code) << 4 | (by_register ? kSourceRegister : 0) |
                         static_cast<u8>(wide ? Class::jmp : Class::jmp32));
}
constexpr u8 memory(Mode mode, Size size, Class instruction_class) {
  return static_cast<u8>(static_cast<u8>(mode) << 5 | static_cast<u8>(size) << 3 |
                         static_cast<u8>(instruction_class));
}

// A function: steps of one or more slots; jumps lead from one to another.
class Maker {
 public:
  explicit Maker(std::span<const u8> bytes) : bytes_(bytes) {}

  Result<Program> make() {
    const size_t callee = 1, callback = 2;
    begin_function(false);
    code_addresses_.push_back({at(), callee});
    emit_wide(7, Immediate::code, 0);
    code_addresses_.push_back({at(), callback});
    emit_wide(7, Immediate::code, 0);
    set(7, 0);
    body(40);
    end_function();
    begin_function(false);
    body(10);
    end_function();
    begin_function(true);
    body(10);
    end_function();
    for (const auto& [slot, function] : code_addresses_)
      slots_[slot].imm = static_cast<i32>(starts_[function] - slot - 1);
    return Program::make(slots_);
  }

 private:
  u8 take() {
    if (next_ == bytes_.size()) return 0;
    return bytes_[next_++];
  }
  u8 below(u8 count) { return static_cast<u8>(take() % count); }
  size_t at() const { return slots_.size(); }
  void emit(Instruction in) { slots_.push_back(in); }
  void emit_wide(u8 dst, Immediate kind, i32 low, i32 high = 0) {
    emit({.opcode = kOpcodeLoadImm64, .dst = dst, .src = static_cast<u8>(kind), .imm = low});
    emit({.imm = high});
  }
  void set(u8 dst, i32 imm) {
    emit({.opcode = alu(AluCode::mov, true, false), .dst = dst, .imm = imm});
  }
  void copy(u8 dst, u8 src) {
    emit({.opcode = alu(AluCode::mov, true, true), .dst = dst, .src = src});
  }
  void add(u8 dst, i32 imm) {
    emit({.opcode = alu(AluCode::add, true, false), .dst = dst, .imm = imm});
  }
  void add_register(u8 dst, u8 src) {
    emit({.opcode = alu(AluCode::add, true, true), .dst = dst, .src = src});
  }
  void load(Size size, u8 dst, u8 src, i16 offset, Mode mode = Mode::mem) {
    emit({.opcode = memory(mode, size, Class::ldx), .dst = dst, .src = src, .offset = offset});
  }
  void store(Size size, u8 dst, i16 offset, u8 src) {
    emit({.opcode = memory(Mode::mem, size, Class::stx), .dst = dst, .src = src, .offset = offset});
  }
  void call(i32 helper) {
    emit({.opcode = kOpcodeCall, .imm = helper});
    forget();
  }
  // A jump over what is emitted until land().
  size_t skip(u8 opcode, u8 dst, u8 src, i32 imm) {
    emit({.opcode = opcode, .dst = dst, .src = src, .imm = imm});
    return at() - 1;
  }
  void land(size_t from) { slots_[from].offset = static_cast<i16>(at() - from - 1); }

  // r1 to r5 are numbers again.
  void forget() {
    for (u8 reg = 1; reg <= 5; ++reg) set(reg, static_cast<i32>(reg));
  }
  u8 number_register() {
    constexpr u8 kNumbers[] = {0, 1, 2, 3, 4, 5, 7, 8, 9};
    u8 reg = kNumbers[below(sizeof kNumbers)];
    while (keeps_pointer_[reg]) reg = reg == 9 ? 0 : 7 + (reg + 1) % 3;
    return reg;
  }
  i32 immediate() {
    const u8 kind = below(6), bits = take();
    switch (kind) {
      case 0: return static_cast<i32>(bits);
      case 1: return -static_cast<i32>(bits);
      case 2: return static_cast<i32>(u32{1} << (bits % 32));
      case 3: return static_cast<i32>((u32{1} << (bits % 32)) - 1);
      case 4: return static_cast<i32>(~u32{0} << (bits % 32));
      default: return static_cast<i32>(u32{bits} << 24 | u32{take()} << 16 | u32{take()} << 4);
    }
  }
  Size size() { return static_cast<Size>(below(4)); }

  void begin_function(bool is_callback) {
    starts_.push_back(at());
    steps_.clear();
    is_callback_ = is_callback;
    keeps_pointer_ = {};
    copy(kContext, is_callback ? 2 : 1);
    for (i16 slot = 1; slot <= kSlots; ++slot)
      emit({.opcode = memory(Mode::mem, Size::double_word, Class::st),
            .dst = kFramePointer,
            .offset = static_cast<i16>(-8 * slot),
            .imm = slot});
    if (!is_callback) load(Size::double_word, 7, kContext, kCookie);
    if (is_callback) copy(7, 1);
    set(0, 0);
    set(8, 8);
    if (!is_callback) load(Size::word, 9, kContext, kMark);
    if (is_callback) set(9, 9);
    forget();
  }
  void end_function() {
    // Jumps beyond the last step lead here.
    const size_t end = at();
    for (const auto& [slot, step] : pending_) {
      const size_t to = step < steps_.size() ? steps_[step] : end;
      slots_[slot].offset = static_cast<i16>(to - slot - 1);
    }
    pending_.clear();
    if (keeps_pointer_[0]) set(0, 0);
    if (is_callback_) emit({.opcode = alu(AluCode::bit_and, true, false), .dst = 0, .imm = 1});
    emit({.opcode = kOpcodeExit});
  }
  void body(size_t steps_max) {
    for (size_t i = 0; i < steps_max && next_ < bytes_.size(); ++i) {
      steps_.push_back(at());
      step();
    }
  }

  void arithmetic() {
    const bool wide = below(3) != 0, by_register = below(3) == 0;
    const u8 dst = number_register();
    auto code = static_cast<AluCode>(below(13));
    Instruction in{.opcode = alu(code, wide, by_register), .dst = dst};
    if (by_register)
      in.src = number_register();
    else
      in.imm = immediate();
    const bool divides = code == AluCode::div || code == AluCode::mod;
    const bool shifts = code == AluCode::lsh || code == AluCode::rsh || code == AluCode::arsh;
    if (divides) {
      in.offset = below(2);
      if (!by_register && in.imm == 0) in.imm = 3;
    }
    if (shifts && !by_register) in.imm &= wide ? 63 : 31;
    if (code == AluCode::neg) in = {.opcode = alu(code, wide, false), .dst = dst};
    emit(in);
  }
  void extension() {
    constexpr i16 kBits[] = {8, 16, 32};
    const bool wide = below(2) == 0;
    const i16 bits = kBits[below(wide ? 3 : 2)];
    emit({.opcode = alu(AluCode::mov, wide, true),
          .dst = number_register(),
          .src = number_register(),
          .offset = bits});
  }
  void reordering() {
    const u8 kind = below(3);
    emit({.opcode = alu(AluCode::end, kind == 2, kind == 1),
          .dst = number_register(),
          .imm = 16 << below(3)});
  }
  void mask() {
    emit({.opcode = alu(AluCode::bit_and, below(2) == 0, false),
          .dst = number_register(),
          .imm = (1 << below(8)) - 1});
  }
  void comparison() {
    constexpr JumpCode kCodes[] = {JumpCode::jeq, JumpCode::jgt,  JumpCode::jge,  JumpCode::jset,
                                   JumpCode::jne, JumpCode::jsgt, JumpCode::jsge, JumpCode::jlt,
                                   JumpCode::jle, JumpCode::jslt, JumpCode::jsle};
    const bool by_register = below(3) == 0;
    Instruction in{.opcode = jump(kCodes[below(std::size(kCodes))], below(3) != 0, by_register),
                   .dst = number_register()};
    if (by_register)
      in.src = number_register();
    else
      in.imm = immediate();
    // Mostly ahead; back is a loop.
    const size_t here = steps_.size() - 1;
    const u8 far = below(10);
    pending_.push_back({at(), far >= 8 ? here - std::min<size_t>(here, far - 7u) : here + 1 + far});
    emit(in);
  }
  void read_context() {
    if (is_callback_) return call(kRandom);
    const u8 which = below(5);
    constexpr i16 kFields[] = {kLength, kMark, kCookie, kFlags, kMark};
    const bool wide = which == 2 || which == 3;
    load(wide         ? Size::double_word
         : which == 4 ? Size::byte
                      : Size::word,
         number_register(), kContext, kFields[which],
         !wide && below(4) == 0 ? Mode::memsx : Mode::mem);
  }
  i16 stack_offset(Size size) {
    const u32 bytes = bytes_of(size);
    return static_cast<i16>(-8 * (1 + below(kSlots)) +
                            static_cast<i16>(below(static_cast<u8>(8 / bytes)) * bytes));
  }
  void spill() {
    const Size of = size();
    const i16 offset = stack_offset(of);
    if (below(6) == 0)
      emit({.opcode = memory(Mode::mem, of, Class::st),
            .dst = kFramePointer,
            .offset = offset,
            .imm = immediate()});
    else
      store(of, kFramePointer, offset, number_register());
  }
  void fill() {
    const Size of = size();
    const bool extends = of != Size::double_word && below(3) == 0;
    load(of, number_register(), kFramePointer, stack_offset(of), extends ? Mode::memsx : Mode::mem);
  }
  // Somewhere in the stack, by a number.
  void stack_by_number() {
    const u8 number = number_register(), pointer = number == 5 ? 4 : 5;
    copy(pointer, kFramePointer);
    add(pointer, -8 * kSlots);
    add_register(pointer, number);
    if (below(2) == 0)
      store(Size::byte, pointer, 0, number);
    else
      load(Size::byte, number, pointer, 0);
    set(pointer, 5);
  }
  // A value of the array, by a number: right only if the number is as small as it should be.
  void value_by_number() {
    const u8 number = number_register(), pointer = number == 5 ? 4 : 5;
    emit_wide(pointer, Immediate::map_value, kArray, static_cast<i32>(below(kArrayValue)));
    if (below(4) == 0) {
      emit({.opcode = alu(AluCode::sub, true, true), .dst = pointer, .src = number});
    } else {
      add_register(pointer, number);
    }
    const u8 how = below(4);
    if (how == 0)
      store(Size::byte, pointer, 0, number);
    else if (how == 1)
      load(size(), number, pointer, static_cast<i16>(below(16)) - 8);
    else
      load(Size::byte, number, pointer, 0);
    set(pointer, 5);
  }
  void frozen_value() {
    const Size of = size();
    emit_wide(5, Immediate::map_value, kFrozen, static_cast<i32>(below(kFrozenValue)));
    load(of, number_register() == 5 ? 4 : 3, 5, 0);
    set(5, 5);
  }
  void packet() {
    if (is_callback_) return;
    const u8 bytes = static_cast<u8>(1 + below(40)), number = number_register();
    load(Size::double_word, 2, kContext, kData);
    load(Size::double_word, 3, kContext, kDataEnd);
    const bool moves = below(2) == 0 && number != 2 && number != 3;
    if (moves) add_register(2, number);
    copy(4, 2);
    add(4, bytes);
    constexpr JumpCode kTests[] = {JumpCode::jgt, JumpCode::jge};
    const size_t out = skip(jump(kTests[below(2)], true, true), 4, 3, 0);
    load(size(), 4, 2, static_cast<i16>(below(bytes)));
    land(out);
    forget();
  }
  void atomic() {
    constexpr i32 kOperations[] = {
        kAtomicAdd,     kAtomicOr,      kAtomicAnd,      kAtomicXor,
        kAtomicAdd | 1, kAtomicXor | 1, kAtomicExchange, kAtomicCompareExchange};
    const Size of = below(2) == 0 ? Size::word : Size::double_word;
    const bool on_stack = below(2) == 0;
    const u8 src = number_register();
    u8 base = kFramePointer;
    i16 offset = stack_offset(of);
    if (!on_stack) {
      base = src == 5 ? 4 : 5;
      offset = static_cast<i16>(8 * below(8));
      emit_wide(base, Immediate::map_value, kArray, 0);
    }
    if (keeps_pointer_[0]) set(0, 0);
    keeps_pointer_[0] = false;
    emit({.opcode = memory(Mode::atomic, of, Class::stx),
          .dst = base,
          .src = src,
          .offset = offset,
          .imm = kOperations[below(8)]});
    if (!on_stack) set(base, 5);
  }
  // Into r0; its test and its use may come much later.
  void lookup() {
    store(Size::word, kFramePointer, -4, number_register());
    emit_wide(1, Immediate::map, kHash);
    copy(2, kFramePointer);
    add(2, -4);
    call(kLookup);
    const u8 keeper = static_cast<u8>(7 + below(3));
    switch (below(4)) {
      case 0: {
        const size_t out = skip(jump(JumpCode::jeq, true, false), 0, 0, 0);
        load(Size::word, 1, 0, static_cast<i16>(4 * below(4)));
        land(out);
        break;
      }
      case 1:
        copy(keeper, 0);
        keeps_pointer_[keeper] = true;
        break;
      case 2: store(Size::double_word, kFramePointer, stack_offset(Size::double_word), 0); break;
      default: break;
    }
    set(0, 0);
  }
  void use_kept() {
    const u8 keeper = static_cast<u8>(7 + below(3));
    if (!keeps_pointer_[keeper]) return;
    const size_t out = skip(jump(JumpCode::jeq, true, false), keeper, 0, 0);
    const u8 number = number_register();
    if (below(2) == 0) {
      load(Size::double_word, number, keeper, static_cast<i16>(below(kHashValue - 7)));
    } else {
      copy(5, keeper);
      if (number != 5) add_register(5, number);
      load(Size::byte, 4, 5, 0);
      set(5, 5);
    }
    land(out);
    if (below(3) != 0) return;
    set(keeper, keeper);
    keeps_pointer_[keeper] = false;
  }
  void update() {
    store(Size::word, kFramePointer, -4, number_register());
    emit_wide(1, Immediate::map, kHash);
    copy(2, kFramePointer);
    add(2, -4);
    copy(3, kFramePointer);
    add(3, -8 * (2 + below(kSlots - 1)));
    set(4, 0);
    call(kUpdate);
  }
  void record() {
    emit_wide(1, Immediate::map, kRing);
    set(2, 16);
    set(3, 0);
    call(kReserve);
    const size_t out = skip(jump(JumpCode::jeq, true, false), 0, 0, 0);
    store(Size::double_word, 0, static_cast<i16>(8 * below(2)), 1);
    copy(1, 0);
    set(2, 0);
    if (below(16) != 0) call(kSubmit);
    land(out);
    set(0, 0);
    forget();
  }
  void call_local() {
    copy(1, kContext);
    if (is_callback_) return;
    code_addresses_.push_back({at(), 1});
    emit({.opcode = kOpcodeCall, .src = static_cast<u8>(Callee::local)});
    forget();
  }
  void call_back() {
    const bool rounds = below(2) == 0;
    if (rounds)
      set(1, below(12));
    else
      emit_wide(1, Immediate::map, kHash);
    code_addresses_.push_back({at(), 2});
    emit_wide(2, Immediate::code, 0);
    copy(3, kFramePointer);
    set(4, 0);
    call(rounds ? kLoop : kForEach);
  }
  // In a callback: the frame of whoever called it, or an element's key.
  void callers_memory() {
    if (!is_callback_) return;
    const u8 number = number_register();
    const i16 offset = static_cast<i16>(-8 * (1 + below(kSlots)));
    if (below(2) == 0)
      store(Size::double_word, kContext, offset, number);
    else
      load(Size::double_word, number, kContext, offset);
  }
  void count() {
    const u8 counter = static_cast<u8>(7 + below(3));
    if (keeps_pointer_[counter]) return;
    add(counter, 1 + below(3));
    const size_t here = steps_.size() - 1;
    pending_.push_back({at(), here - std::min<size_t>(here, 1u + below(4))});
    emit({.opcode = jump(JumpCode::jlt, below(2) == 0, false),
          .dst = counter,
          .imm = static_cast<i32>(below(24))});
  }

  void step() {
    switch (below(30)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5: return arithmetic();
      case 6: return extension();
      case 7: return reordering();
      case 8:
      case 9: return mask();
      case 10:
      case 11:
      case 12:
      case 13: return comparison();
      case 14: return read_context();
      case 15:
      case 16: return spill();
      case 17: return fill();
      case 18: return stack_by_number();
      case 19:
      case 20: return value_by_number();
      case 21: return frozen_value();
      case 22: return packet();
      case 23: return atomic();
      case 24: return lookup();
      case 25: return use_kept();
      case 26: return below(2) == 0 ? update() : record();
      case 27: return call_local();
      case 28: return below(2) == 0 ? call_back() : callers_memory();
      default: return count();
    }
  }

  struct CodeAddress {
    size_t slot, function;
  };
  struct Pending {
    size_t slot, step;
  };
  std::span<const u8> bytes_;
  size_t next_ = 0;
  std::vector<Instruction> slots_;
  std::vector<size_t> starts_;  // Of functions.
  std::vector<size_t> steps_;   // Of the function that is being made.
  std::vector<CodeAddress> code_addresses_;
  std::vector<Pending> pending_;
  std::array<bool, kRegisters> keeps_pointer_{};
  bool is_callback_ = false;
};

}  // namespace

Result<Program> random_program(std::span<const u8> bytes) { return Maker(bytes).make(); }

RandomBed::RandomBed() {
  add_core_helpers(helpers_);
  const auto field = [](const char* name, i16 offset, u32 size) {
    return Field{.name = name, .offset = static_cast<u32>(offset), .size = size};
  };
  Layout layout{.name = "context", .size = sizeof(Context), .fields = {}};
  layout.fields = {field("data", kData, 8),     field("data_end", kDataEnd, 8),
                   field("length", kLength, 4), field("mark", kMark, 4),
                   field("cookie", kCookie, 8), field("flags", kFlags, 8)};
  layout.fields[0].kind = FieldKind::packet;
  layout.fields[1].kind = FieldKind::packet_end;
  type_ = {.name = "random", .sections = {}, .context = std::move(layout), .helpers = &helpers_};
  Prng prng(1);
  for (u32 i = 0; i < kFrozenValue; ++i)
    frozen_.push_back(static_cast<std::byte>(prng.chance(1, 2) ? prng.below(64) : prng.next()));
  const MapSpec specs[] = {
      {.kind = MapKind::hash, .key_size = 4, .value_size = kHashValue, .max_entries = 8},
      {.kind = MapKind::array, .key_size = 4, .value_size = kArrayValue, .max_entries = 1},
      {.kind = MapKind::array, .key_size = 4, .value_size = kFrozenValue, .max_entries = 1},
      {.kind = MapKind::ringbuf, .max_entries = 4096},
  };
  for (const MapSpec& spec : specs) {
    auto map = make_map(spec);
    CHECK(map.has_value());
    maps_.push_back(owned_.emplace_back(*std::move(map)).get());
    views_.push_back({.spec = spec});
  }
  const u32 first = 0;
  CHECK(maps_[kFrozen]->write(reinterpret_cast<const std::byte*>(&first), frozen_, kAny) == 0);
  views_[kFrozen].read_only = views_[kFrozen].frozen = true;
  views_[kFrozen].contents = frozen_;
}

Verdict RandomBed::verify(const Program& program) const {
  constexpr u64 kInstructions = 8'000;  // So that one program is not all there is time for.
  return bpf::verify({.program = program, .type = type_, .maps = views_},
                     {.instructions_max = kInstructions, .claims = true});
}

std::string RandomBed::run_once(const Program& program, const Code& code, const Verdict& verdict,
                                u64 seed) {
  constexpr u64 kBudget = 1'000'000;  // More than any path that the verifier walks.
  Prng prng(seed);
  for (u32 key = 0; key < 6; ++key) {
    std::array<std::byte, kHashValue> value;
    for (std::byte& byte : value) byte = static_cast<std::byte>(prng.next());
    (void)maps_[kHash]->update(reinterpret_cast<const std::byte*>(&key), value.data(), kAny, 0);
  }
  const u64 bytes = prng.below(64);
  const auto packet = std::make_unique<std::byte[]>(bytes);
  const u64 begin = reinterpret_cast<u64>(packet.get());
  const auto number = [&] {
    const u64 any = prng.next() >> prng.below(64);
    return prng.chance(1, 4) ? u64{0} - any : any;
  };
  const auto context = std::make_unique<Context>(Context{.data = begin,
                                                         .data_end = begin + bytes,
                                                         .length = static_cast<u32>(bytes),
                                                         .mark = static_cast<u32>(number()),
                                                         .cookie = number(),
                                                         .flags = number()});
  const u64 address = reinterpret_cast<u64>(context.get());
  const Region regions[] = {{address, sizeof(Context), true}, {begin, bytes, false}};
  Machine machine({.budget = kBudget});
  Oracle oracle(code, verdict, address);
  FactWatch facts(program, code, verdict.facts, oracle);
  const Outcome outcome = machine.run_checked(code, regions, address, 0, &facts);
  if (!facts.disagreement().empty()) return facts.disagreement();
  if (!oracle.disagreement().empty()) return oracle.disagreement();
  if (outcome.stop != Stop::exited) return describe(result_of(outcome).error());
  return {};
}

std::string RandomBed::run(const Program& program, const Verdict& verdict, u64 seed) {
  constexpr u64 kRuns = 4;
  CHECK(verdict.accepted());
  const auto code = Code::bind(program, {.helpers = helpers_, .maps = maps_});
  if (!code) return describe(code.error());
  for (u64 run = 0; run < kRuns; ++run) {
    std::string wrong = run_once(program, *code, verdict, seed + run);
    if (!wrong.empty()) return fmt::format("{} (seed {})", wrong, seed + run);
  }
  return {};
}

}  // namespace coppice::bpf
