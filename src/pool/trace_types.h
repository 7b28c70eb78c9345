// pool/trace_types.h — what internal tracepoints of the engine point at.
#pragma once

#include <vector>

#include "trace/structure.h"

namespace coppice::pool {

// The friend of what it describes.
struct TraceTypes {
  static std::vector<trace::Structure> all();
  static trace::Structure node_store_state();  // node_store.cc
};

}  // namespace coppice::pool
