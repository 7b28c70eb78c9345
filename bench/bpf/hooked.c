// Programs on hooks that do as little as they can, and one that records what it sees.
#include <coppice/bpf/views.h>

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 22);
} events SEC(".maps");

struct event {
  __u64 request;
  __u64 offset;
  __u32 length;
  __u32 operation;
};

SEC("volume.submit")
int submit(struct coppice_submit* request) { return COPPICE_PASS; }

SEC("volume.complete")
int complete(struct coppice_complete* request) { return 0; }

SEC("tracepoint/io_submit")
int seen(struct coppice_io_submit* view) { return 0; }

// 1: there was no room.
SEC("tracepoint/io_submit/record")
int record(struct coppice_io_submit* view) {
  struct event* event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
  if (!event) return 1;
  event->request = view->request;
  event->offset = view->offset;
  event->length = view->length;
  event->operation = view->operation;
  bpf_ringbuf_submit(event, 0);
  return 0;
}
