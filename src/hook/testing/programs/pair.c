// Two programs that belong together: each request is marked with the version of the first that saw
// it, and the second counts requests that were marked by another version, or not at all.
#include <coppice/bpf/hooks.h>

struct mark {
  __u64 request;
  __u64 version;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 131072);
  __uint(pinning, 1);
  __type(key, __u32);
  __type(value, struct mark);
} marks SEC(".maps");

enum { SAME = 0, OTHER = 1, NONE = 2, OUTCOMES = 3 };
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, OUTCOMES);
  __uint(pinning, 1);
  __type(key, __u32);
  __type(value, __u64);
} outcomes SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} version SEC(".maps");

// Lanes number requests in blocks of 2^20; of eight blocks the last 16384 requests have a place.
static struct mark* mark_of(__u64 request) {
  __u32 at = (request >> 20 & 7) << 14 | (request & 16383);
  return bpf_map_lookup_elem(&marks, &at);
}

SEC("volume.submit")
int begin(struct coppice_submit* request) {
  __u32 zero = 0;
  __u64* own = bpf_map_lookup_elem(&version, &zero);
  struct mark* mark = mark_of(request->request);
  if (!own || !mark) return COPPICE_PASS;
  mark->request = request->request;
  mark->version = *own;
  return COPPICE_PASS;
}

SEC("volume.complete")
int end(struct coppice_complete* request) {
  __u32 zero = 0;
  __u64* own = bpf_map_lookup_elem(&version, &zero);
  struct mark* mark = mark_of(request->request);
  if (!own || !mark) return 0;
  __u32 outcome = mark->request != request->request ? NONE : mark->version == *own ? SAME : OTHER;
  __u64* count = bpf_map_lookup_elem(&outcomes, &outcome);
  if (count) ++*count;
  return 0;
}
