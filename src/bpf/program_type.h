// bpf/program_type.h — what a host promises to programs of one type, and demands of them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bpf/helper.h"
#include "bpf/layout.h"

namespace coppice::bpf {

struct ProgramType {
  std::string name;
  std::vector<std::string> sections;        // "xdp": programs in section "xdp" and in "xdp/...".
  Layout context;                           // What r1 points to when a program starts.
  const HelperTable* helpers = nullptr;     // All that programs of the type may call.
  std::optional<AnswerRange> returns = {};  // What r0 may be at the end, if that matters.
  bool packet_writable = false;
  bool may_tail_call = true;
  // Whether a load through a pointer that only BTF vouches for is caught when it fails.
  bool catches_faults = false;
  // The kernel's rules where ours are wider or narrower, for programs that are to load in both.
  u32 stack_bytes_max = 8 * 512;       // Of all frames that are in use at a time.
  bool reads_unwritten_stack = false;  // Else a byte is written before it is read.
  bool strict_alignment = false;       // Every access is aligned, not those of the stack only.
};

}  // namespace coppice::bpf
