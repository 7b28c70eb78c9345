// serve/nbd/trace_types.h — what internal tracepoints of NBD point at.
#pragma once

#include <vector>

#include "trace/structure.h"

namespace coppice::serve::nbd {

// The friend of what it describes.
struct TraceTypes {
  static std::vector<trace::Structure> all();
};

}  // namespace coppice::serve::nbd
