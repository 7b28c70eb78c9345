// Variables that are set, and a function that others replace.
#include <coppice/bpf/hooks.h>

const volatile __u64 length_max = 4096;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} asked SEC(".maps");

// 1: the request is denied.
__weak __noinline int policy(__u64 operation, __u64 length) {
  return operation == COPPICE_WRITE && length > length_max;
}

SEC("volume.submit")
int guard(struct coppice_submit* request) {
  __u32 zero = 0;
  __u64* count = bpf_map_lookup_elem(&asked, &zero);
  if (count) ++*count;
  return policy(request->operation, request->length) == 1 ? COPPICE_DENY : COPPICE_PASS;
}
