#include "trace/testing/disabled.h"

#include "trace/fire.h"

namespace coppice::trace {

// Behind calls, so that what is counted is the question alone and not what a function sets up that
// has others to call.
namespace {
volatile u64 work = 0;
[[gnu::noinline]] void tell_of_group() {
  fire(coppice_txg_open{.time_ns = work, .pool = 2, .txg = 3});
}
[[gnu::noinline]] void tell_of_read() { fire(Point::node_read, {work, 1, 2}); }
}  // namespace

[[gnu::aligned(kFunctionBytes), gnu::noinline]] void without() { work = 1; }

[[gnu::aligned(kFunctionBytes), gnu::noinline]] void with_one() {
  if (on(Point::txg_open)) [[unlikely]]
    return tell_of_group();
  work = 2;
}

[[gnu::aligned(kFunctionBytes), gnu::noinline]] void with_two() {
  if (on(Point::txg_open)) [[unlikely]]
    return tell_of_group();
  if (on(Point::node_read)) [[unlikely]]
    return tell_of_read();
  work = 3;
}

}  // namespace coppice::trace
