// fault: makes requests fail or wait, by chance, to try what depends on a volume.
//
//   coppice link attach tank/vm fault --set error_per_million=1000 --set on_read=0
//
// Settings:
//   error_per_million  how many of a million requests fail (0)
//   error              with which errno (5, EIO)
//   delay_per_million  how many of the others wait (0)
//   delay_ms           how long (100)
//   begin, bytes       only requests that touch this range, and flushes (0; 0: the whole volume)
//   on_read, on_write, on_zero, on_discard, on_flush   0: not those (1)
//
//   coppice map dump .bss         how many failed, and waited
#include <coppice/bpf/hooks.h>

const volatile __u64 error_per_million = 0;
const volatile __u32 error = COPPICE_EIO;
const volatile __u64 delay_per_million = 0;
const volatile __u64 delay_ms = 100;
const volatile __u64 begin = 0;
const volatile __u64 bytes = 0;
const volatile _Bool on_read = 1;
const volatile _Bool on_write = 1;
const volatile _Bool on_zero = 1;
const volatile _Bool on_discard = 1;
const volatile _Bool on_flush = 1;

__u64 failed;
__u64 delayed;

#define NS_PER_MS 1000000ull
#define MILLION 1000000ull

static _Bool is_meant(const struct coppice_submit* request) {
  switch (request->operation) {
    case COPPICE_READ: return on_read;
    case COPPICE_WRITE: return on_write;
    case COPPICE_ZERO: return on_zero;
    case COPPICE_DISCARD: return on_discard;
    case COPPICE_FLUSH: return on_flush;
    default: return 0;
  }
}

static _Bool is_in_range(const struct coppice_submit* request) {
  if (bytes == 0 || request->operation == COPPICE_FLUSH) return 1;
  return request->offset < begin ? begin - request->offset < request->length
                                 : request->offset - begin < bytes;
}

static _Bool happens(__u64 per_million) {
  return (__u64)bpf_get_prandom_u32() * MILLION >> 32 < per_million;
}

SEC("volume.submit")
int fault(struct coppice_submit* request) {
  if (!is_meant(request) || !is_in_range(request)) return COPPICE_PASS;
  if (happens(error_per_million)) {
    __sync_fetch_and_add(&failed, 1);
    request->error = error;
    return COPPICE_DENY;
  }
  if (happens(delay_per_million)) {
    __sync_fetch_and_add(&delayed, 1);
    request->delay_ns = delay_ms * NS_PER_MS;
    return COPPICE_DELAY;
  }
  return COPPICE_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
