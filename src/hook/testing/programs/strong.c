// Stands in for a function of weak.c: nobody reads more than it was set to.
#include <coppice/bpf/hooks.h>

const volatile __u64 read_max = 4096;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} refused SEC(".maps");

SEC("freplace/policy")
int strong(__u64 operation, __u64 length) {
  __u32 zero = 0;
  if (operation != COPPICE_READ || length <= read_max) return 0;
  __u64* count = bpf_map_lookup_elem(&refused, &zero);
  if (count) ++*count;
  return 1;
}
