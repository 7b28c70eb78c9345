// A map that is shared by name...
#include <coppice/bpf/hooks.h>

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __uint(pinning, 1);
  __type(key, __u32);
  __type(value, __u64);
} common SEC(".maps");

SEC("volume.complete")
int count(struct coppice_complete* request) {
  __u32 at = 0;
  __u64* value = bpf_map_lookup_elem(&common, &at);
  if (value) ++*value;
  return 0;
}
