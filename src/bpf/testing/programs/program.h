// bpf/testing/programs/program.h — what the test programs, which are C for clang's eBPF target,
// need of the outside: words of map definitions, a few helpers by number.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define NUMBER(name, value) int(*name)[value]
#define TYPE(name, type) __typeof__(type)* name

enum {
  kHash = 1,
  kArray = 2,
  kProgramArray = 3,
  kLruHash = 9,
  kRingBuffer = 27,
};

static void* (*const map_lookup)(void* map, const void* key) = (void*)1;
static long (*const map_update)(void* map, const void* key, const void* value,
                                u64 flags) = (void*)2;
static long (*const tail_call)(void* context, void* map, u32 index) = (void*)12;
static long (*const ring_output)(void* ring, void* data, u64 size, u64 flags) = (void*)130;
static long (*const loop)(u32 count, void* function, void* context, u64 flags) = (void*)181;
static long (*const strncmp_)(const char* text, u32 size, const char* constant) = (void*)182;
