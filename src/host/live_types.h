// host/live_types.h — the types that programs are relocated against, and that the daemon serves.
#pragma once

#include <cstddef>
#include <vector>

namespace coppice::host {

// BTF of contexts, views, and what internal tracepoints of this build point at.
std::vector<std::byte> live_types();

}  // namespace coppice::host
