// Says what it was made for.
#include "probe.h"

const char built_for[] SEC("build_id") = "made-for-the-test";
