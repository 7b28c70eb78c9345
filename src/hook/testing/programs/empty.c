// The cheapest programs there are.
#include <coppice/bpf/hooks.h>

SEC("volume.submit")
int submit(struct coppice_submit* request) { return COPPICE_PASS; }

SEC("volume.complete")
int complete(struct coppice_complete* request) { return 0; }
