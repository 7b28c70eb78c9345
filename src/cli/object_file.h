// cli/object_file.h — eBPF objects from files.
#pragma once

#include "bpf/object/object.h"
#include "cli/failure.h"

namespace coppice::cli {

// All of a file, or of standard input if `path` is "-"; at most `bytes_max`.
Attempt<std::vector<std::byte>> read_file(const std::string& path, size_t bytes_max);

// The object in `path`, or on standard input if that is "-". `btf`: a file with the host's types,
// an ELF file with a section .BTF or the section alone, against which the object's relocations are
// resolved; empty: `options` says what is done without them.
Attempt<bpf::Object> read_object_file(const std::string& path, const std::string& btf,
                                      bpf::ReadOptions options = {});

}  // namespace coppice::cli
