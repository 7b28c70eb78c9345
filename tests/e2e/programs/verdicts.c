// One program for each verdict of volume.submit, for reads only; and two that leave their mark on
// what is read, for tests of swaps.
#include <coppice/bpf/hooks.h>
#include <coppice/bpf/views.h>

const volatile __u64 delay_ms = 0;
const volatile __u32 deny_with = 0;
const volatile __u8 mark = 'x';

SEC("volume.submit")
int deny(struct coppice_submit* request) {
  if (request->operation != COPPICE_READ) return COPPICE_PASS;
  request->error = deny_with;
  return COPPICE_DENY;
}

SEC("volume.submit")
int delay(struct coppice_submit* request) {
  if (request->operation != COPPICE_READ) return COPPICE_PASS;
  request->delay_ns = delay_ms * 1000000;
  return COPPICE_DELAY;
}

SEC("volume.submit")
int redirect(struct coppice_submit* request) {
  return request->operation == COPPICE_READ ? COPPICE_REDIRECT : COPPICE_PASS;
}

// The first bytes of each block are the mark, the rest zeroes.
SEC("volume.submit")
int answer(struct coppice_submit* request) {
  __u8 marks[8];
  if (request->operation != COPPICE_READ) return COPPICE_PASS;
  for (int i = 0; i < 8; ++i) marks[i] = mark;
  coppice_reply(request, 0, marks, sizeof marks);
  return COPPICE_COMPLETE;
}

// Another program may take this function's place.
__weak int choose_mark(__u32 operation) { return operation == COPPICE_READ ? 'c' : 0; }

SEC("volume.submit")
int chosen(struct coppice_submit* request) {
  __u8 marks[8];
  const int chosen = choose_mark(request->operation);
  if (chosen == 0) return COPPICE_PASS;
  for (int i = 0; i < 8; ++i) marks[i] = chosen;
  coppice_reply(request, 0, marks, sizeof marks);
  return COPPICE_COMPLETE;
}

SEC("volume.submit")
int not_durable(struct coppice_submit* request) {
  request->flags = 0;
  return COPPICE_PASS;
}

// What a submit of one version and a complete of another would show: `torn` counts it.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __type(key, __u64);
  __type(value, __u64);
} versions SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __type(key, __u32);
  __type(value, __u64);
} torn SEC(".maps");

const volatile __u64 version = 1;

SEC("volume.submit")
int begin(struct coppice_submit* request) {
  const __u64 key = request->request, value = version;
  bpf_map_update_elem(&versions, &key, &value, BPF_ANY);
  return COPPICE_PASS;
}

SEC("volume.complete")
int end(struct coppice_complete* request) {
  const __u64 key = request->request;
  const __u64* began = bpf_map_lookup_elem(&versions, &key);
  if (!began) return 0;  // It came when neither version was attached.
  const __u32 kind = *began == version ? 0 : 1;
  __u64* count = bpf_map_lookup_elem(&torn, &kind);
  if (count) __sync_fetch_and_add(count, 1);
  bpf_map_delete_elem(&versions, &key);
  return 0;
}

// Of tier internal, though its tracepoint is stable: it reads memory that nobody vouches for.
__u64 unreadable;

SEC("tracepoint/io_complete")
int prober(struct coppice_io_complete* request) {
  __u64 value;
  if (bpf_probe_read_kernel(&value, sizeof value, (void*)(request->offset + 8)) != 0)
    __sync_fetch_and_add(&unreadable, 1);
  return 0;
}

char LICENSE[] SEC("license") = "Apache-2.0";
