// hook/host_types.h — the types of this build that programs are relocated against, as BTF.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace coppice::hook {

// The contexts and views of include/coppice/bpf/, as clang compiled them.
std::span<const std::byte> header_types();

// Of the program that runs, in hex digits: what its linker put down. Empty: nothing.
std::string build_id();

}  // namespace coppice::hook
