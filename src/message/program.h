// message/program.h — what the daemon and `coppice-lua` say to each other.
//
// Theory. There are two sockets. The *nursery* is a SOCK_SEQPACKET pair between the daemon and the
// zygote, one message a packet: the daemon sends Nursery once (the verb table), then Spawn with the
// child's end of a new stream pair riding on it; the zygote forks, answers Started with a pidfd
// riding on it, and later Ended. The *program's* stream is between the daemon and one sealed child:
// frames of a u32 length (of what follows it), a u8 kind, and the message. The daemon sends Begin;
// the child then asks, one question at a time, and each Ask has one Answer; the last thing it sends
// is End. A frame that is too long, of a wrong kind, out of turn or that does not decode ends the
// program: each side takes the other for hostile.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "message/value.h"

namespace coppice::message {

inline constexpr u32 kProtocolVersion = 1;        // In Nursery: helper and daemon are of one build.
inline constexpr size_t kFrameBytesMax = 16_MiB;  // Of Begin and End.
inline constexpr size_t kAskBytesMax = 1_MiB;     // Of Ask and Answer.
inline constexpr size_t kSourceBytesMax = 1_MiB;  // Of a program.
inline constexpr size_t kPageRowsMax = 4096;      // Of a list.
inline constexpr size_t kPageBytesMax = 256_KiB;

// --- The nursery
struct VerbName {
  std::string name{};
  std::string usage{};  // "destroy NAME [recursive=flag] ...".
};
struct Nursery {  // Daemon to zygote, first.
  u32 version = kProtocolVersion;
  std::vector<VerbName> verbs{};  // Ask::verb is an index into this.
};
struct Spawn {  // Daemon to zygote; with one descriptor.
  u64 id = 0;
  u64 cpu_ns_max = 0;
  u64 memory_bytes_max = 0;  // What the program may have; the process gets that and its own.
};
struct Started {  // Zygote to daemon; with a pidfd, unless `error`.
  u64 id = 0;
  u32 pid = 0;
  i32 error = 0;  // errno: it could not be forked.
};
struct Ended {  // Zygote to daemon, once for each Started without error.
  u64 id = 0;
  i32 signal = 0;  // That killed it; SIGPROF: its CPU time was used up. 0: it exited.
  i32 status = 0;
};

// --- The program's stream
enum class FrameKind : u8 { begin = 1, ask = 2, answer = 3, end = 4 };

struct Begin {
  bool sync = false;  // May change the pool; else pool.sync refuses, and pool.try is thrown away.
  u64 instructions_max = 0;
  u64 memory_bytes_max = 0;
  std::string pool{};    // Its name.
  std::string name{};    // Of the program: the chunk's name in messages.
  std::string source{};  // Text; a precompiled chunk is refused.
  Value argument{};      // What the chunk is called with: {argv = {...}}.
};

// Arguments in {} are positional. What is wrong with a call (a name outside the pool, an unknown
// dataset in get or list, wrong arguments) is a fatal Answer; what a verb refuses is an error.
enum class Call : u8 {
  check = 1,   // verb, positional, named -> what `sync` would answer here and now.
  sync = 2,    // The same, done; of a rollback the value is {target = ...}, else nil. In a
               // program that may not: fatal.
  try_ = 3,    // As sync; in a program that may not sync it is thrown away at the end.
  get = 4,     // {name, property} -> a list of value and source, or nil if the target has none
               // of that. Source: the dataset where it is set, "default", or nil.
  exists = 5,  // {name} -> bool.
  list = 6,    // {what, name} -> cursor. Rows of `what`: children, descendants, snapshots,
               // bookmarks, clones: {full name}. holds: {tag, unix time}. properties (all),
               // user_properties: {name, value, source} as get has them. system_properties:
               // {name}. exports (of it and all below): {full name, protocol, address, read
               // only, pinned}.
  page = 7,  // {cursor, from, count} -> [rows, next]. rows[i] is row `from` + i (0 is the first) of
             // the list as it was at `list`: a list of its columns, or nil if it is gone by now.
             // (So that who throws rows away can ask again from any of them.) next: where to go on,
             // 0 at the end.
  drop = 8,  // {cursor}: no more pages of it will be asked for.
  savepoint = 9,   // -> a number, to be given to exactly one of:
  keep = 10,       // {number}: what was done since it stays. Ends younger savepoints as well.
  roll_back = 11,  // {number}: what was done since it is undone, likewise.
  note = 12,       // {text}: for the trace.
};

struct Ask {
  Call call = Call::exists;
  u16 verb = 0;  // For check, sync and try.
  List positional{};
  Record named{};
};

struct Answer {
  // 0, or the errno that the program gets as the call's result.
  i32 error = 0;
  bool fatal = false;  // The program ends with `message` as an error of its call (wrong arguments).
  Value value{};       // Of a refusal: the details, a list of texts.
  std::string message{};
};

enum class Ending : u8 {
  returned = 0,
  failed = 1,        // A runtime error. ECHRNG.
  instructions = 2,  // Used up. ETIME.
  memory = 3,        // ENOSPC.
  syntax = 4,        // It does not compile. EINVAL.
  result = 5,        // What it returned cannot be converted (EINVAL) or is too big (ENOMEM).
};

struct End {
  Ending ending = Ending::returned;
  bool too_big = false;     // With Ending::result.
  Value value{};            // With Ending::returned: a Record, a scalar or nil.
  std::string message{};    // Else: what the error said.
  std::string traceback{};  // Frames, youngest first, each with its locals.
  u64 instructions = 0;
  u64 memory_peak_bytes = 0;
};

std::vector<std::byte> encode(const Nursery& message);
std::vector<std::byte> encode(const Spawn& message);
std::vector<std::byte> encode(const Started& message);
std::vector<std::byte> encode(const Ended& message);
// Of the stream's messages: the whole frame, with length and kind. Whoever sends it looks at its
// size first (length_max).
std::vector<std::byte> encode(const Begin& message);
std::vector<std::byte> encode(const Ask& message);
std::vector<std::byte> encode(const Answer& message);
std::vector<std::byte> encode(const End& message);

// Of one packet, or of what follows a frame's kind. nullopt: it is not one.
template <class Message>
std::optional<Message> decode(std::span<const std::byte> bytes);

// The head of a frame: length of the kind and the message together, and the kind.
struct FrameHead {
  u32 length = 0;
  FrameKind kind{};
};
inline constexpr size_t kFrameHeadBytes = 5;
// nullopt: the kind is unknown, or the length is 0 or more than that kind may have.
std::optional<FrameHead> decode_head(std::span<const std::byte, kFrameHeadBytes> bytes);
constexpr size_t length_max(FrameKind kind) {
  return kind == FrameKind::begin || kind == FrameKind::end ? kFrameBytesMax : kAskBytesMax;
}

// A frame written piece by piece: `Encoder encoder = begin_frame(kind); ...; end_frame(encoder)`.
Encoder begin_frame(FrameKind kind);
std::vector<std::byte> end_frame(Encoder& encoder);

}  // namespace coppice::message
