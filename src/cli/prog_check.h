// cli/prog_check.h — prog check: proves the programs of an object safe, or says why they are not.
#pragma once

#include "bpf/standard_types.h"
#include "bpf/verify/verifier.h"
#include "cli/failure.h"

namespace coppice::cli {

struct CheckWishes {
  std::string object;
  std::string type;     // Empty: what the section says.
  std::string program;  // Empty: all.
  std::string btf;      // The host's types; empty: the object's own.
  bool log = false;
  bool json = false;
};

Attempt<> check_object(const CheckWishes& wishes);

// The type called `wanted`, or that of the program's section.
Attempt<const bpf::ProgramType*> type_of(const bpf::StandardTypes& types,
                                         const bpf::ObjectProgram& program,
                                         const std::string& wanted);
bpf::VerifyInput verify_input(const bpf::Object& object, const bpf::ObjectProgram& program,
                              const bpf::ProgramType& type, std::span<const bpf::MapView> maps);

}  // namespace coppice::cli
