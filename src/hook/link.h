// hook/link.h — Link: a program joined to a hook point.
//
// Theory. A Link is what people see and hold: it stays the same while its program is replaced or
// its place changes, and so do its counters. What runs is its Bound: program and options as they
// were when a generation was made. Bounds never change; a change makes a new one.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "blk/device.h"
#include "hook/instance.h"

namespace coppice::hook {

using LinkId = u64;  // 0 is none.

inline constexpr size_t kLinksPerPointMax = 64;
inline constexpr size_t kLinksMax = 100'000;
inline constexpr size_t kRedirectsMax = 8;

// What a hook belongs to: a dataset of a pool. Both 0: the daemon.
struct Target {
  u64 pool = 0;     // Its guid.
  u64 dataset = 0;  // Its id.
  friend auto operator<=>(const Target&, const Target&) = default;
};

struct Point {
  Target target;
  const PointType* type = nullptr;
  friend auto operator<=>(const Point&, const Point&) = default;
};

enum class ErrorPolicy : u8 { pass, deny };

// A volume that requests may be sent to; whoever made it keeps it usable for as long as it lives.
class Redirect {
 public:
  virtual ~Redirect() = default;
  virtual blk::Device& device() = 0;
};

struct Options {
  Results goes_on = 0;  // 0: the hook's default.
  ErrorPolicy on_error = ErrorPolicy::pass;
  std::vector<u64> redirects = {};  // Dataset ids of the same pool, for people and the catalog.
  u64 interval_ns = 0;              // Of a timer.
  LinkId replaces = 0;              // The link whose function this program replaces.
  std::string function = {};        // That function.
};

// Each thread that runs programs counts in a slot of its own.
struct Counts {
  u64 runs = 0, run_ns = 0, drops = 0, errors = 0, denials = 0;
};
class Counters {
 public:
  struct alignas(64) Slot {
    std::atomic<u64> runs{0}, timed_runs{0}, timed_ns{0}, drops{0}, errors{0}, denials{0};
  };
  explicit Counters(u32 slots) : count_(slots), slots_(std::make_unique<Slot[]>(slots)) {}
  Slot& slot(u32 number) { return slots_[number]; }
  Counts sum() const;
  // By one; only the slot's own thread writes it.
  static void count(std::atomic<u64>& counter, u64 by = 1) {
    counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }

 private:
  const u32 count_;
  std::unique_ptr<Slot[]> slots_;
};

// What a generation runs.
struct Bound {
  const bpf::Native* native = nullptr;  // Null: interpreted.
  const bpf::Code* code = nullptr;
  Results goes_on = kAllResults;
  ErrorPolicy on_error = ErrorPolicy::pass;
  Counters* counters = nullptr;
  LinkId link = 0;
  std::vector<Redirect*> redirects = {};
  // What keeps the above.
  std::shared_ptr<const Instance> instance = {};
  std::shared_ptr<Counters> kept_counters = {};
  std::vector<std::shared_ptr<Redirect>> kept_redirects = {};
};

enum class LinkState : u8 { attached, detached, broken };

// One version of a link; a change makes another one of the same id.
struct Link {
  LinkId id = 0;
  u64 pin = 0;  // Its number in the pool's catalog; 0: it is not pinned, and has no name.
  std::string name;
  Point point;
  std::shared_ptr<const Instance> instance;  // Null: broken.
  std::string program;
  Options options;
  std::string author;
  u64 created_s = 0;
  LinkState state = LinkState::attached;
  std::string problem;
  std::vector<std::shared_ptr<Redirect>> redirects;
  std::shared_ptr<Counters> counters;
  std::shared_ptr<const Bound> bound;  // Null: it does not run by itself.
  // While another link replaces one of its functions: the program made of both.
  std::shared_ptr<const Instance> patched;

  bool pinned() const { return pin != 0; }
};

// A link in a list; what is asked of thousands in a row is at hand.
struct Listed : std::shared_ptr<const Link> {
  Listed(std::shared_ptr<const Link> link)
      : shared_ptr(std::move(link)), id(get()->id), bound(get()->bound.get()) {}
  LinkId id;
  const Bound* bound;
};
using LinkList = std::vector<Listed>;

// Of what the link says. Null: it is broken, or replaces a function of another's.
std::shared_ptr<const Bound> bind(const Link& link);

}  // namespace coppice::hook
