// trace/testing/recorder.h — a sink that keeps what it is told, for tests of tracepoints.
#pragma once

#include <cstring>
#include <initializer_list>
#include <mutex>
#include <vector>

#include "base/check.h"
#include "trace/fire.h"

namespace coppice::trace {

// Is the sink, and has its points on, as long as it lives.
class Recorder final : public Sink {
 public:
  struct Event {
    Point point;
    std::vector<std::byte> bytes;
  };
  explicit Recorder(std::initializer_list<Point> points) : points_(points) {
    set_sink(this);
    for (const Point each : points_) enable(each, 1);
  }
  Recorder(const Recorder&) = delete;
  ~Recorder() override {
    for (const Point each : points_) enable(each, -1);
    set_sink(nullptr);
  }
  void fire(Point point, const void* view, size_t bytes) override {
    const std::lock_guard lock(mutex_);
    const auto* from = static_cast<const std::byte*>(view);
    events_.push_back({point, {from, from + bytes}});
  }

  std::vector<Event> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    events_.clear();
  }
  // What one point has told, in order: views, or std::array<u64, N> of an internal one.
  template <class View>
  std::vector<View> all(Point point) const {
    std::vector<View> views;
    for (const Event& each : events()) {
      if (each.point != point) continue;
      CHECK(each.bytes.size() == sizeof(View));
      std::memcpy(&views.emplace_back(), each.bytes.data(), sizeof(View));
    }
    return views;
  }

 private:
  const std::vector<Point> points_;
  mutable std::mutex mutex_;
  std::vector<Event> events_;
};

}  // namespace coppice::trace
