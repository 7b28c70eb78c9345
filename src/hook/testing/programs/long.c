// Runs for longer than a request may be held up.
#include <coppice/bpf/hooks.h>

static long turn(__u32 index, __u64* sum) {
  *sum += index * index;
  return 0;
}

SEC("volume.submit")
int slow(struct coppice_submit* request) {
  __u64 sum = request->offset;
  bpf_loop(1000000, turn, &sum, 0);
  return sum == 1 ? COPPICE_DENY : COPPICE_PASS;
}
