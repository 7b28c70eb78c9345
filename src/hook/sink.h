// hook/sink.h — Sink: runs the programs of tracepoints.
#pragma once

#include "hook/lane.h"

namespace coppice::hook {

class Sink final : public trace::Sink {
 public:
  // On threads that are no lanes nobody is told.
  void fire(trace::Point point, const void* view, size_t bytes) override {
    Lane* lane = Lane::of_thread();
    if (lane == nullptr) return;
    const Generation* current = lane->dispatch().current.load(std::memory_order_acquire);
    if (current == nullptr) return;
    lane->runner().run_tracepoint(current->chain_of(point),
                                  {static_cast<const std::byte*>(view), bytes});
  }
};

}  // namespace coppice::hook
