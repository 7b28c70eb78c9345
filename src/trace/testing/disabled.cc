#include "trace/testing/disabled.h"

#include "trace/fire.h"

namespace coppice::trace {

[[gnu::aligned(kFunctionBytes), gnu::noinline]] u64 without(u64 number) { return number + 1; }

[[gnu::aligned(kFunctionBytes), gnu::noinline]] u64 with_one(u64 number) {
  if (on(Point::txg_open)) [[unlikely]]
    fire(coppice_txg_open{.time_ns = number, .pool = 2, .txg = 3});
  return number + 1;
}

[[gnu::aligned(kFunctionBytes), gnu::noinline]] u64 with_two(u64 number) {
  if (on(Point::txg_open)) [[unlikely]]
    fire(coppice_txg_open{.time_ns = number, .pool = 2, .txg = 3});
  if (on(Point::node_read)) [[unlikely]]
    fire(Point::node_read, {&number, number, 1});
  return number + 1;
}

}  // namespace coppice::trace
