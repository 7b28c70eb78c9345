#include "bpf/object/replacement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/check.h"
#include "bpf/object/prototype.h"

namespace coppice::bpf {
namespace {

constexpr size_t kNamesShown = 20;

bool names_code(const Instruction& in) {
  if (in.opcode == kOpcodeCall) return in.src == static_cast<u8>(Callee::local);
  return in.is_wide() && in.src == static_cast<u8>(Immediate::code);
}

bool names_map(const Instruction& in) {
  if (!in.is_wide()) return false;
  const auto kind = static_cast<Immediate>(in.src);
  return kind == Immediate::map || kind == Immediate::map_by_index ||
         kind == Immediate::map_value || kind == Immediate::map_value_by_index;
}

class Replacer {
 public:
  explicit Replacer(const ReplaceInput& input) : input_(input) {}

  Result<ObjectProgram> replace() {
    TRY_VOID(find_replaced());
    TRY_VOID(check_prototype());
    TRY_VOID(place());
    std::vector<Instruction> slots;
    ObjectProgram whole{.name = input_.target.name,
                        .section = input_.target.section,
                        .program = input_.target.program,
                        .functions = {},
                        .lines = {},
                        .relocated = input_.target.relocated || input_.replacement.relocated};
    for (const Piece& piece : order_) {
      CHECK(slots.size() == begins_.at(piece));
      describe(piece, whole);
      copy(piece, slots);
    }
    auto program = Program::make(std::move(slots));
    if (!program) return refuse(program.error().code, program.error().detail);
    whole.program = *std::move(program);
    return whole;
  }

 private:
  // A function of the target (false) or of the replacement, by its place in `functions`.
  using Piece = std::pair<bool, size_t>;

  const ObjectProgram& program_of(const Piece& piece) const {
    return piece.first ? input_.replacement : input_.target;
  }
  const Function& function_of(const Piece& piece) const {
    return program_of(piece).functions[piece.second];
  }
  size_t end_of(const Piece& piece) const {
    const ObjectProgram& program = program_of(piece);
    return piece.second + 1 < program.functions.size() ? program.functions[piece.second + 1].slot
                                                       : program.program.slots().size();
  }
  std::unexpected<Error> refuse(Errc code, const std::string& why) const {
    return fail(code, "cannot replace a function of a program",
                fmt::format("'{}' of '{}' by '{}': {}", input_.function, input_.target.name,
                            input_.replacement.name, why));
  }

  Result<> find_replaced() {
    const auto& functions = input_.target.functions;
    if (functions.empty() || functions[0].slot != 0 || input_.replacement.functions.empty() ||
        input_.replacement.functions[0].slot != 0)
      return refuse(Errc::invalid, "nobody knows which functions the programs are made of");
    std::string there;
    size_t shown = 0;
    for (size_t i = 1; i < functions.size(); ++i) {
      if (functions[i].name == input_.function) {
        if (!functions[i].global)
          return refuse(Errc::invalid, "it is static: only global functions can be replaced");
        replaced_ = i;
        return {};
      }
      if (!functions[i].global || shown == kNamesShown) continue;
      ++shown;
      there += (there.empty() ? "" : ", ") + std::string(functions[i].name);
    }
    return refuse(Errc::not_found, there.empty()
                                       ? "it has no global functions that could be replaced"
                                       : "there is none of that name; there are: " + there);
  }

  Result<> check_prototype() const {
    const u32 wanted = input_.target.functions[replaced_].type;
    const u32 given = input_.replacement.functions[0].type;
    const auto known = [](const Btf* types, u32 id) {
      return types != nullptr && id != 0 && types->type(id).kind == Btf::Kind::function;
    };
    if (!known(input_.target_types, wanted) || !known(input_.replacement_types, given))
      return refuse(Errc::invalid, "the prototypes are not known: compile both with -g");
    const std::string why =
        prototype_difference(*input_.target_types, wanted, *input_.replacement_types, given);
    if (why.empty()) return {};
    return refuse(Errc::invalid, fmt::format("the prototypes differ: '{}' {}",
                                             input_.replacement.functions[0].name, why));
  }

  // What the instruction at `slot` of the piece calls.
  Result<Piece> callee_of(const Piece& piece, size_t slot) const {
    const ObjectProgram& program = program_of(piece);
    const size_t target = program.program.target_of(slot);
    const auto place = std::ranges::lower_bound(program.functions, target, {},
                                                [](const Function& each) { return each.slot; });
    if (place == program.functions.end() || place->slot != target)
      return refuse(Errc::invalid, fmt::format("slot {} calls no function that is known", slot));
    const Piece callee{piece.first, static_cast<size_t>(place - program.functions.begin())};
    return callee == Piece(false, replaced_) ? Piece(true, 0) : callee;
  }

  Result<> add(const Piece& piece) {
    if (!begins_.try_emplace(piece, size_).second) return {};
    order_.push_back(piece);
    size_ += end_of(piece) - function_of(piece).slot;
    if (size_ > kSlotsMax)
      return refuse(Errc::too_big, fmt::format("together they have more than {} slots", kSlotsMax));
    return {};
  }

  // What is reached, breadth first.
  Result<> place() {
    TRY_VOID(add(Piece(false, 0)));
    for (size_t i = 0; i < order_.size(); ++i) {
      const Piece piece = order_[i];
      const auto slots = program_of(piece).program.slots();
      for (size_t at = function_of(piece).slot; at < end_of(piece);
           at += slots[at].is_wide() ? 2 : 1) {
        if (!names_code(slots[at])) continue;
        TRY(const Piece callee, callee_of(piece, at));
        callees_.emplace(std::pair(piece, at), callee);
        TRY_VOID(add(callee));
      }
    }
    if (!begins_.contains(Piece(true, 0)))
      return refuse(Errc::invalid, "the program does not call it");
    return {};
  }

  void describe(const Piece& piece, ObjectProgram& whole) const {
    const size_t begin = begins_.at(piece);
    Function function = function_of(piece);
    if (piece == Piece(true, 0)) {
      function = input_.target.functions[replaced_];  // Still what its callers were verified for.
    } else if (piece.first) {
      function.type = 0;  // Types are the target's from here on.
      function.global = false;
    }
    const size_t old_begin = function_of(piece).slot;
    function.slot = static_cast<u32>(begin);
    whole.functions.push_back(function);
    for (Line line : program_of(piece).lines) {
      if (line.slot < old_begin || line.slot >= end_of(piece)) continue;
      line.slot = static_cast<u32>(line.slot - old_begin + begin);
      whole.lines.push_back(line);
    }
  }

  void copy(const Piece& piece, std::vector<Instruction>& into) const {
    const auto slots = program_of(piece).program.slots();
    const size_t begin = function_of(piece).slot, end = end_of(piece);
    for (size_t at = begin; at < end; ++at) {
      Instruction in = slots[at];
      const bool wide = in.is_wide();
      if (names_code(in)) {
        const size_t target = begins_.at(callees_.at(std::pair(piece, at)));
        in.imm = static_cast<i32>(target) - static_cast<i32>(into.size()) - 1;
      } else if (piece.first && names_map(in)) {
        in.imm = static_cast<i32>(static_cast<u32>(in.imm) + input_.first_map);
      }
      into.push_back(in);
      if (wide) into.push_back(slots[++at]);
    }
  }

  const ReplaceInput& input_;
  size_t replaced_ = 0;  // In the target's functions.
  std::vector<Piece> order_;
  std::map<Piece, size_t> begins_;
  std::map<std::pair<Piece, size_t>, Piece> callees_;  // By the slot that calls.
  size_t size_ = 0;
};

}  // namespace

Result<ObjectProgram> replace_function(const ReplaceInput& input) {
  return Replacer(input).replace();
}

}  // namespace coppice::bpf
