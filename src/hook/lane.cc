#include "hook/lane.h"

#include "hook/hooked_device.h"

namespace coppice::hook {
namespace {
// Tracepoints fire in code that knows nothing of lanes.
thread_local Lane* lane_of_thread = nullptr;
}  // namespace

void Lane::bind_thread() { lane_of_thread = this; }
void Lane::unbind_thread() { lane_of_thread = nullptr; }
Lane* Lane::of_thread() { return lane_of_thread; }

void Lane::refresh() {
  for (HookedDevice* device : devices_) device->refresh();
}

}  // namespace coppice::hook
