// trace_events: every event of the tracepoints it is attached to, into one ring.
//
//   coppice trace stream io_complete,error
//
// One program for each tracepoint, named like it; `coppice trace` attaches those that are asked for.
// What finds no room is counted.
#include <coppice/bpf/hooks.h>
#include <coppice/bpf/views.h>

#include "../../src/trace/points.h"

// Which tracepoint an event is of; the numbers are this file's own.
enum trace_point {
#define POINT(name, ...) TRACE_##name,
  COPPICE_STABLE_POINTS(POINT) COPPICE_INTERNAL_POINTS(POINT)
#undef POINT
};

// The view, or the arguments of an internal tracepoint, follows.
struct trace_event {
  enum trace_point point;
  __u32 cpu;  // The thread of the daemon that it happened on.
  __u64 time_ns;
};

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 22);
} events SEC(".maps");

__u64 lost;
struct trace_event* unused_event;  // So that its type is told.

#define TELL(of, bytes)                                             \
  struct {                                                             \
    struct trace_event event;                                          \
    char view[bytes];                                                  \
  }* record = bpf_ringbuf_reserve(&events, sizeof *record, 0);         \
  if (!record) {                                                       \
    __sync_fetch_and_add(&lost, 1);                                    \
    return 0;                                                          \
  }                                                                    \
  record->event.point = TRACE_##of;                                 \
  record->event.cpu = bpf_get_smp_processor_id();                      \
  record->event.time_ns = bpf_ktime_get_ns();                          \
  coppice_view(context, record->view, bytes);                          \
  bpf_ringbuf_submit(record, 0);                                       \
  return 0;

#define STABLE(name)              \
  SEC("tracepoint/" #name)        \
  int name(void* context) {       \
    TELL(name, sizeof(struct coppice_##name)) \
  }
COPPICE_STABLE_POINTS(STABLE)

#define ARGUMENT_BYTES 48
#define INTERNAL(name, count, arguments, meaning) \
  SEC("tracepoint/" #name)                        \
  int name(void* context) {                       \
    TELL(name, ARGUMENT_BYTES)                    \
  }
COPPICE_INTERNAL_POINTS(INTERNAL)

char LICENSE[] SEC("license") = "Apache-2.0";
