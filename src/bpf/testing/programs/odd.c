// Programs that are each refused, or not, for one thing that the object has: each is read alone.
#include "program.h"

struct {
  NUMBER(type, 14);
  NUMBER(max_entries, 1);
  NUMBER(key_size, 4);
  NUMBER(value_size, 4);
} unknown_kind SEC(".maps");

struct {
  NUMBER(type, kArray);
  NUMBER(max_entries, 1);
  NUMBER(colour, 3);
} unknown_property SEC(".maps");

struct {
  NUMBER(max_entries, 1);
} no_kind SEC(".maps");

struct {
  NUMBER(type, kArray);
  NUMBER(key_size, 8);
  TYPE(key, u32);
} two_key_sizes SEC(".maps");

struct {
  NUMBER(type, kArray);
  NUMBER(map_flags, 1 << 3);
} flags SEC(".maps");

struct {
  NUMBER(type, kArray);
  NUMBER(map_extra, 1);
} extra SEC(".maps");

struct {
  NUMBER(type, kArray);
  void *key;
} key_of_void SEC(".maps");

struct {
  NUMBER(type, kArray);
  int max_entries;
} no_number SEC(".maps");

struct {
  NUMBER(type, kHash);
  __typeof__(int(void *)) *values[];
} values_of_a_hash SEC(".maps");

struct inner {
  NUMBER(type, kArray);
};
struct {
  NUMBER(type, 13);
  __typeof__(struct inner) *values[];
} map_of_maps SEC(".maps");
struct {
  NUMBER(type, kProgramArray);
  __typeof__(struct inner) *values[];
} programs_of_maps SEC(".maps");

int no_description SEC(".maps");

struct bpf_spin_lock {
  u32 value;
};
struct locked {
  u32 number;
  struct bpf_spin_lock lock[1];
};
struct {
  NUMBER(type, kArray);
  NUMBER(max_entries, 1);
  TYPE(key, u32);
  TYPE(value, struct locked);
} with_lock SEC(".maps");

#define USES(map) \
  SEC("odd") long use_##map(void *context) { return (long)map_lookup(&map, context); }
USES(unknown_kind)
USES(unknown_property)
USES(no_kind)
USES(two_key_sizes)
USES(flags)
USES(extra)
USES(key_of_void)
USES(no_number)
USES(values_of_a_hash)
USES(map_of_maps)
USES(programs_of_maps)
USES(no_description)
USES(with_lock)

extern u64 elsewhere;
extern u64 perhaps __attribute__((weak));
extern long far(void *context);
extern long maybe(void *context) __attribute__((weak));

SEC("odd") long take_extern(void *context) { return (long)elsewhere; }
SEC("odd") long call_extern(void *context) { return far(context); }
SEC("odd") long take_weak(void *context) { return &perhaps == 0 ? 5 : 6; }
SEC("odd") long call_weak(u64 *context) { return context[0] == 0 ? 7 : maybe(context); }

const char *const table[] = {"one", "two"};
SEC("odd") long use_addresses(u64 *context) { return table[context[0] & 1][0]; }

static u8 large[(1 << 20) + 8];
SEC("odd") long use_large(u64 *context) { return large[context[0] & 0xffff]++; }

u64 other_place SEC(".strange") = 1;
SEC("odd") long use_strange(void *context) { return (long)other_place++; }

// The host has two of that name, and they disagree about the second.
struct twins {
  u32 first;
  u32 second;
} __attribute__((preserve_access_index));
SEC("odd") long use_twins(struct twins *twins) { return twins->second; }
SEC("odd") long twins_exist(struct twins *twins) {
  return __builtin_preserve_field_info(twins->second, 2);
}
