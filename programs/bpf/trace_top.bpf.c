// trace_top: what each client does to each volume, counted.
//
//   coppice trace top
//
// It has no settings. Each thread of the daemon counts in slots of its own: sum them up.
#include <coppice/bpf/views.h>

struct top_key {
  __u64 pool;
  __u64 volume;
  __u64 client;
};

struct top {
  __u64 reads;
  __u64 writes;  // Zeroes and discards among them.
  __u64 flushes;
  __u64 bytes_read;
  __u64 bytes_written;
  __u64 latency_ns;  // Of all of them together.
  __u64 errors;
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 4096);
  __type(key, struct top_key);
  __type(value, struct top);
} tops SEC(".maps");

__u64 uncounted;  // Requests that the map had no room for.

SEC("tracepoint/io_complete")
int top(struct coppice_io_complete* request) {
  const struct top_key key = {
      .pool = request->pool, .volume = request->volume, .client = request->client};
  struct top* found = bpf_map_lookup_elem(&tops, &key);
  if (!found) {
    const struct top fresh = {};
    bpf_map_update_elem(&tops, &key, &fresh, BPF_NOEXIST);
    found = bpf_map_lookup_elem(&tops, &key);
    if (!found) {
      __sync_fetch_and_add(&uncounted, 1);
      return 0;
    }
  }
  const __u32 operation = request->operation;
  const __u64 length = request->length;
  if (operation == COPPICE_READ) {
    found->reads += 1;
    found->bytes_read += length;
  } else if (operation == COPPICE_FLUSH) {
    found->flushes += 1;
  } else {
    found->writes += 1;
    found->bytes_written += length;
  }
  found->latency_ns += request->latency_ns;
  found->errors += request->error != 0;
  return 0;
}

char LICENSE[] SEC("license") = "Apache-2.0";
