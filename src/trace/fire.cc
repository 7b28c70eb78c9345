#include "trace/fire.h"

#include "base/check.h"

// A probe's semaphore is the switch of its tracepoint.
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
extern "C" {
#define COPPICE_SEMAPHORE(name, ...) extern const coppice::u32 coppice_##name##_semaphore;
COPPICE_STABLE_POINTS(COPPICE_SEMAPHORE)
COPPICE_INTERNAL_POINTS(COPPICE_SEMAPHORE)
#undef COPPICE_SEMAPHORE
}

namespace coppice::trace {
namespace {

std::atomic<Sink*> sink{nullptr};

void tell(Point point, const void* view, size_t bytes) {
  if (programs(point) == 0) return;  // It is on for the kernel.
  if (Sink* to = sink.load(std::memory_order_acquire)) to->fire(point, view, bytes);
}

}  // namespace

void set_sink(Sink* to) { sink.store(to, std::memory_order_release); }

// Of every probe the first argument is the address of the view; those that follow spare tools that
// cannot read memory the looking up.
#define COPPICE_VIEW(name, count, ...)                                                             \
  void fire(const coppice_##name& view) {                                                          \
    STAP_PROBE##count(coppice, name, &view __VA_OPT__(, ) __VA_ARGS__);                            \
    tell(Point::name, &view, sizeof view);                                                         \
  }
COPPICE_VIEW(io_submit, 7, view.request, view.pool, view.volume, view.operation, view.offset,
             view.length)
COPPICE_VIEW(io_complete, 9, view.request, view.pool, view.volume, view.operation, view.offset,
             view.length, view.latency_ns, view.error)
COPPICE_VIEW(flush, 6, view.request, view.pool, view.volume, view.latency_ns, view.error)
COPPICE_VIEW(discard, 8, view.request, view.pool, view.volume, view.offset, view.length,
             view.latency_ns, view.error)
COPPICE_VIEW(txg_open, 3, view.pool, view.txg)
COPPICE_VIEW(txg_close, 5, view.pool, view.txg, view.open_ns, view.dirty_bytes)
COPPICE_VIEW(txg_sync, 6, view.pool, view.txg, view.latency_ns, view.bytes, view.error)
COPPICE_VIEW(snapshot, 5, view.pool, view.volume, view.snapshot, &view.name[0])
COPPICE_VIEW(clone, 5, view.pool, view.volume, view.snapshot, &view.name[0])
COPPICE_VIEW(destroy, 5, view.pool, view.volume, view.snapshot, &view.name[0])
COPPICE_VIEW(export_connect, 6, view.pool, view.volume, view.client, view.error, &view.name[0])
COPPICE_VIEW(export_disconnect, 5, view.pool, view.volume, view.client, view.connected_ns)
COPPICE_VIEW(link_change, 6, view.pool, view.volume, view.link, view.change, &view.hook[0])
COPPICE_VIEW(program_begin, 4, view.program, &view.name[0], view.pool)
COPPICE_VIEW(program_verb, 5, view.program, &view.verb[0], view.error, view.latency_ns)
COPPICE_VIEW(program_end, 5, view.program, view.error, view.verbs, view.instructions)
COPPICE_VIEW(cache_miss, 5, view.pool, view.volume, view.offset, view.length)
COPPICE_VIEW(disk_submit, 6, view.request, view.pool, view.operation, view.offset, view.length)
COPPICE_VIEW(disk_complete, 8, view.request, view.pool, view.operation, view.offset, view.length,
             view.latency_ns, view.error)
COPPICE_VIEW(error, 7, view.pool, view.volume, view.error, view.kind, view.disk_offset,
             &view.message[0])
#undef COPPICE_VIEW

namespace {

#define COPPICE_ARGUMENTS_2 values[0], values[1]
#define COPPICE_ARGUMENTS_3 COPPICE_ARGUMENTS_2, values[2]
#define COPPICE_ARGUMENTS_4 COPPICE_ARGUMENTS_3, values[3]
#define COPPICE_ARGUMENTS_5 COPPICE_ARGUMENTS_4, values[4]
#define COPPICE_ARGUMENTS_6 COPPICE_ARGUMENTS_5, values[5]
#define COPPICE_CALL(macro, ...) macro(__VA_ARGS__)
#define COPPICE_INTERNAL(name, count, arguments, meaning)                                          \
  void probe_##name(const u64* values) {                                                           \
    COPPICE_CALL(STAP_PROBE##count, coppice, name, COPPICE_ARGUMENTS_##count);                     \
  }
COPPICE_INTERNAL_POINTS(COPPICE_INTERNAL)
#undef COPPICE_INTERNAL

constexpr void (*kProbes[])(const u64*) = {
#define COPPICE_INTERNAL(name, ...) probe_##name,
    COPPICE_INTERNAL_POINTS(COPPICE_INTERNAL)
#undef COPPICE_INTERNAL
};

}  // namespace

void fire(Point point, const Arguments& arguments) {
  const PointInfo& about = info(point);
  CHECK(about.tier == Tier::internal);
  kProbes[static_cast<size_t>(point) - kStablePoints](arguments.values());
  tell(point, arguments.values(), about.bytes);
}

}  // namespace coppice::trace
