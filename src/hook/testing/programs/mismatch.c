// Has another prototype than the function of weak.c.
#include <coppice/bpf/hooks.h>

SEC("freplace/policy")
int mismatch(__u32 operation) { return operation == COPPICE_READ; }
