// coppice/bpf/views.h — views: what programs of section `tracepoint/NAME` are given, for each
// stable tracepoint.
//
// These are promises. A view may grow at its end; no field ever moves, shrinks or changes its
// meaning, and the test of tests/golden/views.txt holds that. A program reads them relocated
// (CO-RE): so it runs on a daemon with longer views, and may ask bpf_core_field_exists() before it
// reads a field that is newer than the view.
//
// Every view begins with the time, then says what it is about. `pool` is the pool's guid, `volume`
// and `snapshot` are ids within the pool, `client` is a connection and `request` a request within
// this run of the daemon; 0 is none. Times are nanoseconds of CLOCK_MONOTONIC, as
// bpf_ktime_get_ns() has them. Errors are errno numbers; 0 is success. Texts end with a zero, and
// what is longer is cut.
#pragma once

#include "hooks.h"

enum {
  COPPICE_NAME_BYTES = 128,     // A full name: pool/path@snapshot.
  COPPICE_WORD_BYTES = 32,      // A verb, a hook.
  COPPICE_MESSAGE_BYTES = 128,  // A sentence.
};
enum coppice_link_event {
  COPPICE_LINK_ATTACHED = 0,
  COPPICE_LINK_UPDATED = 1,
  COPPICE_LINK_DETACHED = 2,
};
enum coppice_call_mode {
  COPPICE_CALL_SYNC = 0,
  COPPICE_CALL_CHECK = 1,
  COPPICE_CALL_TRY = 2,
  COPPICE_CALL_OTHER = 3,  // No verb: a list, a property.
};
enum coppice_error_kind {
  COPPICE_ERROR_DISK = 0,      // A request to the disk failed.
  COPPICE_ERROR_CHECKSUM = 1,  // What was read is not what was written.
  COPPICE_ERROR_POOL = 2,      // The pool takes no more changes.
};

COPPICE_RELOCATED_BEGIN

// A request reaches a volume, before any program or the volume has seen it.
struct coppice_io_submit {
  __u64 time_ns;    // When it happened.
  __u64 request;    // Of the daemon's life; io_complete has the same.
  __u64 pool;       // Its guid.
  __u64 volume;     // That it is for, or whose snapshot.
  __u64 client;     // Whose request it is.
  __u64 offset;     // Bytes from the volume's beginning; 0 for a flush.
  __u64 length;     // Bytes; 0 for a flush.
  __u32 operation;  // COPPICE_READ, _WRITE, _ZERO, _DISCARD or _FLUSH.
  __u32 flags;      // COPPICE_FUA, COPPICE_NO_HOLE.
};

// A request has been answered, by the volume or by a program.
struct coppice_io_complete {
  __u64 time_ns;     // When it happened.
  __u64 request;     // As in io_submit.
  __u64 pool;        // Its guid.
  __u64 volume;      // As in io_submit.
  __u64 client;      // As in io_submit.
  __u64 offset;      // Bytes from the volume's beginning.
  __u64 length;      // Bytes.
  __u32 operation;   // As in io_submit.
  __u32 flags;       // As the volume got them: a program may have taken some away.
  __u64 latency_ns;  // Since io_submit.
  __u32 error;       // errno of the answer.
  __u32 verdict;     // What the programs said: COPPICE_PASS and so on.
};

// A flush has been answered; io_submit and io_complete see it, too.
struct coppice_flush {
  __u64 time_ns;     // When it happened.
  __u64 request;     // As in io_submit.
  __u64 pool;        // Its guid.
  __u64 volume;      // As in io_submit.
  __u64 client;      // As in io_submit.
  __u64 offset;      // 0.
  __u64 length;      // 0.
  __u32 operation;   // COPPICE_FLUSH.
  __u32 flags;       // 0.
  __u64 latency_ns;  // Since io_submit.
  __u32 error;       // errno of the answer.
  __u32 verdict;     // What the programs said.
};

// A discard has been answered; io_submit and io_complete see it, too.
struct coppice_discard {
  __u64 time_ns;     // When it happened.
  __u64 request;     // As in io_submit.
  __u64 pool;        // Its guid.
  __u64 volume;      // As in io_submit.
  __u64 client;      // As in io_submit.
  __u64 offset;      // Bytes from the volume's beginning.
  __u64 length;      // Bytes.
  __u32 operation;   // COPPICE_DISCARD.
  __u32 flags;       // As in io_complete.
  __u64 latency_ns;  // Since io_submit.
  __u32 error;       // errno of the answer.
  __u32 verdict;     // What the programs said.
};

// A transaction group is open: what is written from now on belongs to it.
struct coppice_txg_open {
  __u64 time_ns;  // When it happened.
  __u64 pool;     // Its guid.
  __u64 txg;      // The group's number.
};

// A transaction group is closed to new writes, and begins to be committed.
struct coppice_txg_close {
  __u64 time_ns;      // When it happened.
  __u64 pool;         // Its guid.
  __u64 txg;          // The group's number.
  __u64 open_ns;      // How long it was open.
  __u64 dirty_bytes;  // Written to it and not yet on the disk.
};

// A transaction group is durable, or the commit failed and the pool takes no more changes.
struct coppice_txg_sync {
  __u64 time_ns;     // When it happened.
  __u64 pool;        // Its guid.
  __u64 txg;         // The group's number.
  __u64 latency_ns;  // Since txg_close.
  __u64 bytes;       // That all lanes wrote to the disk meanwhile.
  __u32 error;       // errno of the failure.
  __u32 volumes;     // How many the group changed.
};

// A snapshot is durable.
struct coppice_snapshot {
  __u64 time_ns;                  // When it happened.
  __u64 pool;                     // Its guid.
  __u64 volume;                   // Of which, or the group of volumes.
  __u64 snapshot;                 // The new one.
  __u64 txg;                      // The group that made it durable.
  char name[COPPICE_NAME_BYTES];  // The snapshot's full name.
};

// A clone is durable.
struct coppice_clone {
  __u64 time_ns;                  // When it happened.
  __u64 pool;                     // Its guid.
  __u64 volume;                   // The new one.
  __u64 snapshot;                 // Its origin.
  __u64 txg;                      // The group that made it durable.
  char name[COPPICE_NAME_BYTES];  // The clone's full name.
};

// A volume, a group of volumes or a snapshot has been destroyed, durably; its space is freed in the
// background.
struct coppice_destroy {
  __u64 time_ns;                  // When it happened.
  __u64 pool;                     // Its guid.
  __u64 volume;                   // Which, or whose snapshot.
  __u64 snapshot;                 // 0: the volume or group itself.
  __u64 txg;                      // The group that made it durable.
  char name[COPPICE_NAME_BYTES];  // Its full name, until then.
};

// A client is about to be served, or was refused.
struct coppice_export_connect {
  __u64 time_ns;                  // When it happened.
  __u64 pool;                     // Its guid.
  __u64 volume;                   // That is exported, or whose snapshot.
  __u64 snapshot;                 // That is exported; 0: the volume itself.
  __u64 client;                   // The number that its requests will have.
  __u64 size_bytes;               // Of what is exported.
  __u32 read_only;                // 1: it may not write.
  __u32 error;                    // errno of the refusal.
  char name[COPPICE_NAME_BYTES];  // Of what is exported.
};

// A client has gone, and none of its requests is left.
struct coppice_export_disconnect {
  __u64 time_ns;       // When it happened.
  __u64 pool;          // Its guid.
  __u64 volume;        // As in export_connect.
  __u64 snapshot;      // As in export_connect.
  __u64 client;        // As in export_connect.
  __u64 connected_ns;  // How long it was there.
};

// A link has been attached, changed or detached.
struct coppice_link_change {
  __u64 time_ns;     // When it happened.
  __u64 pool;        // Of its target; 0: the whole daemon.
  __u64 volume;      // Of its target; 0: the whole daemon.
  __u64 link;        // Its number.
  __u64 generation;  // The set of links that it belongs to from now on, or does no longer.
  __u32 change;      // COPPICE_LINK_ATTACHED, _UPDATED or _DETACHED.
  __u32 links;       // At the same point of the target, afterwards.
  char hook[COPPICE_WORD_BYTES];  // The point: "volume.submit", ...
  char name[COPPICE_NAME_BYTES];  // The name it is pinned by; empty: it is not.
};

// A channel program has the pool's turn and an interpreter.
struct coppice_program_begin {
  __u64 time_ns;                  // When it happened.
  __u64 pool;                     // Its guid.
  __u64 program;                  // Its number.
  char name[COPPICE_NAME_BYTES];  // The program's name.
};

// One question of a channel program's has been answered.
struct coppice_program_verb {
  __u64 time_ns;                  // When it happened.
  __u64 pool;                     // Its guid.
  __u64 program;                  // Its number.
  __u64 sequence;                 // The question's, from 1.
  __u64 latency_ns;               // Of the answer.
  __u32 error;                    // errno of the answer.
  __u32 mode;                     // COPPICE_CALL_SYNC, _CHECK, _TRY or _OTHER.
  char verb[COPPICE_WORD_BYTES];  // As in "destroy", "get".
};

// A channel program has ended.
struct coppice_program_end {
  __u64 time_ns;       // When it happened.
  __u64 pool;          // Its guid.
  __u64 program;       // Its number.
  __u64 latency_ns;    // Since it was asked for, waiting for its turn included.
  __u64 verbs;         // Questions that were answered.
  __u64 instructions;  // That it executed.
  __u32 error;         // errno; 0: all that it did is durable.
  __u32 began;         // 1: program_begin was fired for it.
};

// Blocks of a volume are not in memory, and read from the disk.
struct coppice_cache_miss {
  __u64 time_ns;      // When it happened.
  __u64 pool;         // Its guid.
  __u64 volume;       // Or snapshot.
  __u64 offset;       // Bytes from the volume's beginning.
  __u64 length;       // Bytes.
  __u64 disk_offset;  // Bytes from the beginning of the pool's disk.
};

// A request goes to the pool's disk.
struct coppice_disk_submit {
  __u64 time_ns;    // When it happened.
  __u64 request;    // Of the pool since it was opened; disk_complete has the same.
  __u64 pool;       // Its guid.
  __u64 offset;     // Bytes from the disk's beginning.
  __u64 length;     // Bytes.
  __u32 operation;  // COPPICE_READ, _WRITE, _FLUSH, or _DISCARD for a hole that is punched.
  __u32 lane;       // Of the pool; 0 commits groups, the others serve volumes.
};

// A request to the pool's disk has been answered.
struct coppice_disk_complete {
  __u64 time_ns;       // When it happened.
  __u64 request;       // As in disk_submit.
  __u64 pool;          // Its guid.
  __u64 offset;        // Bytes from the disk's beginning.
  __u64 length;        // Bytes.
  __u32 operation;     // As in disk_submit.
  __u32 lane;          // As in disk_submit.
  __u64 latency_ns;    // Since disk_submit.
  __u32 error;         // errno of the answer.
  __u32 system_error;  // What the kernel said, if it did.
};

// An error was counted: of the disk, of a checksum, or one that stopped a pool.
struct coppice_error {
  __u64 time_ns;      // When it happened.
  __u64 pool;         // Its guid.
  __u64 volume;       // Or snapshot; 0: of no single one, or not known.
  __u64 disk_offset;  // Bytes from the beginning of the pool's disk; 0: of no place in it.
  __u32 error;        // errno.
  __u32 kind;         // COPPICE_ERROR_DISK, _CHECKSUM or _POOL.
  char message[COPPICE_MESSAGE_BYTES];  // What happened, as the log has it.
};

COPPICE_RELOCATED_END
