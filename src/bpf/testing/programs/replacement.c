// Programs that take the place of functions of replaced.c, or do not fit there.
#include "program.h"

struct pair {
  u32 first, second;
};

struct {
  NUMBER(type, kArray);
  NUMBER(max_entries, 4);
  TYPE(key, u32);
  TYPE(value, u64);
} asked SEC(".maps");

const volatile u64 answer = 7;

static NOINLINE u64 note(u32 key) {
  u64 *value = map_lookup(&asked, &key);
  if (!value) return 0;
  *value += 10;
  return *value;
}

SEC("freplace/decide")
int decide_otherwise(u32 size, u64 most) {
  note(3);
  return (int)(answer + (size > most));
}

SEC("freplace/weigh")
int weigh_second(struct pair *both) { return both ? (int)both->second : -2; }

SEC("freplace/decide")
int takes_other_numbers(u64 size, u64 most) { return size > most; }
SEC("freplace/decide")
int takes_one(u32 size) { return (int)size; }
SEC("freplace/decide")
u64 returns_more(u32 size, u64 most) { return size + most; }
SEC("freplace/weigh")
int takes_numbers(u32 *both) { return both ? (int)*both : 0; }
// Goes beyond what it is given: the whole is refused.
SEC("freplace/weigh")
int weigh_beyond(struct pair *both) { return both ? (int)both[1].first : 0; }

char license_[] SEC("license") = "Dual BSD/GPL";
