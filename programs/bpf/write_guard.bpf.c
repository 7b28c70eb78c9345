// write_guard: protects ranges of a volume, for example its partition table, from being written.
//
//   coppice link attach tank/vm write_guard --set bytes=1M --set end_bytes=1M --pin guard
//
// Settings:
//   begin      where each of up to 8 ranges begins: begin=0,4G (0)
//   bytes      how long each of them is: bytes=1M,64K (0: there is none)
//   end_bytes  how much is protected at the volume's end, where GPT has its copy (0)
//   error      what a client gets: an errno (1, EPERM)
//
// Writes, zeroes and discards that touch a range fail as a whole.
//
//   coppice map dump .bss         how many did, by range; the last is the end
#include <coppice/bpf/hooks.h>

#define RANGES 8

const volatile __u64 begin[RANGES] = {0};
const volatile __u64 bytes[RANGES] = {0};
const volatile __u64 end_bytes = 0;
const volatile __u32 error = COPPICE_EPERM;

__u64 denied[RANGES + 1];

static _Bool overlap(__u64 offset, __u64 length, __u64 other, __u64 other_length) {
  return offset < other ? other - offset < length : offset - other < other_length;
}

static int refuse(struct coppice_submit* request, __u32 range) {
  __sync_fetch_and_add(&denied[range], 1);
  request->error = error;
  return COPPICE_DENY;
}

SEC("volume.submit")
int write_guard(struct coppice_submit* request) {
  if (request->operation == COPPICE_READ || request->operation == COPPICE_FLUSH ||
      request->length == 0)
    return COPPICE_PASS;
  for (__u32 i = 0; i < RANGES; ++i) {
    if (bytes[i] != 0 && overlap(request->offset, request->length, begin[i], bytes[i]))
      return refuse(request, i);
  }
  const __u64 size = request->volume_bytes;
  const __u64 end = size > end_bytes ? size - end_bytes : 0;
  if (end_bytes != 0 && request->offset + request->length > end) return refuse(request, RANGES);
  return COPPICE_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
