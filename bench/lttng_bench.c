/* coppice-lttng-bench: what an event of LTTng-UST costs, with as many arguments as the record that
 * coppice-hook-bench makes of a request. Prints the best nanoseconds of many short rounds; "null":
 * no session has enabled coppice_bench:io_submit. */
#define LTTNG_UST_TRACEPOINT_DEFINE
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#include "lttng_event.inc"

#include <stdio.h>
#include <time.h>

enum { ROUNDS = 200, EVENTS = 20000 };

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(void) {
  if (!lttng_ust_tracepoint_enabled(coppice_bench, io_submit)) {
    puts("null");
    return 0;
  }
  double best = 1e300;
  for (int round = 0; round < ROUNDS; ++round) {
    const double begun = now_ns();
    for (uint64_t i = 0; i < EVENTS; ++i)
      lttng_ust_tracepoint(coppice_bench, io_submit, i, i * 4096, 4096, 1);
    const double taken = (now_ns() - begun) / EVENTS;
    if (taken < best) best = taken;
  }
  printf("%.2f\n", best);
  return 0;
}
