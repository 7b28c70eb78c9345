// bpf/object/core_relocation.h — "compile once, run everywhere": puts the host's offsets, sizes and
// numbers where clang put those of the types it saw.
//
// Theory. Each relocation is answered twice: with the object's own types, which must give what
// stands in the instruction already, and with the host's, which gives what is written there. Of the
// host's types every one of the same name and kind is tried; those that lack the field are passed
// over, and if the others disagree nobody can know which one is meant: that is an error. Questions
// whether something exists, and those about a type, are answered with 0 if it does not. Everything
// else without an answer makes the instruction a call of kUnsatisfied.
#pragma once

#include "bpf/instruction.h"
#include "bpf/object/core_path.h"

namespace coppice::bpf {

class CoreResolver {
 public:
  CoreResolver(const Btf& own, const Btf* host) : own_(own), host_(host) {}

  // Changes the instruction at `slot`. An error's detail says why it cannot be.
  Result<> relocate(const CoreRecord& record, std::span<Instruction> slots, size_t slot);

 private:
  // What the two sides say.
  struct Answer {
    u64 value = 0;
    u32 size = 0;  // Bytes of a field whose offset `value` is; 0: not known or a bit field.
    u32 type = 0;  // Of that field.
    bool comparable = true;  // False: compilers may choose otherwise, as for bit fields.
    friend bool operator==(const Answer&, const Answer&) = default;
  };
  Result<Answer> answer_field(const Btf& btf, const CorePath& path, CoreKind kind) const;
  Result<Answer> answer(const Btf& btf, const CorePath& path, CoreKind kind) const;
  Result<std::optional<Answer>> ask_host(const CoreRecord& record, const CorePath& path);
  std::optional<CorePath> find_in_host(const CoreRecord& record, const CorePath& path,
                                       u32 candidate);
  Result<bool> write(std::span<Instruction> slots, size_t slot, const Answer& before,
                     const Answer& now) const;
  Result<bool> write_memory(Instruction& instruction, const Answer& before,
                            const Answer& now) const;

  const Btf& own_;
  const Btf* host_;
  CoreEffort effort_;
};

}  // namespace coppice::bpf
