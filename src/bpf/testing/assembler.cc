#include "bpf/testing/assembler.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>

#include "base/check.h"

namespace coppice::bpf {
namespace {

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The longest first, since some begin others.
constexpr std::string_view kSigns[] = {"s>>=", "<<=", ">>=", "s>=", "s<=", "s/=", "s%=", "s>", "s<",
                                       "+=",   "-=",  "*=",  "/=",  "|=",  "&=",  "^=",  "%=", "==",
                                       "!=",   ">=",  "<=",  "=",   ">",   "<",   "&",   "(",  ")",
                                       "*",    ",",   "[",   "]",   "+",   "-",   ":",   "#",  "."};

std::optional<std::vector<std::string_view>> tokens_of(std::string_view line) {
  std::vector<std::string_view> tokens;
  while (true) {
    while (!line.empty() && (line[0] == ' ' || line[0] == '\t')) line.remove_prefix(1);
    if (line.empty() || line[0] == ';') return tokens;
    const auto sign = std::ranges::find_if(
        kSigns, [&](std::string_view candidate) { return line.starts_with(candidate); });
    size_t length = 0;
    if (sign != std::end(kSigns)) {
      length = sign->size();
    } else {
      while (length < line.size() && (is_name_start(line[length]) || is_digit(line[length])))
        ++length;
    }
    if (length == 0) return std::nullopt;
    tokens.push_back(line.substr(0, length));
    line.remove_prefix(length);
  }
}

struct Register {
  u8 number;
  bool wide;
};
std::optional<Register> register_of(std::string_view token) {
  if (token.size() < 2 || token.size() > 3 || (token[0] != 'r' && token[0] != 'w'))
    return std::nullopt;
  u8 number = 0;
  const auto [end, error] = std::from_chars(token.data() + 1, token.data() + token.size(), number);
  if (error != std::errc{} || end != token.data() + token.size() || number >= kRegisters)
    return std::nullopt;
  return Register{number, token[0] == 'r'};
}

constexpr std::string_view kAluSigns[] = {
    "+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "", "%=", "^=", "=", "s>>="};
constexpr std::string_view kJumpSigns[] = {"",    "==", ">", ">=", "&",  "!=", "s>",
                                           "s>=", "",   "",  "<",  "<=", "s<", "s<="};
constexpr std::string_view kSizes[] = {"u32", "u16", "u8", "u64"};
constexpr std::string_view kSignedSizes[] = {"s32", "s16", "s8", "s64"};
constexpr std::string_view kAtomicSigns[] = {"+=", "|=", "&=", "^="};
constexpr std::string_view kAtomicNames[] = {"add", "or", "and", "xor"};
constexpr i32 kAtomics[] = {kAtomicAdd, kAtomicOr, kAtomicAnd, kAtomicXor};

std::optional<u8> index_in(std::span<const std::string_view> list, std::string_view token) {
  const auto found = std::ranges::find(list, token);
  if (found == list.end() || token.empty()) return std::nullopt;
  return static_cast<u8>(found - list.begin());
}
u8 opcode(u8 code, u8 source, Class instruction_class) {
  return static_cast<u8>(code << 4 | source | static_cast<u8>(instruction_class));
}
u8 memory_opcode(Mode mode, u8 size, Class instruction_class) {
  return static_cast<u8>(static_cast<u8>(mode) << 5 | size << 3 |
                         static_cast<u8>(instruction_class));
}

// One line, read from left to right. A function that returns false has met something else than it
// needed; where that was is at().
class Line {
 public:
  Line(std::vector<std::string_view> tokens, const Names& names)
      : tokens_(std::move(tokens)), names_(names) {}

  bool statement() {
    const bool read = accept("exit")    ? plain(kOpcodeExit)
                      : accept("goto")  ? jump()
                      : accept("gotol") ? long_jump()
                      : accept("call")  ? call()
                      : accept("if")    ? condition()
                      : accept("lock")  ? locked()
                      : peek() == "*"   ? store()
                                        : assignment();
    return read && at_end();
  }
  bool at_end() const { return at_ == tokens_.size(); }
  std::string_view at() const { return at_end() ? "the end of the line" : tokens_[at_]; }

  Instruction first;
  std::optional<Instruction> second;  // Of a wide one.
  std::string_view target;            // A label that an offset or immediate is to lead to.

 private:
  std::string_view peek(size_t ahead = 0) const {
    return at_ + ahead < tokens_.size() ? tokens_[at_ + ahead] : std::string_view{};
  }
  bool accept(std::string_view token) {
    if (peek() != token) return false;
    ++at_;
    return true;
  }
  bool accept(std::initializer_list<std::string_view> tokens) {
    return std::ranges::all_of(tokens, [&](std::string_view token) { return accept(token); });
  }
  std::optional<Register> accept_register() {
    const auto named = register_of(peek());
    if (named) ++at_;
    return named;
  }
  std::optional<u8> accept_in(std::span<const std::string_view> list) {
    const auto index = index_in(list, peek());
    if (index) ++at_;
    return index;
  }
  std::string_view accept_name() {
    if (peek().empty() || !is_name_start(peek()[0]) || register_of(peek())) return {};
    return tokens_[at_++];
  }
  // A number of 64 bits, signed or not.
  std::optional<u64> accept_number() {
    const bool negative = peek() == "-", has_sign = negative || peek() == "+";
    std::string_view digits = peek(has_sign ? 1 : 0);
    const bool is_hex = digits.starts_with("0x");
    if (is_hex) digits.remove_prefix(2);
    u64 number = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number, is_hex ? 16 : 10);
    if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    at_ += has_sign ? 2 : 1;
    return negative ? ~number + 1 : number;
  }
  template <typename Field>
  bool number_into(Field& field) {
    const auto number = accept_number();
    if (!number) return false;
    field = static_cast<Field>(*number);
    return static_cast<u64>(i64{field}) == *number || (sizeof(Field) == 4 && *number >> 32 == 0);
  }

  bool plain(u8 code) {
    first.opcode = code;
    return true;
  }
  template <typename Field>
  bool target_into(Field& field) {
    if (peek() == "+" || peek() == "-") return number_into(field);
    target = accept_name();
    return !target.empty();
  }
  bool jump() { return plain(kOpcodeJump) && target_into(first.offset); }
  bool long_jump() { return plain(kOpcodeLongJump) && target_into(first.imm); }
  bool accept_slot_note() {  // What the disassembler says besides.
    if (peek() != "(") return true;
    return accept({"(", "slot"}) && accept_number() && accept(")");
  }
  bool call() {
    first.opcode = kOpcodeCall;
    if (accept("#")) return number_into(first.imm);
    if (accept("btf")) {
      first.src = static_cast<u8>(Callee::btf);
      return accept("#") && number_into(first.imm);
    }
    if (peek() == "pc" && (peek(1) == "+" || peek(1) == "-")) {
      first.src = static_cast<u8>(Callee::local);
      return accept("pc") && number_into(first.imm) && accept_slot_note();
    }
    const Helper* helper = names_.helpers != nullptr ? names_.helpers->find(peek()) : nullptr;
    if (helper != nullptr) {
      first.imm = helper->number;
      return !accept_name().empty();
    }
    first.src = static_cast<u8>(Callee::local);
    target = accept_name();
    return !target.empty();
  }
  // A register of the same width, or a 32-bit number.
  bool operand(bool wide) {
    if (const auto src = accept_register()) {
      first.opcode |= kSourceRegister;
      first.src = src->number;
      return src->wide == wide;
    }
    return number_into(first.imm);
  }
  bool condition() {
    const auto dst = accept_register();
    if (!dst) return false;
    const auto code = accept_in(kJumpSigns);
    if (!code) return false;
    first.opcode = opcode(*code, 0, dst->wide ? Class::jmp : Class::jmp32);
    first.dst = dst->number;
    return operand(dst->wide) && accept("goto") && target_into(first.offset);
  }

  bool place(u8& base) {  // "(r1 +8)"
    if (!accept("(")) return false;
    const auto named = accept_register();
    if (!named || !named->wide) return false;
    base = named->number;
    return number_into(first.offset) && accept(")");
  }
  std::optional<u8> pointed(std::span<const std::string_view> sizes) {  // "*(u8 *)"
    if (!accept({"*", "("})) return std::nullopt;
    const auto size = accept_in(sizes);
    if (!size || !accept({"*", ")"})) return std::nullopt;
    return size;
  }
  bool store() {
    const auto size = pointed(kSizes);
    if (!size || !place(first.dst) || !accept("=")) return false;
    if (const auto src = accept_register()) {
      first.opcode = memory_opcode(Mode::mem, *size, Class::stx);
      first.src = src->number;
      return src->wide == (kSizes[*size] == "u64");
    }
    first.opcode = memory_opcode(Mode::mem, *size, Class::st);
    return number_into(first.imm);
  }
  bool locked() {
    const auto size = pointed(kSizes);
    if (!size || !place(first.dst)) return false;
    const auto sign = accept_in(kAtomicSigns);
    const auto src = accept_register();
    if (!sign || !src) return false;
    first.opcode = memory_opcode(Mode::atomic, *size, Class::stx);
    first.src = src->number;
    first.imm = kAtomics[*sign];
    return true;
  }
  // "atomic64_fetch_add((r1 +0), r2)", "atomic_xchg(...)", "atomic64_cmpxchg((r1 +0), r0, r2)".
  bool atomic(Register result) {
    std::string_view name = accept_name();
    name.remove_prefix(std::string_view("atomic").size());
    const bool wide = name.starts_with("64_");
    if (wide) name.remove_prefix(2);
    if (!name.starts_with('_')) return false;
    name.remove_prefix(1);
    first.opcode = memory_opcode(
        Mode::atomic, static_cast<u8>(wide ? Size::double_word : Size::word), Class::stx);
    if (!accept("(") || !place(first.dst) || !accept(",")) return false;
    if (name == "cmpxchg") {
      first.imm = kAtomicCompareExchange;
      const auto compared = accept_register();
      if (!compared || compared->number != 0 || !accept(",")) return false;
    } else if (name == "xchg") {
      first.imm = kAtomicExchange;
    } else {
      if (!name.starts_with("fetch_")) return false;
      const auto operation = index_in(kAtomicNames, name.substr(6));
      if (!operation) return false;
      first.imm = kAtomics[*operation] | kAtomicFetch;
    }
    const auto src = accept_register();
    if (!src || !accept(")")) return false;
    first.src = src->number;
    return result.wide == wide && src->wide == wide &&
           result.number == (name == "cmpxchg" ? 0 : src->number);
  }

  bool assignment() {
    const auto dst = accept_register();
    if (!dst) return false;
    first.dst = dst->number;
    const Class alu = dst->wide ? Class::alu64 : Class::alu;
    if (accept("=")) return assigned(*dst, alu);
    for (const auto& [sign, code] : {std::pair{"s/=", AluCode::div}, {"s%=", AluCode::mod}}) {
      if (!accept(sign)) continue;
      first.opcode = opcode(static_cast<u8>(code), 0, alu);
      first.offset = 1;
      return operand(dst->wide);
    }
    const auto code = accept_in(kAluSigns);
    if (!code) return false;
    first.opcode = opcode(*code, 0, alu);
    return operand(dst->wide);
  }
  bool assigned(Register dst, Class alu) {
    if (peek() == "-" && register_of(peek(1))) {
      first.opcode = opcode(static_cast<u8>(AluCode::neg), 0, alu);
      return accept("-") && accept_register()->number == dst.number;
    }
    if (peek() == "*") return load();
    if (accept("(")) return sign_extended(dst.wide, alu);
    if (register_of(peek())) {
      first.opcode = opcode(static_cast<u8>(AluCode::mov), 0, alu);
      return operand(dst.wide);
    }
    if (peek() == "map" || peek() == "variable" || peek() == "code") return address();
    if (peek().starts_with("atomic")) {
      first.dst = 0;
      return atomic(dst);
    }
    if (!peek().empty() && is_name_start(peek()[0])) return reordered();
    const auto number = accept_number();
    if (!number) return false;
    if (accept("ll")) return wide(Immediate::number, *number, *number >> 32);
    first.opcode = opcode(static_cast<u8>(AluCode::mov), 0, alu);
    first.imm = static_cast<i32>(*number);
    return static_cast<u64>(i64{first.imm}) == *number || *number >> 32 == 0;
  }
  bool load() {
    const size_t begin = at_;
    if (const auto size = pointed(kSizes)) {
      first.opcode = memory_opcode(Mode::mem, *size, Class::ldx);
      return place(first.src);
    }
    at_ = begin;
    const auto size = pointed(kSignedSizes);
    if (!size) return false;
    first.opcode = memory_opcode(Mode::memsx, *size, Class::ldx);
    return place(first.src);
  }
  bool sign_extended(bool wide, Class alu) {
    static constexpr i16 kBits[] = {32, 16, 8};
    const auto size = accept_in(std::span(kSignedSizes).first(3));
    if (!size || !accept(")")) return false;
    first.opcode = opcode(static_cast<u8>(AluCode::mov), 0, alu);
    first.offset = kBits[*size];
    return register_of(peek()) && operand(wide);
  }
  bool reordered() {
    const std::string_view name = accept_name();
    for (const auto& [order, source, alu] : {std::tuple{"bswap", u8{0}, Class::alu64},
                                             {"le", u8{0}, Class::alu},
                                             {"be", kSourceRegister, Class::alu}}) {
      for (const i32 bits : {16, 32, 64}) {
        if (name != fmt::format("{}{}", order, bits)) continue;
        first.opcode = opcode(static_cast<u8>(AluCode::end), source, alu);
        first.imm = bits;
        const auto of = accept_register();
        return of && of->number == first.dst;
      }
    }
    return false;
  }

  bool wide(Immediate kind, u64 low, u64 high) {
    first.opcode = kOpcodeLoadImm64;
    first.src = static_cast<u8>(kind);
    first.imm = static_cast<i32>(low);
    second = Instruction{.imm = static_cast<i32>(high)};
    return true;
  }
  std::optional<u64> accept_index() {
    if (!accept("[")) return std::nullopt;
    const auto index = accept_number();
    return accept("]") ? index : std::nullopt;
  }
  bool address() {
    const std::string_view kind = accept_name();
    if (kind == "map") return map_address();
    if (kind == "variable") {
      const auto index = accept_index();
      return index && wide(Immediate::variable, *index, 0) && accept("ll");
    }
    wide(Immediate::code, 0, 0);
    if (accept("pc")) return number_into(first.imm) && accept_slot_note() && accept("ll");
    target = accept_name();
    return !target.empty();
  }
  bool map_address() {
    std::optional<u64> index;
    if (peek() == "[") {
      index = accept_index();
    } else {
      const auto found = std::ranges::find(names_.maps, accept_name());
      if (found != names_.maps.end()) index = static_cast<u64>(found - names_.maps.begin());
    }
    if (!index) return false;
    i32 offset = 0;
    const bool value = accept(".");
    if (value && (!accept("value") || !number_into(offset))) return false;
    wide(value ? Immediate::map_value : Immediate::map, *index, static_cast<u32>(offset));
    return at_end() || accept("ll");
  }

  std::vector<std::string_view> tokens_;
  const Names& names_;
  size_t at_ = 0;
};

std::unexpected<Error> bad_line(size_t line, const std::string& why) {
  return fail(Errc::invalid, "cannot assemble the program", fmt::format("line {}: {}", line, why));
}

struct Jump {
  size_t slot;
  size_t line;
  std::string_view target;
};

Result<> lead(Assembled& program, const Jump& jump) {
  const auto found = program.labels.find(jump.target);
  if (found == program.labels.end())
    return bad_line(jump.line, fmt::format("there is no label, helper or map {}", jump.target));
  Instruction& in = program.slots[jump.slot];
  const i64 distance = static_cast<i64>(found->second) - static_cast<i64>(jump.slot) - 1;
  const bool by_offset = in.is_jump() && in.opcode != kOpcodeCall && in.opcode != kOpcodeLongJump;
  if (!by_offset) {
    in.imm = static_cast<i32>(distance);
    return {};
  }
  in.offset = static_cast<i16>(distance);
  if (in.offset != distance)
    return bad_line(jump.line, fmt::format("{} is too far for a jump; use gotol", jump.target));
  return {};
}

}  // namespace

Result<Assembled> assemble(std::string_view text, const Names& names) {
  Assembled program;
  std::vector<Jump> jumps;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    auto tokens = tokens_of(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!tokens) return bad_line(number, "a character that no instruction has");
    if (tokens->size() >= 2 && (*tokens)[1] == ":") {
      if (!program.labels.emplace((*tokens)[0], program.slots.size()).second)
        return bad_line(number, fmt::format("{} is a label already", (*tokens)[0]));
      tokens->erase(tokens->begin(), tokens->begin() + 2);
    }
    if (tokens->empty()) continue;
    Line line(*std::move(tokens), names);
    if (!line.statement()) return bad_line(number, fmt::format("unexpected: {}", line.at()));
    if (!line.target.empty()) jumps.push_back({program.slots.size(), number, line.target});
    program.slots.push_back(line.first);
    if (line.second) program.slots.push_back(*line.second);
  }
  for (const Jump& jump : jumps) TRY_VOID(lead(program, jump));
  return program;
}

}  // namespace coppice::bpf
