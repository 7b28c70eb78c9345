// trace/point.h — which tracepoints there are, and whether anybody wants to know.
//
// Theory. A tracepoint has a switch of 32 bits: the lower half counts the tools of the kernel that
// attached to its USDT probe (the kernel counts it, up and down, in our memory), the upper half
// counts programs (enable()). While both are 0, `on()` is a load, a test and a branch that is not
// taken, and nothing of the arguments is computed; fire() is out of line.
//
//   if (trace::on(trace::Point::txg_open)) [[unlikely]]
//     trace::fire(coppice_txg_open{.time_ns = now_ns, .pool = guid, .txg = raw(open)});
//   if (trace::on(trace::Point::node_read)) [[unlikely]]
//     trace::fire(trace::Point::node_read, {this, raw(address), blocks});
//
// The switches and the sink are the one global state of Coppice. They must be: the kernel finds a
// switch by its address in the file, once for the process, and a tracepoint that had to be handed
// the object that knows its switch would cost everybody a pointer and a load, who wants it or not.
// They decide nothing but who is told; nothing in Coppice behaves differently for them.
#pragma once

#include <atomic>
#include <concepts>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/types.h"
#include "trace/points.h"

namespace coppice::trace {

enum class Point : u16 {
#define COPPICE_POINT(name, ...) name,
  COPPICE_STABLE_POINTS(COPPICE_POINT) COPPICE_INTERNAL_POINTS(COPPICE_POINT)
#undef COPPICE_POINT
};
#define COPPICE_COUNT(...) +1
inline constexpr size_t kStablePoints = COPPICE_STABLE_POINTS(COPPICE_COUNT);
inline constexpr size_t kPoints = kStablePoints COPPICE_INTERNAL_POINTS(COPPICE_COUNT);
#undef COPPICE_COUNT
inline constexpr size_t kArgumentsMax = 6;

// `internal` is the lower one.
enum class Tier : u8 { internal, stable };

struct PointInfo {
  std::string_view name;
  Tier tier = Tier::internal;
  // "struct coppice_io_submit *view" of a stable one, else as in points.h.
  std::string_view arguments;
  std::string_view meaning;  // One sentence; of stable ones it stands at the view.
  u32 argument_count = 0;    // Of an internal one.
  u32 bytes = 0;             // Of what Sink::fire() is given.
};
std::span<const PointInfo, kPoints> points();
const PointInfo& info(Point point);
std::optional<Point> find_point(std::string_view name);

// Upper half: programs; lower half: the kernel's.
using Switch = std::atomic<u32>;
extern "C" [[gnu::visibility("hidden")]] Switch coppice_trace_switches[kPoints];

inline bool on(Point point) {
  return coppice_trace_switches[static_cast<size_t>(point)].load(std::memory_order_relaxed) != 0;
}
// One more program, or one less, is to be told.
void enable(Point point, int delta);
u32 programs(Point point);

// Who tells the programs. Called on whatever thread a tracepoint lies, at any time between
// enable(point, 1) and long after enable(point, -1): it must not fire tracepoints that it is called
// for, nor wait.
class Sink {
 public:
  virtual ~Sink() = default;
  // `view` is the point's view, or the array of an internal one's arguments; valid during the call.
  virtual void fire(Point point, const void* view, size_t bytes) = 0;
};
// Null by default. Whoever replaces a sink knows by other means when nobody is in it any more.
void set_sink(Sink* sink);

// The arguments of an internal tracepoint.
class Arguments {
 public:
  template <class... T>
    requires(sizeof...(T) <= kArgumentsMax)
  Arguments(const T&... each) : values_{value_of(each)...} {}
  const u64* values() const { return values_; }

 private:
  template <class T>
  static u64 value_of(T* address) {
    return reinterpret_cast<u64>(address);
  }
  template <class T>
    requires(std::integral<T> || std::is_enum_v<T>)
  static u64 value_of(T value) {
    return static_cast<u64>(value);
  }
  u64 values_[kArgumentsMax] = {};
};
void fire(Point point, const Arguments& arguments);  // An internal one.

}  // namespace coppice::trace
