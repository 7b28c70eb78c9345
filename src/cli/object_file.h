// cli/object_file.h — eBPF objects from files.
#pragma once

#include "bpf/object/object.h"
#include "cli/failure.h"

namespace coppice::cli {

// The object in `path`, or on standard input if that is "-". `btf`: a file with the host's types,
// an ELF file with a section .BTF or the section alone, against which the object's relocations are
// resolved; empty: there are none.
Attempt<bpf::Object> read_object_file(const std::string& path, const std::string& btf);

}  // namespace coppice::cli
