// vmlinux.h — of the kernel's types, what its own verifier tests use.
//
// The real file is made from a running kernel, so no package has it. What user space's headers
// declare comes from there; the rest is declared with the members that those tests name. It stands
// in that file's place for the kernel's sources, hence the name, and the names in it are the
// kernel's.
#pragma once

#include <asm/ptrace.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef struct pt_regs bpf_user_pt_regs_t;

struct bpf_map {
  struct bpf_map* inner_map_meta;
  __u32 key_size;
  __u32 value_size;
  __u32 max_entries;
};

struct rcu_head {
  void* next;
};

struct task_struct {
  int pid;
  int tgid;
  char comm[16];
  struct task_struct* last_wakee;
  struct task_struct* group_leader;
  struct rcu_head rcu;
};

struct kernfs_node {
  const char* name;
};

struct cgroup_subsys_state {
  int id;
};

struct cgroup {
  struct cgroup_subsys_state self;
  struct kernfs_node* kn;
  struct cgroup* parent;
  int level;
};

struct cpumask {
  unsigned long bits[128];
};
typedef struct cpumask cpumask_t;

struct bpf_cpumask {
  cpumask_t cpumask;
};

struct bpf_iter__task {
  struct task_struct* task;
};

struct bpf_iter_bits {
  __u64 opaque[2];
};

struct bpf_perf_event_data {
  bpf_user_pt_regs_t regs;
  __u64 sample_period;
  __u64 addr;
};

struct bpf_dummy_ops {
  int (*test_1)(void);
};
