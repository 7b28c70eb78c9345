// Its section is no hook.
#include <coppice/bpf/hooks.h>

SEC("xdp")
int stray(void* context) { return 0; }
