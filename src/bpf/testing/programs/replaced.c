// A program whose global functions other programs replace, and variables that are set before it is
// verified.
#include "program.h"

#define WEAK __attribute__((weak)) NOINLINE

struct pair {
  u32 first, second;
};

struct {
  NUMBER(type, kArray);
  NUMBER(max_entries, 2);
  TYPE(key, u32);
  TYPE(value, u64);
} seen SEC(".maps");

enum mode { SLOW = -1, NORMAL, FAST = 7 };

const volatile u64 limit = 100;
const volatile i64 offset = 0;
const volatile u8 small = 1;
const volatile _Bool wanted = 0;
const volatile enum mode mode = NORMAL;
const volatile u32 table[4] = {1, 2, 3, 4};
const volatile char name[8] = "none";
const volatile struct pair pair = {1, 2};
const volatile u32 rounds = 2;
u32 counter = 5;   // .data
u64 empty;         // .bss

static NOINLINE u64 bump(u32 key) {
  u64 *value = map_lookup(&seen, &key);
  if (!value) return 0;
  *value += 1;
  return *value;
}

WEAK int decide(u32 size, u64 most) {
  bump(0);
  return size > most;
}
WEAK int weigh(struct pair *both) { return both ? (int)both->first : -1; }

static NOINLINE int quiet(u32 size) { return (int)(size ^ counter); }

SEC("probe")
int filter(u64 *context) {
  struct pair both = {.first = (u32)context[1], .second = 3};
  return decide((u32)context[0], limit) * 1000 + weigh(&both) * 10 + (quiet((u32)context[0]) & 1);
}

static long one_round(u32 index, void *context) {
  u64 *sum = context;
  *sum += index + table[index & 3];
  return 0;
}

// How long it may run depends on a constant.
SEC("probe")
int repeat(u64 *context) {
  u64 sum = wanted ? 1000 : 0;
  loop(rounds, one_round, &sum, 0);
  return (int)(sum + small + (u64)offset + (u64)(i64)mode + (u8)name[0] + pair.first + empty);
}

char license_[] SEC("license") = "Dual BSD/GPL";
