// bpf/object/type_section.h — the types of an object file, as bytes that stand by themselves.
#pragma once

#include <vector>

#include "bpf/object/elf.h"

namespace coppice::bpf {

// Its section .BTF, with the offsets of variables in their sections, which clang leaves to the
// linker. Empty: the object was compiled without -g.
Result<std::vector<std::byte>> read_type_section(const ElfFile& file);

}  // namespace coppice::bpf
