// Tracepoints, and a timer. `hits` counts runs: by number of the program.
#include <coppice/bpf/views.h>

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u64);
} hits SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, struct coppice_timer);
} ticks SEC(".maps");

static void hit(__u32 number, __u64 by) {
  __u64* count = bpf_map_lookup_elem(&hits, &number);
  if (count) *count += by;
}

SEC("tracepoint/io_submit")
int submitted(struct coppice_io_submit* view) {
  hit(0, 1);
  return 0;
}

// Its first argument may be asked for by number.
SEC("tracepoint/node_read")
int node_read(__u64* arguments) {
  hit(1, arguments[1]);
  return 0;
}

SEC("tracepoint/io_submit/loud")
int loud(struct coppice_io_submit* view) {
  hit(2, 1);
  bpf_printk("request %llu", view->request);
  return 0;
}

SEC("timer")
int tick(struct coppice_timer* timer) {
  __u32 at = timer->count;
  struct coppice_timer* seen = bpf_map_lookup_elem(&ticks, &at);
  if (!seen) return 0;
  seen->time_ns = timer->time_ns;
  seen->wall_ns = timer->wall_ns;
  seen->count = timer->count;
  seen->missed = timer->missed;
  seen->interval_ns = timer->interval_ns;
  return 0;
}
