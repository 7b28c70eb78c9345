// hook/host_btf.h — all types of the daemon as one BTF: what programs are relocated against, and
// what the daemon serves.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/result.h"
#include "trace/structure.h"

namespace coppice::hook {

// Behind the types of the headers stand the given structures, and for each internal tracepoint NAME
// a struct coppice_NAME of its arguments. invalid, with the name: a type that is named and not
// there, a size that is not the type's, fields that overlap.
Result<std::vector<std::byte>> host_btf(std::span<const trace::Structure> structures);

}  // namespace coppice::hook
