// io/trace_types.h — what internal tracepoints of reactors point at.
#pragma once

#include <vector>

#include "trace/structure.h"

namespace coppice::io {

// The friend of what it describes.
struct TraceTypes {
  static std::vector<trace::Structure> all();
};

}  // namespace coppice::io
