// bpf/standard_types.h — the types of programs that need no host: to check, run and time them.
#pragma once

#include <memory>
#include <span>

#include "bpf/program_type.h"

namespace coppice::bpf {

// What r1 points to in a program of type "buffer".
struct BufferContext {
  std::byte* data = nullptr;
  std::byte* data_end = nullptr;
};

class StandardTypes {
 public:
  StandardTypes();
  StandardTypes(const StandardTypes&) = delete;  // Types point to the tables.
  StandardTypes& operator=(const StandardTypes&) = delete;

  // "buffer": bytes between two pointers, which may be changed; the core helpers.
  const ProgramType& buffer() const { return types_[0]; }
  // "probe": eight numbers; the core helpers and reads of any memory.
  const ProgramType& probe() const { return types_[1]; }

  std::span<const ProgramType> all() const { return types_; }
  const ProgramType* find(std::string_view name) const;           // Null: no such type.
  const ProgramType* of_section(std::string_view section) const;  // Null: it names none.

 private:
  HelperTable core_, probing_;
  std::vector<ProgramType> types_;
};

}  // namespace coppice::bpf
