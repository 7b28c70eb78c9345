// Maps of several kinds, global data of every section, subprograms, callbacks, several programs in
// one section. Each program returns a number that its test works out in another way.
#include "program.h"

struct key {
  u32 tenant;
  u32 kind;
};
struct count {
  u64 hits;
  u64 bytes;
};

struct {
  NUMBER(type, kHash);
  NUMBER(max_entries, 64);
  TYPE(key, struct key);
  TYPE(value, struct count);
} counts SEC(".maps");

struct {
  NUMBER(type, kRingBuffer);
  NUMBER(max_entries, 4096);
} events SEC(".maps");

struct {
  NUMBER(type, kArray);
  NUMBER(max_entries, 4);
  NUMBER(map_flags, 1 << 7);  // Programs only read it.
  NUMBER(pinning, 1);
  NUMBER(key_size, 4);
  NUMBER(value_size, 16);
} settings SEC(".maps");

int finish(void *context);
int finish_late(void *context);

struct {
  NUMBER(type, kProgramArray);
  NUMBER(max_entries, 4);
  NUMBER(key_size, 4);
  __typeof__(int(void *)) *values[];
} next SEC(".maps") = {.values = {[1] = (void *)&finish, [3] = (void *)&finish_late}};

u64 calls;                              // .bss
u32 step = 3;                           // .data
static u64 hidden = 40;                 // .data, known to this file only
const volatile u32 limit = 100;         // .rodata
static const volatile u8 weights[8] = {1, 2, 3, 5, 7, 11, 13, 17};
const char greeting[] SEC(".rodata.text") = "hello";
u32 apart SEC(".data.apart") = 9;

static NOINLINE u64 weigh(u64 at) {
  hidden += 1;
  return weights[at & 7];
}

// Global: to be verified from its prototype alone.
NOINLINE u64 scale(u64 value) { return value * limit + weigh(value); }

__attribute__((visibility("hidden"))) NOINLINE u64 scale_twice(u64 value) {
  return scale(scale(value));
}

struct sum {
  u64 total;
};

static long add_one(u32 index, void *context) {
  struct sum *sum = context;
  sum->total += weigh(index);
  return 0;
}

SEC("count")
int count_it(u64 *context) {
  struct key key = {.tenant = (u32)context[0], .kind = 7};
  struct count *found = map_lookup(&counts, &key);
  calls += 1;
  if (!found) {
    struct count fresh = {.hits = 1, .bytes = context[1]};
    map_update(&counts, &key, &fresh, 0);
    return 1;
  }
  found->hits += 1;
  found->bytes += context[1];
  return (int)found->hits;
}

SEC("sums")
int sum_by_loop(void *context) {
  struct sum sum = {0};
  loop(6, add_one, &sum, 0);
  return (int)(sum.total + step + hidden);
}

SEC("sums")
long sum_by_calls(u64 *context) { return (long)(scale_twice(context[0]) + apart); }

// In this section, and called from it: no relocation leads there.
static __attribute__((section("sums"))) NOINLINE u64 near(u64 value) { return value ^ weigh(2); }

SEC("sums")
long sum_near(u64 *context) { return (long)near(context[0]); }

SEC("tail")
int start(void *context) {
  tail_call(context, &next, 1);
  return -1;
}
SEC("tail")
int finish(void *context) { return greeting[1]; }
SEC("tail")
int finish_late(void *context) { return 2; }

SEC("report")
long report_it(u64 *context) {
  u64 record = context[0];
  return ring_output(&events, &record, sizeof record, 0);
}

char license_[] SEC("license") = "Dual BSD/GPL";
u32 version_ SEC("version") = 0x50607;
