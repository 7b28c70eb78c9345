// What engines of eBPF programs are measured with: the same C for gcc, clang, and clang's eBPF
// target. Natively PREFIX tells the compilers' functions and data apart.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#ifdef __bpf__
#define NAME(name) name
#define PROGRAM(name) __attribute__((section("xdp"), used)) long name(void* context)
#else
#define NAME(name) JOIN(PREFIX, name)
#define PROGRAM(name) long NAME(name)(void* context)
#endif

struct data {
  u64 seed;
  u64 result;
  u32 words[1024];
};
struct data NAME(data);
#define DATA NAME(data)

PROGRAM(empty) { return 0; }

PROGRAM(xorshift) {
  u64 x = DATA.seed;
  for (int i = 0; i < 1000; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  DATA.result = x;
  return 0;
}

PROGRAM(fnv) {
  u64 hash = 14695981039346656037ULL;
  const u8* bytes = (const u8*)DATA.words;
  for (u32 i = 0; i < sizeof DATA.words; i++) hash = (hash ^ bytes[i]) * 1099511628211ULL;
  DATA.result = hash;
  return 0;
}

// A loop that a compiler can vectorise.
PROGRAM(vector) {
  u32 sum = 0;
  for (u32 i = 0; i < 1024; i++) sum += (DATA.words[i] >> 3) ^ DATA.words[i];
  DATA.result = sum;
  return 0;
}

// Records of a length (u16), a kind (u16) and so many bytes as the length says.
PROGRAM(parse) {
  const u8* bytes = (const u8*)DATA.words;
  u64 at = 0, found = 0;
  for (int i = 0; i < 400; i++) {
    if (at > sizeof DATA.words - 8) break;
    const u16 length = *(const u16*)(bytes + at);
    const u16 kind = *(const u16*)(bytes + at + 2);
    if (kind == 3) found += *(const u32*)(bytes + at + 4);
    at += length & 31;
  }
  DATA.result = found;
  return 0;
}

#ifdef __bpf__

#define NUMBER(name, value) int(*name)[value]
#define TYPE(name, type) __typeof__(type)* name
#define MAP __attribute__((section(".maps"), used))

enum { kOperations = 256 };  // In one run of each of the programs below.

struct {
  NUMBER(type, 2);
  NUMBER(max_entries, 1024);
  TYPE(key, u32);
  TYPE(value, u64);
} array MAP;

struct {
  NUMBER(type, 1);
  NUMBER(max_entries, 1 << 20);
  TYPE(key, u64);
  TYPE(value, u64);
} hash MAP;

struct {
  NUMBER(type, 27);
  NUMBER(max_entries, 1 << 20);
} ring MAP;

static void* (*const map_lookup)(void* map, const void* key) = (void*)1;
static long (*const map_update)(void* map, const void* key, const void* value,
                                u64 flags) = (void*)2;
static void* (*const ring_reserve)(void* ring, u64 size, u64 flags) = (void*)131;
static void (*const ring_submit)(void* record, u64 flags) = (void*)132;

// Keys spread over all that there are; no more than 1024 of them, so that they stay in cache.
static __attribute__((always_inline)) u64 key_of(u32 i) { return (u64)(i * 2654435761u >> 22) << 10; }

PROGRAM(array_lookup) {
  for (u32 i = 0; i < kOperations; i++) {
    u32 key = (i * 2654435761u) >> 22;
    u64* value = map_lookup(&array, &key);
    if (value) *value += 1;
  }
  return 0;
}

PROGRAM(hash_lookup) {
  for (u32 i = 0; i < kOperations; i++) {
    u64 key = key_of(i);
    u64* value = map_lookup(&hash, &key);
    if (value) *value += 1;
  }
  return 0;
}

PROGRAM(hash_update) {
  for (u32 i = 0; i < kOperations; i++) {
    u64 key = key_of(i), value = i;
    map_update(&hash, &key, &value, 0);
  }
  return 0;
}

PROGRAM(ring_record) {
  for (u32 i = 0; i < kOperations; i++) {
    u64* record = ring_reserve(&ring, 16, 0);
    if (!record) continue;
    record[0] = i;
    record[1] = i;
    ring_submit(record, 0);
  }
  return 0;
}

char license_text[] __attribute__((section("license"), used)) = "GPL";

#endif
