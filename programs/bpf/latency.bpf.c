// latency: how long requests take, as a histogram for each volume and operation.
//
//   coppice link attach tank latency --pin latency
//   coppice map dump latencies
//
// It has no settings. Bucket n of a histogram counts the requests that took from 2^n nanoseconds up
// to twice that; the last one also counts those that took longer. Each thread of the daemon has its
// own, so counting needs no lock: sum them up.
#include <coppice/bpf/hooks.h>

#define BUCKETS 40  // Up to nine minutes.

struct latency_key {
  __u64 volume;
  __u32 operation;  // One of coppice_operation.
  __u32 reserved;
};

struct latency {
  __u64 requests;
  __u64 errors;
  __u64 total_ns;
  __u64 log2_ns[BUCKETS];
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 1024);
  __type(key, struct latency_key);
  __type(value, struct latency);
} latencies SEC(".maps");

__u64 uncounted;  // Requests of volumes that the map has no room for.

static __u32 log2_of(__u64 value) {
  __u32 log = 0;
  if (value >> 32) value >>= 32, log += 32;
  if (value >> 16) value >>= 16, log += 16;
  if (value >> 8) value >>= 8, log += 8;
  if (value >> 4) value >>= 4, log += 4;
  if (value >> 2) value >>= 2, log += 2;
  return log + (value >> 1 != 0);
}

SEC("volume.complete")
int latency(struct coppice_complete* request) {
  const struct latency_key key = {.volume = request->volume, .operation = request->operation};
  struct latency* found = bpf_map_lookup_elem(&latencies, &key);
  if (!found) {
    const struct latency fresh = {};
    bpf_map_update_elem(&latencies, &key, &fresh, BPF_NOEXIST);
    found = bpf_map_lookup_elem(&latencies, &key);
    if (!found) {
      __sync_fetch_and_add(&uncounted, 1);
      return 0;
    }
  }
  const __u32 bucket = log2_of(request->latency_ns);
  found->requests += 1;
  found->errors += request->error != 0;
  found->total_ns += request->latency_ns;
  found->log2_ns[bucket < BUCKETS ? bucket : BUCKETS - 1] += 1;
  return 0;
}

char LICENSE[] SEC("license") = "Apache-2.0";
