// coppice/bpf/hooks.h: the hooks that programs attach to: what they are given, and what they
// answer.
//
// The section of a program names its hook, and the hook says what r1 points to:
//
//   SEC("volume.submit")         struct coppice_submit *    before a request is carried out
//   SEC("volume.complete")       struct coppice_complete *  when it is done
//   SEC("admin")                 struct coppice_admin *     before an admin verb takes effect
//   SEC("export.connect")        struct coppice_connect *   when a client connects to an export
//   SEC("timer")                 struct coppice_timer *     every so often
//   SEC("tracepoint/NAME")       struct coppice_NAME *      see coppice/bpf/views.h
//
// A hook on a group sees every volume below it. Programs run from the pool down, and at one place
// in the order of their links.
//
// Fields marked COPPICE_WRITABLE may be written, others are only read. Programs may call the
// helpers of types.h, but bpf_probe_read_kernel* at tracepoints only, and those at the end of this
// file at the hooks they name. Fields keep their names and meanings: a program that was compiled
// with this header finds them by name in later daemons.
//
// What ends in _ns is nanoseconds: time_ns of CLOCK_MONOTONIC (bpf_ktime_get_ns), wall_ns since
// 1970 in UTC. Offsets, lengths and sizes are bytes. `pool` is the pool's guid; volume, dataset and
// snapshot are numbers that nothing else in the pool ever has, whatever it is renamed to.
#pragma once

#include "types.h"

// What a request is.
enum coppice_operation {
  COPPICE_READ = 0,
  COPPICE_WRITE = 1,
  COPPICE_ZERO = 2,     // Writes zeroes.
  COPPICE_DISCARD = 3,  // Its range reads as zeroes afterwards, and takes no space.
  COPPICE_FLUSH = 4,    // What was written before becomes durable. It has no range.
};

// How it is to be done.
enum coppice_flags {
  COPPICE_FUA = 1,      // It is durable before it is complete.
  COPPICE_NO_HOLE = 2,  // Of COPPICE_ZERO: space stays allocated.
};

// What a program of volume.submit returns. Its link says after which of these the next program is
// asked.
enum coppice_verdict {
  COPPICE_PASS = 0,      // It is carried out as it is.
  COPPICE_DENY = 1,      // It fails with `error`, and nothing is done.
  COPPICE_DELAY = 2,     // It is carried out, `delay_ns` later.
  COPPICE_REDIRECT = 3,  // It goes to volume number `target` of those that the link was given.
  COPPICE_COMPLETE = 4,  // A read is answered with what coppice_reply() put there, else zeroes.
};

// What a program of admin or export.connect returns.
enum coppice_answer {
  COPPICE_ALLOW = 0,
  COPPICE_REFUSE = 1,  // With `error`, and the text of coppice_refuse().
};

// Longer delays are cut to this: a minute.
#define COPPICE_DELAY_NS_MAX 60000000000ull

COPPICE_RELOCATED_BEGIN

// volume.submit: a request has come and is not carried out yet. Returns one of coppice_verdict.
struct coppice_submit {
  __u64 request;       // Its number, which no other request to this daemon has.
  __u64 time_ns;       // When it came.
  __u64 pool;          // Of the volume.
  __u64 volume;        // That it is for.
  __u64 client;        // The connection it came by, as in coppice_connect. 0: the daemon's own.
  __u64 offset;        // Where its range begins. Of a flush 0.
  __u64 length;        // Of its range. Of a flush 0.
  __u64 volume_bytes;  // The volume's size.
  __u32 operation;     // One of coppice_operation.
  // Some of coppice_flags. They may be taken away; to add one changes nothing. A write without its
  // COPPICE_FUA is durable after the next flush only.
  __u32 flags COPPICE_WRITABLE;
  // Of COPPICE_DENY: the errno that the client gets. 0, as it is at first, means EPERM. NBD has
  // EPERM, EIO, EINVAL, ENOSPC, ENOTSUP and ESHUTDOWN; others become the nearest of them.
  __u32 error COPPICE_WRITABLE;
  // Of COPPICE_REDIRECT: which of the link's volumes, from 0. At first 0.
  __u32 target COPPICE_WRITABLE;
  // Of COPPICE_DELAY: how long. At first 0; at most COPPICE_DELAY_NS_MAX.
  __u64 delay_ns COPPICE_WRITABLE;
  // The bytes of a write, to be read where a comparison with data_end has shown that there are any;
  // further than 64 KiB no comparison helps, but coppice_payload() does. Other requests have none.
  const __u8* data COPPICE_PACKET;
  const __u8* data_end COPPICE_PACKET_END;
};

// volume.complete: a request is done, whatever came of it. What is returned means nothing.
struct coppice_complete {
  __u64 request;     // As in coppice_submit.
  __u64 time_ns;     // Now.
  __u64 latency_ns;  // Since it came, delays by programs included.
  __u64 pool;        // Of the volume.
  __u64 volume;      // That it was for, even if it was redirected.
  __u64 client;      // As in coppice_submit.
  __u64 offset;      // As in coppice_submit.
  __u64 length;      // As in coppice_submit.
  __u32 operation;   // One of coppice_operation.
  __u32 flags;       // Some of coppice_flags: those that programs left.
  __s32 error;       // 0, or the errno that it failed with.
  __u32 verdict;     // What volume.submit said of it in the end: one of coppice_verdict.
};

// What a caller must be allowed to do for a verb.
enum coppice_right {
  COPPICE_RIGHT_CREATE = 0,
  COPPICE_RIGHT_DESTROY = 1,
  COPPICE_RIGHT_SNAPSHOT = 2,
  COPPICE_RIGHT_CLONE = 3,
  COPPICE_RIGHT_PROMOTE = 4,
  COPPICE_RIGHT_ROLLBACK = 5,
  COPPICE_RIGHT_RENAME = 6,
  COPPICE_RIGHT_BOOKMARK = 7,
  COPPICE_RIGHT_HOLD = 8,
  COPPICE_RIGHT_RELEASE = 9,
  COPPICE_RIGHT_CONFIGURE = 10,
  COPPICE_RIGHT_SERVE = 11,
};

// admin: a verb is about to take effect, or would, were it no dry run. Returns one of
// coppice_answer; a refusal undoes what was done in the same transaction.
struct coppice_admin {
  __u64 time_ns;     // Now.
  __u64 wall_ns;     // Now.
  __u64 pool;        // The pool that it changes.
  __u64 dataset;     // That it names, or whose snapshot it names. 0: none that is there.
  __u32 uid;         // Of the process that asked.
  __u32 pid;         // Of the process that asked. 0: not known.
  __u32 right;       // One of coppice_right.
  __u32 in_program;  // 1: a channel program called it. 0: a command did.
  __u32 dry_run;     // 1: it is only asked whether this would work.
  __u32 error COPPICE_WRITABLE;  // Of COPPICE_REFUSE: the errno. 0, as it is at first, means EPERM.
};

// export.connect: a client has chosen an export and is not served yet. Returns one of
// coppice_answer.
struct coppice_connect {
  __u64 time_ns;   // Now.
  __u64 pool;      // Of the volume.
  __u64 volume;    // That is exported.
  __u64 snapshot;  // Of the volume, that is exported. 0: the volume itself.
  __u64 client;    // The connection's number, which no other connection to this daemon has.
  // The most bytes of its requests and answers that are under way at a time. May be lowered.
  __u64 bytes_max COPPICE_WRITABLE;
  __u32 uid;  // Of the process at the other end of a Unix socket; else 4294967295.
  __u32 pid;  // Likewise; else 0.
  // 1: the client cannot write. May be set.
  __u32 read_only COPPICE_WRITABLE;
  // The most requests that are under way at a time. May be lowered, to 1 at least.
  __u32 requests_max COPPICE_WRITABLE;
  __u32 error COPPICE_WRITABLE;  // Of COPPICE_REFUSE: the errno. 0, as it is at first, means EPERM.
  __u32 reserved;                // 0.
};

// timer: the link's interval is over. What is returned means nothing.
struct coppice_timer {
  __u64 time_ns;      // Now.
  __u64 wall_ns;      // Now.
  __u64 count;        // Runs of this link before this one.
  __u64 missed;       // Runs that were left out up to now, because the one before took too long.
  __u64 interval_ns;  // Of the link.
};

COPPICE_RELOCATED_END

// What coppice_text() can tell.
enum coppice_text_kind {
  // At admin.
  COPPICE_TEXT_VERB = 0,     // "destroy".
  COPPICE_TEXT_DATASET = 1,  // What it names first: "tank/vms/a@daily".
  COPPICE_TEXT_CALLER = 2,   // Who asked: "uid=1000, pid=17".
  COPPICE_TEXT_COMMAND = 3,  // All of it in one line: "destroy tank/vms/a@daily recursive=true".
  // At export.connect.
  COPPICE_TEXT_EXPORT = 4,   // The export's name.
  COPPICE_TEXT_ADDRESS = 5,  // Where it is served: "unix:/run/coppice/tank.sock".
  COPPICE_TEXT_PEER = 6,     // The client: "uid=1000, pid=17", or "192.0.2.7:51234".
};

#ifdef __bpf__

// At admin and export.connect. Copies the text `kind`, cut to `size` bytes with the zero behind it,
// and clears what is left of them. Returns its whole length, without the zero; -EINVAL: this hook
// has no such text.
static long (*const coppice_text)(void* context, __u32 kind, char* to, __u32 size) = (void*)0x10001;

// At admin and export.connect. What those who are refused are told: the text up to its zero, in
// `size` bytes, of which at most 255 count. Returns 0.
static long (*const coppice_refuse)(void* context, const char* text, __u32 size) = (void*)0x10002;

// At volume.submit. Puts bytes into the answer of a read, `offset` bytes behind where it begins; it
// is the answer if the verdict is COPPICE_COMPLETE. Returns 0; -ERANGE: it is no read, or ends
// before these bytes do.
static long (*const coppice_reply)(void* context, __u64 offset, const void* from,
                                   __u32 size) = (void*)0x10003;

// At volume.submit. Copies bytes of a write, from `offset` bytes behind where it begins: all of it
// can be had so, between data and data_end the first 64 KiB. Returns 0; -ERANGE: it is no write, or
// ends before these bytes do; `to` is cleared then.
static long (*const coppice_payload)(void* context, __u64 offset, void* to,
                                     __u32 size) = (void*)0x10004;

// At tracepoints. Copies the view from its beginning, or the arguments of an internal one, and
// clears what is left of `size` bytes. Returns the view's size, which may be larger or smaller.
static long (*const coppice_view)(void* context, void* to, __u32 size) = (void*)0x10005;

#endif  // __bpf__
