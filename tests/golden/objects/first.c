// first.o is this file, compiled against the first views that were promised. It is never compiled again: it stands for
// programs that people have, and has to load and run on every later daemon.
//
//   clang-19 -target bpf -mcpu=v3 -O2 -g -I include -c first.c -o first.o && llvm-strip-19 -g first.o
#include <coppice/bpf/views.h>

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64[2]);
} seen SEC(".maps");

static void keep(__u64 first, __u64 last) {
  __u32 key = 0;
  __u64 *value = bpf_map_lookup_elem(&seen, &key);
  if (!value) return;
  value[0] = first;
  value[1] = last;
}

// The first field and the last number of each view.
#define VIEW(name, last)                                               \
  SEC("tracepoint/" #name) int on_##name(struct coppice_##name *view) { \
    keep(view->time_ns, view->last);                                   \
    return 0;                                                          \
  }
VIEW(io_submit, flags)
VIEW(io_complete, verdict)
VIEW(flush, verdict)
VIEW(discard, verdict)
VIEW(txg_open, txg)
VIEW(txg_close, dirty_bytes)
VIEW(txg_sync, volumes)
VIEW(snapshot, txg)
VIEW(clone, txg)
VIEW(destroy, txg)
VIEW(export_connect, error)
VIEW(export_disconnect, connected_ns)
VIEW(link_change, links)
VIEW(program_begin, program)
VIEW(program_verb, mode)
VIEW(program_end, began)
VIEW(cache_miss, disk_offset)
VIEW(disk_submit, lane)
VIEW(disk_complete, system_error)
VIEW(error, kind)
