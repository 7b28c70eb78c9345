#include "host/live_types.h"

#include "base/check.h"
#include "hook/host_btf.h"
#include "io/trace_types.h"
#include "pool/trace_types.h"
#include "serve/nbd/trace_types.h"

namespace coppice::host {

std::vector<std::byte> live_types() {
  std::vector<trace::Structure> structures = io::TraceTypes::all();
  for (auto& each : pool::TraceTypes::all()) structures.push_back(std::move(each));
  for (auto& each : serve::nbd::TraceTypes::all()) structures.push_back(std::move(each));
  auto btf = hook::host_btf(structures);
  CHECK(btf.has_value());  // They are part of this program.
  return *std::move(btf);
}

}  // namespace coppice::host
