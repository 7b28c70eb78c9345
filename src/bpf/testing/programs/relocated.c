// Every kind of CO-RE relocation, against what this file believes of the host; testing/programs/
// host.c is what the host is like.
#include "program.h"

#define CORE __attribute__((preserve_access_index))

enum field_question { byte_offset, byte_size, exists, is_signed, left_shift, right_shift };
#define FIELD(field, question) __builtin_preserve_field_info(field, question)
#define TYPE_ID_LOCAL(type) __builtin_btf_type_id(*(__typeof__(type) *)0, 0)
#define TYPE_ID_HOST(type) __builtin_btf_type_id(*(__typeof__(type) *)0, 1)
#define TYPE_EXISTS(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, 0)
#define TYPE_SIZE(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, 1)
#define TYPE_MATCHES(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, 2)
#define ENUM_EXISTS(type, value) __builtin_preserve_enum_value(*(type *)value, 0)
#define ENUM_VALUE(type, value) __builtin_preserve_enum_value(*(type *)value, 1)

struct place {
  u32 x, y;
} CORE;

struct request {
  u64 offset;
  u32 length;
  u16 narrow;
  int sign;
  struct place from[4];
  union {
    u64 tag;
    struct place tagged;
  };
  struct {
    u32 low : 3, middle : 7;
    int below : 5;
  } flags;
  struct request *next;
  u64 gone;
  u8 name[0];
} CORE;

// The host has both members under one name, in versions of its own.
struct volume___old {
  u32 blocks;
} CORE;
struct volume___new {
  u64 bytes;
} CORE;

struct missing {
  u64 field;
} CORE;

struct pair {
  u32 first;
  u32 second;
} CORE;

enum state { kIdle = 1, kBusy = 2, kGone = 3 };
enum wide { kWide = 0x100000000ull };

typedef u64 (*visit)(struct place *at, u32 count);
typedef struct {
  u32 inner;
} anonymous_t;

SEC("core") long read_fields(struct request *request) {
  return (long)(request->offset + request->length + request->narrow + request->from[2].y +
                request->tag);
}

SEC("core") long write_fields(struct request *request) {
  request->length = (u32)request->offset;
  return 0;
}

SEC("core") long write_wider(struct request *request) {
  request->narrow = (u16)request->offset;
  return 0;
}

SEC("core") long follow(struct request *request) { return request->next->sign; }

SEC("core") long second_element(struct request *request) { return request[1].length; }

SEC("core") long flexible(struct request *request) { return FIELD(request->name[5], byte_offset); }

SEC("core") long sizes(struct request *request) {
  return FIELD(request->length, byte_size) * 1000000 + FIELD(request->from, byte_size) * 1000 +
         FIELD(request->sign, is_signed) * 10 + FIELD(request->length, is_signed);
}

SEC("core") long fields_exist(struct request *request) {
  return FIELD(request->gone, exists) * 100 + FIELD(request->tagged.y, exists) * 10 +
         FIELD(request->sign, exists);
}

// As bpf_core_read_bitfield of the kernel's headers does it.
SEC("core") long bit_fields(struct request *request) {
#define BITS(field)                                                          \
  ({                                                                         \
    const void *at = (const void *)request + FIELD(request->field, byte_offset); \
    u64 value = 0;                                                           \
    switch (FIELD(request->field, byte_size)) {                              \
      case 1: value = *(const u8 *)at; break;                                \
      case 2: value = *(const u16 *)at; break;                               \
      case 4: value = *(const u32 *)at; break;                               \
      case 8: value = *(const u64 *)at; break;                               \
    }                                                                        \
    value <<= FIELD(request->field, left_shift);                             \
    if (FIELD(request->field, is_signed))                                    \
      value = (u64)((i64)value >> FIELD(request->field, right_shift));       \
    else                                                                     \
      value >>= FIELD(request->field, right_shift);                          \
    (i64) value;                                                             \
  })
  return BITS(flags.low) * 10000 + BITS(flags.middle) * 100 + BITS(flags.below);
}

SEC("core") long either(void *volume) {
  struct volume___old *old = volume;
  struct volume___new *new = volume;
  if (FIELD(old->blocks, exists)) return (long)old->blocks * 4096;
  return (long)new->bytes;
}

SEC("core") long unguarded(struct missing *missing) { return (long)missing->field; }

SEC("core") long sign_lost(struct pair *pair) { return pair->second; }

SEC("core") long types(void *context) {
  return TYPE_EXISTS(struct request) * 1 + TYPE_EXISTS(struct missing) * 2 +
         TYPE_EXISTS(visit) * 4 + TYPE_EXISTS(anonymous_t) * 8 + TYPE_MATCHES(struct place) * 16 +
         TYPE_MATCHES(struct pair) * 32 + TYPE_MATCHES(enum state) * 64 +
         TYPE_SIZE(struct place) * 1000 + TYPE_SIZE(struct missing) * 100000;
}

SEC("core") long own_id(void *context) { return TYPE_ID_LOCAL(struct place); }
SEC("core") long host_id(void *context) { return TYPE_ID_HOST(struct place); }

SEC("core") long enumerators(void *context) {
  return ENUM_VALUE(enum state, kBusy) + ENUM_EXISTS(enum state, kIdle) * 100 +
         ENUM_EXISTS(enum state, kGone) * 1000;
}
SEC("core") u64 wide_enumerator(void *context) { return ENUM_VALUE(enum wide, kWide); }
SEC("core") long missing_enumerator(void *context) { return ENUM_VALUE(enum state, kGone); }

char license_[] SEC("license") = "GPL";
