// mirror: puts what is written to a volume into a ring buffer, for audit.
//
//   coppice link attach tank/vm mirror --pin audit
//   coppice map watch writes
//
// Settings:
//   payload  1: with the bytes that are written; 0: only what was written where (1)
//
// Every write, zero and discard becomes at least one record, a write with payload one for each 4
// KiB of it. They are as they were asked for: a program behind this one may still deny them. Where
// the ring is full, records are dropped; the next one that gets in says how many were until then.
#include <coppice/bpf/hooks.h>

const volatile _Bool payload = 1;

// A short write is cut into pieces of the first size, a long one into pieces of the second.
#define SHORT_PIECE (4u << 10)
#define LONG_PIECE (64u << 10)
#define PIECES_MAX 512  // Of one write: 32 MiB are as much as a client may send.

struct writes_record {
  __u64 time_ns;
  __u64 request;
  __u64 pool;
  __u64 volume;
  __u64 client;
  __u64 offset;     // Of the piece, in the volume.
  __u64 length;     // Of the whole request.
  __u64 dropped;    // Records that were dropped since the program was attached.
  __u32 operation;  // One of coppice_operation.
  __u32 flags;      // Some of coppice_flags.
  __u32 piece;      // Its number in the request, from 0.
  __u32 bytes;      // Of `data` that count.
  __u8 data[];
};

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4 << 20);
} writes SEC(".maps");

__u64 dropped;
struct writes_record* writes_record_type;  // Puts the structure into the object's BTF.

static void fill(struct writes_record* record, struct coppice_submit* request) {
  record->time_ns = request->time_ns;
  record->request = request->request;
  record->pool = request->pool;
  record->volume = request->volume;
  record->client = request->client;
  record->offset = request->offset;
  record->length = request->length;
  record->dropped = *(volatile __u64*)&dropped;
  record->operation = request->operation;
  record->flags = request->flags;
  record->piece = 0;
  record->bytes = 0;
}

static void count_dropped(void) { __sync_fetch_and_add(&dropped, 1); }

static void put_header(struct coppice_submit* request) {
  struct writes_record* record = bpf_ringbuf_reserve(&writes, sizeof *record, 0);
  if (!record) return count_dropped();
  fill(record, request);
  bpf_ringbuf_submit(record, 0);
}

// Piece `number` of the write; 1 if it has no such piece.
static __always_inline long put_piece(struct coppice_submit* request, __u32 number, __u32 most) {
  const __u64 at = (__u64)number * most;
  if (at >= request->length) return 1;
  struct writes_record* record = bpf_ringbuf_reserve(&writes, sizeof *record + most, 0);
  if (!record) {
    count_dropped();
    return 0;
  }
  fill(record, request);
  const __u64 left = request->length - at;
  const __u32 bytes = left < most ? left : most;
  record->offset += at;
  record->piece = number;
  record->bytes = bytes;
  coppice_payload(request, at, record->data, bytes);
  bpf_ringbuf_submit(record, 0);
  return 0;
}

static long put_short_piece(__u32 number, struct coppice_submit** request) {
  return put_piece(*request, number, SHORT_PIECE);
}
static long put_long_piece(__u32 number, struct coppice_submit** request) {
  return put_piece(*request, number, LONG_PIECE);
}

SEC("volume.submit")
int mirror(struct coppice_submit* request) {
  const __u32 operation = request->operation;
  if (operation == COPPICE_READ || operation == COPPICE_FLUSH) return COPPICE_PASS;
  if (!payload || operation != COPPICE_WRITE)
    put_header(request);
  else if (request->length <= LONG_PIECE)
    bpf_loop(LONG_PIECE / SHORT_PIECE, put_short_piece, &request, 0);
  else if (request->length <= (__u64)PIECES_MAX * LONG_PIECE)
    bpf_loop(PIECES_MAX, put_long_piece, &request, 0);
  else
    count_dropped();
  return COPPICE_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
