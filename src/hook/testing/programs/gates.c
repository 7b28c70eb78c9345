// Verbs and clients.
#include <coppice/bpf/hooks.h>

// Refuses what begins with "tank/keep"; the errno is that of the map, if it has one.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} refusal SEC(".maps");

SEC("admin")
int keeper(struct coppice_admin* call) {
  char name[16];
  coppice_text(call, COPPICE_TEXT_DATASET, name, sizeof name);
  if (bpf_strncmp(name, 9, "tank/keep") != 0) return COPPICE_ALLOW;
  char words[] = "it\nis kept";
  coppice_refuse(call, words, sizeof words);
  __u32 zero = 0;
  __u32* error = bpf_map_lookup_elem(&refusal, &zero);
  if (error) call->error = *error;
  return COPPICE_REFUSE;
}

SEC("export.connect")
int narrow(struct coppice_connect* client) {
  char peer[8];
  // The whole text's length, though no more than the buffer was filled; no such text: an error.
  long length = coppice_text(client, COPPICE_TEXT_PEER, peer, sizeof peer);
  if (coppice_text(client, 17, peer, sizeof peer) != -COPPICE_EINVAL) return COPPICE_REFUSE;
  client->requests_max = length;
  client->read_only = 1;
  return COPPICE_ALLOW;
}

SEC("export.connect/halve")
int halve(struct coppice_connect* client) {
  client->bytes_max /= 2;
  return COPPICE_ALLOW;
}
