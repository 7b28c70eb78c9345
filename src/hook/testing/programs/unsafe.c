// Is refused: what it looks up may not be there.
#include <coppice/bpf/hooks.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u64);
} counts SEC(".maps");

SEC("volume.submit")
int careless(struct coppice_submit* request) {
  __u32 key = request->operation;
  __u64* count = bpf_map_lookup_elem(&counts, &key);
  ++*count;
  return COPPICE_PASS;
}
