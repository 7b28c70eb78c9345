// What the host of relocated.c is like: the same names, other places. Only its types are read.
#include "program.h"

struct place {
  u64 padding;
  u32 y;
  u32 x;
};

struct outer_flags {
  u32 before : 9;
  int below : 5;
  u32 middle : 7, low : 3;
};

struct request {
  struct request *next;
  u64 padding;
  u16 length;  // Shorter than the program believes.
  u64 narrow;  // And longer.
  i64 sign;
  struct {  // Anonymous here, not there.
    u64 offset;
    struct place from[4];
  };
  struct {
    struct {
      struct place tagged;
      u64 tag;
    };
  };
  struct outer_flags flags;
  u8 name[];
};

struct volume {
  u64 padding;
  u64 bytes;
};

struct pair {
  u32 first;
  i64 second;  // With a sign: a load of the program's would lose it.
};

enum state { kUnknown, kIdle, kWaiting, kBusy };
enum wide { kNarrow = 1, kWide = 0x500000000ull };

typedef u64 (*visit)(struct place *at, u32 count);
typedef struct {
  u32 other;
  u32 inner;
} anonymous_t;

struct twins___one {
  u32 first;
  u32 second;
};
struct twins___two {
  u64 first;
  u32 second;
};

struct everything {
  struct twins___one one;
  struct twins___two two;
  struct volume volume;
  struct pair pair;
  enum state state;
  enum wide wide;
  visit visit;
  anonymous_t anonymous;
  struct request request;  // Last, for its array has no end.
};

u64 use(struct everything *all) { return all->volume.bytes; }
