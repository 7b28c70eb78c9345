// coppice/bpf/types.h: what every eBPF program for Coppice needs. It is C for clang's target bpf,
// and C++, as the daemon includes it.
//
// Numbers have the kernel's names, and so have the words of map definitions and the helpers: a
// program reads as one for Linux does. Who prefers libbpf's <bpf/bpf_helpers.h> includes that
// first; what both have is left out here then.
//
//   struct {
//     __uint(type, BPF_MAP_TYPE_HASH);
//     __uint(max_entries, 1024);
//     __type(key, __u64);
//     __type(value, struct count);
//   } counts SEC(".maps");
#pragma once

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;

#ifdef __bpf__
// Marks of a field, which the daemon reads in this header's BTF: what programs may do with it.
#define COPPICE_WRITABLE __attribute__((btf_decl_tag("writable")))
#define COPPICE_PACKET __attribute__((btf_decl_tag("packet")))
#define COPPICE_PACKET_END __attribute__((btf_decl_tag("packet_end")))
// Between these two stand structures whose fields are found by name when a program is loaded,
// wherever they lie in the daemon that loads it (CO-RE).
#define COPPICE_RELOCATED_BEGIN                                                                    \
  _Pragma("clang attribute push(__attribute__((preserve_access_index)), apply_to = record)")
#define COPPICE_RELOCATED_END _Pragma("clang attribute pop")
#else
#define COPPICE_WRITABLE
#define COPPICE_PACKET
#define COPPICE_PACKET_END
#define COPPICE_RELOCATED_BEGIN
#define COPPICE_RELOCATED_END
#endif

// Errors that a program may give a request, and that helpers return negated: Linux's numbers.
enum coppice_errno {
  COPPICE_EPERM = 1,
  COPPICE_ENOENT = 2,
  COPPICE_EIO = 5,
  COPPICE_E2BIG = 7,
  COPPICE_EAGAIN = 11,
  COPPICE_ENOMEM = 12,
  COPPICE_EACCES = 13,
  COPPICE_EFAULT = 14,
  COPPICE_EBUSY = 16,
  COPPICE_EEXIST = 17,
  COPPICE_EINVAL = 22,
  COPPICE_ENOSPC = 28,
  COPPICE_EROFS = 30,
  COPPICE_ETIMEDOUT = 110,
};

#ifdef __bpf__

#ifndef __LINUX_BPF_H__  // The kernel's <linux/bpf.h>, which has these, too.
enum bpf_map_type {
  BPF_MAP_TYPE_HASH = 1,
  BPF_MAP_TYPE_ARRAY = 2,
  BPF_MAP_TYPE_PROG_ARRAY = 3,
  BPF_MAP_TYPE_PERCPU_HASH = 5,
  BPF_MAP_TYPE_PERCPU_ARRAY = 6,
  BPF_MAP_TYPE_LRU_HASH = 9,
  BPF_MAP_TYPE_LPM_TRIE = 11,
  BPF_MAP_TYPE_QUEUE = 22,
  BPF_MAP_TYPE_STACK = 23,
  BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum { BPF_F_RDONLY_PROG = 1 << 7 };  // In map_flags: programs only read the map.
#endif

#ifndef __BPF_HELPERS__  // libbpf's <bpf/bpf_helpers.h>.

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
// __uint(pinning, LIBBPF_PIN_BY_NAME): one map for all objects that ask for one of that name.
#define LIBBPF_PIN_BY_NAME 1
#define __type(name, type) __typeof__(type)* name
#define __array(name, type) __typeof__(type)* name[]
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
// The compiler takes the variable for changed here. Between two loads of fields it keeps it from
// making one of them, at an address that it chooses: of that the verifier knows no field.
#define barrier_var(variable) __asm__ volatile("" : "+r"(variable))

// Prints a line into the daemon's log. %d i u x X o c p s, with flags, widths, l and ll; at most
// three values.
#define bpf_printk(format, ...)                                                                    \
  ({                                                                                               \
    static const char format_[] = format;                                                          \
    bpf_trace_printk(format_, sizeof(format_), ##__VA_ARGS__);                                     \
  })

// Helpers, with the kernel's numbers and meaning. What is long is 0, a length or a count, or
// -errno.
static void* (*const bpf_map_lookup_elem)(void* map, const void* key) = (void*)1;
static long (*const bpf_map_update_elem)(void* map, const void* key, const void* value,
                                         __u64 flags) = (void*)2;
static long (*const bpf_map_delete_elem)(void* map, const void* key) = (void*)3;
// CLOCK_MONOTONIC: the clock of every time_ns.
static __u64 (*const bpf_ktime_get_ns)(void) = (void*)5;
static long (*const bpf_trace_printk)(const char* format, __u32 size, ...) = (void*)6;
static __u32 (*const bpf_get_prandom_u32)(void) = (void*)7;
// The thread's slot in per-CPU maps.
static __u32 (*const bpf_get_smp_processor_id)(void) = (void*)8;
static long (*const bpf_tail_call)(void* context, void* programs, __u32 index) = (void*)12;
static long (*const bpf_map_push_elem)(void* map, const void* value, __u64 flags) = (void*)87;
static long (*const bpf_map_pop_elem)(void* map, void* value) = (void*)88;
static long (*const bpf_map_peek_elem)(void* map, void* value) = (void*)89;
// These two for tracepoints only.
static long (*const bpf_probe_read_kernel)(void* to, __u32 size, const void* from) = (void*)113;
static long (*const bpf_probe_read_kernel_str)(void* to, __u32 size, const void* from) = (void*)115;
static __u64 (*const bpf_ktime_get_boot_ns)(void) = (void*)125;
static long (*const bpf_ringbuf_output)(void* ring, void* data, __u64 size,
                                        __u64 flags) = (void*)130;
static void* (*const bpf_ringbuf_reserve)(void* ring, __u64 size, __u64 flags) = (void*)131;
static void (*const bpf_ringbuf_submit)(void* record, __u64 flags) = (void*)132;
static void (*const bpf_ringbuf_discard)(void* record, __u64 flags) = (void*)133;
static __u64 (*const bpf_ringbuf_query)(void* ring, __u64 flags) = (void*)134;
static __u64 (*const bpf_ktime_get_coarse_ns)(void) = (void*)160;
static long (*const bpf_for_each_map_elem)(void* map, void* function, void* context,
                                           __u64 flags) = (void*)164;
static long (*const bpf_snprintf)(char* to, __u32 size, const char* format, __u64* values,
                                  __u32 values_bytes) = (void*)165;
static long (*const bpf_loop)(__u32 count, void* function, void* context, __u64 flags) = (void*)181;
static long (*const bpf_strncmp)(const char* text, __u32 size, const char* constant) = (void*)182;
static void* (*const bpf_map_lookup_percpu_elem)(void* map, const void* key,
                                                 __u32 slot) = (void*)195;

#endif  // __BPF_HELPERS__
#endif  // __bpf__
