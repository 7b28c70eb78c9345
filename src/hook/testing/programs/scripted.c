// Requests: the map `script` says what the programs do, and `trail`, which all instances share,
// has who ran, in order.
#include <coppice/bpf/hooks.h>

struct script {
  __u32 id;  // 0: no trace in the trail.
  __u32 verdict;
  __u32 error;
  __u32 target;
  __u32 set_flags;  // 1: `flags` goes into the request.
  __u32 flags;
  __u32 replies;  // Bytes of `answer` that go to `reply_at`.
  __u32 reply_at;
  __u64 delay_ns;
  __u8 answer[8];
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct script);
} script SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 64);
  __uint(pinning, 1);
  __type(key, __u32);
  __type(value, __u64);
} trail SEC(".maps");

// What the programs saw last.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct coppice_submit);
} submitted SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct coppice_complete);
} completed SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u8[16]);
} written SEC(".maps");

static void leave_trace(__u64 id) {
  __u32 zero = 0;
  __u64* count = bpf_map_lookup_elem(&trail, &zero);
  if (id == 0 || !count || *count >= 63) return;
  __u32 at = ++*count;
  __u64* place = bpf_map_lookup_elem(&trail, &at);
  if (place) *place = id;
}

SEC("volume.submit")
int decide(struct coppice_submit* request) {
  __u32 zero = 0;
  struct script* said = bpf_map_lookup_elem(&script, &zero);
  struct coppice_submit* seen = bpf_map_lookup_elem(&submitted, &zero);
  if (!said || !seen) return COPPICE_PASS;
  seen->request = request->request;
  seen->time_ns = request->time_ns;
  seen->pool = request->pool;
  seen->volume = request->volume;
  seen->client = request->client;
  seen->offset = request->offset;
  seen->length = request->length;
  seen->volume_bytes = request->volume_bytes;
  seen->operation = request->operation;
  seen->flags = request->flags;
  seen->error = request->error;
  seen->target = request->target;
  seen->delay_ns = request->delay_ns;
  __u8* bytes = bpf_map_lookup_elem(&written, &zero);
  if (!bytes) return COPPICE_PASS;
  if (request->operation == COPPICE_WRITE) {
    coppice_payload(request, 8, bytes, 8);
    const __u8 *data = request->data, *end = request->data_end;
    for (int i = 0; i < 8; ++i)
      if (data + i + 1 <= end) bytes[8 + i] = data[i];
  }
  leave_trace(said->id);
  request->error = said->error;
  request->target = said->target;
  request->delay_ns = said->delay_ns;
  if (said->set_flags) request->flags = said->flags;
  if (said->replies == 8) coppice_reply(request, said->reply_at, said->answer, 8);
  switch (said->verdict) {
    case 0: return COPPICE_PASS;
    case 1: return COPPICE_DENY;
    case 2: return COPPICE_DELAY;
    case 3: return COPPICE_REDIRECT;
    default: return COPPICE_COMPLETE;
  }
}

SEC("volume.complete")
int conclude(struct coppice_complete* request) {
  __u32 zero = 0;
  struct script* said = bpf_map_lookup_elem(&script, &zero);
  struct coppice_complete* seen = bpf_map_lookup_elem(&completed, &zero);
  if (!said || !seen) return 0;
  seen->request = request->request;
  seen->time_ns = request->time_ns;
  seen->latency_ns = request->latency_ns;
  seen->pool = request->pool;
  seen->volume = request->volume;
  seen->client = request->client;
  seen->offset = request->offset;
  seen->length = request->length;
  seen->operation = request->operation;
  seen->flags = request->flags;
  seen->error = request->error;
  seen->verdict = request->verdict;
  leave_trace(said->id);
  return said->verdict;
}
