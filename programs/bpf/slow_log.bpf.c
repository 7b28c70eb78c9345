// slow_log: puts requests that took long into a ring buffer.
//
//   coppice link attach tank slow_log --set slower_ms=50 --pin slow
//   coppice map watch slow
//
// Settings:
//   slower_ms  what took at least so many milliseconds (10)
#include <coppice/bpf/hooks.h>

const volatile __u64 slower_ms = 10;

#define NS_PER_MS 1000000ull

struct slow_record {
  __u64 request;
  __u64 time_ns;  // When it was done.
  __u64 latency_ns;
  __u64 pool;
  __u64 volume;
  __u64 client;
  __u64 offset;
  __u64 length;
  __u32 operation;  // One of coppice_operation.
  __u32 flags;      // Some of coppice_flags.
  __s32 error;      // 0, or its errno.
  __u32 verdict;    // One of coppice_verdict.
};

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 << 10);
} slow SEC(".maps");

__u64 dropped;                         // Because the ring was full.
struct slow_record* slow_record_type;  // Puts the structure into the object's BTF.

SEC("volume.complete")
int slow_log(struct coppice_complete* request) {
  if (request->latency_ns < slower_ms * NS_PER_MS) return 0;
  struct slow_record* record = bpf_ringbuf_reserve(&slow, sizeof *record, 0);
  if (!record) {
    __sync_fetch_and_add(&dropped, 1);
    return 0;
  }
  record->request = request->request;
  record->time_ns = request->time_ns;
  record->latency_ns = request->latency_ns;
  record->pool = request->pool;
  record->volume = request->volume;
  record->client = request->client;
  record->offset = request->offset;
  record->length = request->length;
  record->operation = request->operation;
  record->flags = request->flags;
  record->error = request->error;
  record->verdict = request->verdict;
  bpf_ringbuf_submit(record, 0);
  return 0;
}

char LICENSE[] SEC("license") = "Apache-2.0";
