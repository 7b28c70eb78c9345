// rate_limit: holds requests to a rate, by volume, by client or all together.
//
//   coppice link attach tank/vm rate_limit --set iops=1000 --set bytes_per_second=50M --pin limit
//
// Settings:
//   iops              requests a second (0: any number)
//   bytes_per_second  of reads and writes (0: any number)
//   burst_ms          what was not used can be made up for, that much of it (20)
//   by_client         1: each client has the rate; 0: each volume has
//   together          1: all that the link sees shares the rate
//   deny              1: what exceeds the rate fails with EAGAIN (clients of NBD see EIO); 0: it
//   waits
//
// A bucket is one word: the time up to which its rate is used up. A request moves it on by its
// cost, and has its turn when that time has come; however many threads move it, each by
// compare-and-swap, none of them is forgotten, so what waits is let go at exactly the rate. Only
// what would wait longer than a minute goes earlier.
//
//   coppice map dump buckets      what each bucket let through, held up and refused
#include <coppice/bpf/hooks.h>

const volatile __u64 iops = 0;
const volatile __u64 bytes_per_second = 0;
const volatile __u64 burst_ms = 20;
const volatile _Bool by_client = 0;
const volatile _Bool together = 0;
const volatile _Bool deny = 0;

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define ATTEMPTS 16

struct bucket {
  __u64 requests_until_ns;  // The rate is used up until then.
  __u64 bytes_until_ns;
  __u64 passed;
  __u64 delayed;
  __u64 delayed_ns;
  __u64 denied;
};

// The least recently used makes way for clients to come: all it had is some credit.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, __u64);
  __type(value, struct bucket);
} buckets SEC(".maps");

static struct bucket* bucket_of(const struct coppice_submit* request) {
  __u64 key = request->volume;
  barrier_var(key);
  if (by_client) key = request->client;
  if (together) key = 0;
  struct bucket* found = bpf_map_lookup_elem(&buckets, &key);
  if (found) return found;
  const struct bucket fresh = {};
  bpf_map_update_elem(&buckets, &key, &fresh, BPF_NOEXIST);
  return bpf_map_lookup_elem(&buckets, &key);
}

// What `amount` costs at `rate` a second.
static __u64 cost_ns(__u64 amount, __u64 rate) {
  return amount / rate * NS_PER_S + amount % rate * NS_PER_S / rate;
}

// Takes `cost` out of the bucket. The time from now until it is paid; beyond `patience` it is not
// taken.
static __u64 take(__u64* until, __u64 cost, __u64 now, __u64 patience) {
  const __u64 burst = burst_ms * NS_PER_MS;
  const __u64 earliest = now > burst ? now - burst : 0;
  __u64 seen = *(volatile __u64*)until;
  for (int i = 0; i < ATTEMPTS; ++i) {
    const __u64 paid = (seen > earliest ? seen : earliest) + cost;
    const __u64 wait = paid > now ? paid - now : 0;
    if (wait > patience) return wait;
    const __u64 before = __sync_val_compare_and_swap(until, seen, paid);
    if (before == seen) return wait;
    seen = before;
  }
  // Others were always first. What they leave behind is recent, so to add to it is right as well.
  const __u64 paid = __sync_fetch_and_add(until, cost) + cost;
  return paid > now ? paid - now : 0;
}

SEC("volume.submit")
int rate_limit(struct coppice_submit* request) {
  struct bucket* bucket = bucket_of(request);
  if (!bucket) return COPPICE_PASS;
  const __u64 now = bpf_ktime_get_ns();
  const __u64 patience = deny ? 0 : ~0ull;
  const __u64 request_cost = iops ? cost_ns(1, iops) : 0;
  __u64 wait = 0;
  if (request_cost) {
    wait = take(&bucket->requests_until_ns, request_cost, now, patience);
    if (wait > patience) goto refused;
  }
  if (bytes_per_second &&
      (request->operation == COPPICE_READ || request->operation == COPPICE_WRITE)) {
    const __u64 cost = cost_ns(request->length, bytes_per_second);
    const __u64 longer = take(&bucket->bytes_until_ns, cost, now, patience);
    if (longer > patience) {
      if (request_cost) __sync_fetch_and_sub(&bucket->requests_until_ns, request_cost);
      goto refused;
    }
    if (longer > wait) wait = longer;
  }
  if (wait == 0) {
    __sync_fetch_and_add(&bucket->passed, 1);
    return COPPICE_PASS;
  }
  __sync_fetch_and_add(&bucket->delayed, 1);
  __sync_fetch_and_add(&bucket->delayed_ns, wait);
  request->delay_ns = wait;
  return COPPICE_DELAY;

refused:
  __sync_fetch_and_add(&bucket->denied, 1);
  request->error = COPPICE_EAGAIN;
  return COPPICE_DENY;
}

char LICENSE[] SEC("license") = "Apache-2.0";
