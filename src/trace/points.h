// trace/points.h — the list of tracepoints; trace/point.h makes the enumeration and the table of
// it.
//
// STABLE(name): its view is struct coppice_NAME of coppice/bpf/views.h.
// INTERNAL(name, count, arguments, meaning): it has `count` arguments, of 8 bytes each. "T *" is
// the address of a live structure, under the name that the daemon's BTF has it by; the rest are
// numbers. Internal tracepoints may change with any commit. A new one goes to the end of its list.
#pragma once

#define COPPICE_STABLE_POINTS(STABLE)                                                              \
  STABLE(io_submit)                                                                                \
  STABLE(io_complete)                                                                              \
  STABLE(flush)                                                                                    \
  STABLE(discard)                                                                                  \
  STABLE(txg_open)                                                                                 \
  STABLE(txg_close)                                                                                \
  STABLE(txg_sync)                                                                                 \
  STABLE(snapshot)                                                                                 \
  STABLE(clone)                                                                                    \
  STABLE(destroy)                                                                                  \
  STABLE(export_connect)                                                                           \
  STABLE(export_disconnect)                                                                        \
  STABLE(link_change)                                                                              \
  STABLE(program_begin)                                                                            \
  STABLE(program_verb)                                                                             \
  STABLE(program_end)                                                                              \
  STABLE(cache_miss)                                                                               \
  STABLE(disk_submit)                                                                              \
  STABLE(disk_complete)                                                                            \
  STABLE(error)

// clang-format off
#define COPPICE_INTERNAL_POINTS(INTERNAL)                                                          \
  INTERNAL(node_lookup, 4, "pool_NodeStore *store, u64 address, u64 birth, u64 cached",            \
           "A tree node is asked for; `address` counts blocks, `cached` is 1 if it is in memory.") \
  INTERNAL(node_read, 3, "pool_NodeStore *store, u64 address, u64 blocks",                         \
           "A tree node was not in memory, and is read from the disk.")                            \
  INTERNAL(node_write, 3, "pool_NodeStore *store, u64 address, u64 blocks",                        \
           "A merge writes tree nodes.")                                                      \
  INTERNAL(tree_merge, 3, "pool_NodeStore *store, u64 address, u64 changes",                       \
           "Sorted changes are about to be merged into the tree whose root is at `address`.")      \
  INTERNAL(log_begin, 2, "pool_IoLane *lane, u64 ticket",                                          \
           "A lane begins a record of its intent log.")                                            \
  INTERNAL(log_written, 4, "pool_IoLane *lane, u64 sequence, u64 address, u64 payload_bytes",      \
           "A record of the intent log has been written, and is not flushed yet.")                 \
  INTERNAL(log_replay, 4, "pool_IoLane *lane, u64 volume, u64 extents, u64 zeroed",                \
           "What a record says of one volume is put back after a crash.")                          \
  INTERNAL(space_grant, 3, "pool_Engine *engine, u64 wanted, u64 granted",                         \
           "The sync lane has handed blocks of free space to a lane.")                             \
  INTERNAL(space_take, 4, "pool_LaneSpace *space, u64 wanted, u64 address, u64 blocks",            \
           "A lane takes a run of blocks of what it was granted.")                                 \
  INTERNAL(space_free, 3, "pool_Engine *engine, u64 txg, u64 runs",                                \
           "What died in groups up to `txg` may be written again.")                                \
  INTERNAL(page_put, 4, "pool_Volume *volume, u64 block, u64 offset, u64 bytes",                   \
           "Bytes of a write go into a dirty block of the volume, at `offset` in it.")             \
  INTERNAL(partial_read, 2, "pool_Volume *volume, u64 block",                                      \
           "A write covers part of a block, and the rest is read first.")                          \
  INTERNAL(overlay_flip, 3, "pool_Volume *volume, u64 txg, u64 pages",                             \
           "What is dirty in the volume belongs to a group that is closing.")                      \
  INTERNAL(group_flip, 3, "pool_IoLane *lane, u64 txg, u64 volumes",                               \
           "The lane closes the group; writes are not acknowledged until group_release.")          \
  INTERNAL(group_release, 2, "pool_IoLane *lane, u64 txg",                                         \
           "Every lane has flipped; writes to the new group are acknowledged.")                    \
  INTERNAL(group_written, 3, "pool_IoLane *lane, u64 txg, u64 volumes",                            \
           "The lane has written its part of the group and merged its maps.")                      \
  INTERNAL(job_step, 4, "pool_Engine *engine, u64 job, u64 done, u64 freed",                       \
           "A piece of a background job was done within a commit; `freed` counts blocks.")         \
  INTERNAL(cache_evict, 3, "pool_BlockCache *cache, u64 wanted, u64 blocks",                       \
           "The block cache has let blocks go.")                                                   \
  INTERNAL(handle_open, 3, "pool_Engine *engine, u64 id, u64 is_snapshot",                         \
           "A volume or a snapshot has been opened.")                                              \
  INTERNAL(handle_close, 2, "pool_Engine *engine, u64 id",                                         \
           "A handle of a volume or a snapshot has been given back.")                              \
  INTERNAL(reactor_turn, 3, "io_Reactor *reactor, u64 turn, u64 jobs",                             \
           "A reactor begins a turn; `jobs` is how many it has run so far.")                       \
  INTERNAL(reactor_sleep, 2, "io_Reactor *reactor, u64 timeout_ns",                                \
           "A reactor has nothing to do; `timeout_ns` is ~0 if it has no timer.")                  \
  INTERNAL(reactor_wake, 2, "io_Reactor *reactor, u64 turn",                                       \
           "A reactor that slept has something to do.")                                            \
  INTERNAL(mailbox_post, 3, "io_Reactor *reactor, u64 job, u64 was_empty",                         \
           "Another thread has put a job into the reactor's mailbox; `job` is its address.")       \
  INTERNAL(nbd_receive, 5, "nbd_Connection *connection, u64 cookie, u64 type, u64 offset, u64 length", \
           "A command of an NBD client was decoded; `type` is that of the protocol.")              \
  INTERNAL(nbd_reply, 4, "nbd_Connection *connection, u64 cookie, u64 error, u64 bytes",           \
           "The answer to a command of an NBD client is queued to be sent.")                       \
  INTERNAL(verb_sync, 2, "u64 verb, u64 error",                                    \
           "A command's verb was applied to its transaction; `verb` is the address of its name.")
// clang-format on
