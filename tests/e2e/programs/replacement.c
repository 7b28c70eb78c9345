// Functions that may take the place of verdicts.c's choose_mark(), and one that may not.
#include <coppice/bpf/hooks.h>

SEC("freplace/choose_mark")
int other_mark(__u32 operation) { return operation == COPPICE_READ ? 'o' : 0; }

SEC("freplace/choose_mark")
int wrong_mark(__u64 operation, __u64 more) { return operation == more ? 'w' : 0; }

char LICENSE[] SEC("license") = "Apache-2.0";
