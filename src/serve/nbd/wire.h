// serve/nbd/wire.h — the numbers and fixed structures of the NBD protocol.
//
// Source: "The NBD protocol", doc/proto.md of https://github.com/NetworkBlockDevice/nbd. Everything
// on the wire is big-endian and unaligned, so structures are encoded and decoded byte by byte here
// and nowhere else. Values of the enumerations come from peers and may be any number: switch with a
// default.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/endian.h"

namespace coppice::serve::nbd::wire {

// Stores and steps on.
template <Scalar T>
std::byte* put_be(std::byte* into, T value) {
  store_be(into, value);
  return into + sizeof(value);
}
template <Scalar T>
void append_be(std::vector<std::byte>& out, T value) {
  std::byte bytes[sizeof(T)];
  store_be(bytes, value);
  out.insert(out.end(), bytes, bytes + sizeof(bytes));
}
inline void append_text(std::vector<std::byte>& out, std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// ---- Negotiation ----

inline constexpr u64 kGreetingMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr u64 kOptionMagic = 0x49484156454f5054;    // "IHAVEOPT"
inline constexpr u64 kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr u16 kHandshakeFixedNewstyle = 1 << 0;  // The same bits in the client's answer.
inline constexpr u16 kHandshakeNoZeroes = 1 << 1;
inline constexpr size_t kExportNamePadding =
    124;  // After the answer to export_name, unless no_zeroes.

enum class Option : u32 {
  export_name = 1,
  abort = 2,
  list = 3,
  starttls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
};

inline constexpr u32 kReplyError = 1u << 31;
enum class OptionReply : u32 {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  err_unsup = kReplyError + 1,
  err_policy = kReplyError + 2,
  err_invalid = kReplyError + 3,
  err_platform = kReplyError + 4,
  err_tls_reqd = kReplyError + 5,
  err_unknown = kReplyError + 6,
  err_shutdown = kReplyError + 7,
  err_block_size_reqd = kReplyError + 8,
  err_too_big = kReplyError + 9,
};

enum class Info : u16 { export_ = 0, name = 1, description = 2, block_size = 3 };

inline constexpr u16 kFlagHasFlags = 1 << 0;
inline constexpr u16 kFlagReadOnly = 1 << 1;
inline constexpr u16 kFlagSendFlush = 1 << 2;
inline constexpr u16 kFlagSendFua = 1 << 3;
inline constexpr u16 kFlagSendTrim = 1 << 5;
inline constexpr u16 kFlagSendWriteZeroes = 1 << 6;
inline constexpr u16 kFlagSendDf = 1 << 7;
inline constexpr u16 kFlagCanMultiConn = 1 << 8;
inline constexpr u16 kFlagSendCache = 1 << 10;
inline constexpr u16 kFlagSendFastZero = 1 << 11;

// The head of an option, before `length` bytes of data.
struct OptionHeader {
  static constexpr size_t kBytes = 16;
  u64 magic;
  Option option;
  u32 length;
  static OptionHeader decode(const std::byte* from) {
    return {load_be<u64>(from), Option{load_be<u32>(from + 8)}, load_be<u32>(from + 12)};
  }
};

// ---- Transmission ----

inline constexpr u32 kRequestMagic = 0x25609513;
inline constexpr u32 kSimpleReplyMagic = 0x67446698;
inline constexpr u32 kStructuredReplyMagic = 0x668e33ef;

enum class Command : u16 {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7,
};

inline constexpr u16 kCommandFua = 1 << 0;
inline constexpr u16 kCommandNoHole = 1 << 1;
inline constexpr u16 kCommandDf = 1 << 2;
inline constexpr u16 kCommandReqOne = 1 << 3;
inline constexpr u16 kCommandFastZero = 1 << 4;

// The protocol's own error numbers; they are Linux's, whatever the host's are.
enum class Status : u32 {
  ok = 0,
  eperm = 1,
  eio = 5,
  enomem = 12,
  einval = 22,
  enospc = 28,
  eoverflow = 75,
  enotsup = 95,
  eshutdown = 108,
};

struct Request {
  static constexpr size_t kBytes = 28;
  u32 magic;
  u16 flags;
  Command command;
  u64 cookie;  // The client's, returned as it came.
  u64 offset;
  u32 length;
  static Request decode(const std::byte* from) {
    return {load_be<u32>(from),     load_be<u16>(from + 4),  Command{load_be<u16>(from + 6)},
            load_be<u64>(from + 8), load_be<u64>(from + 16), load_be<u32>(from + 24)};
  }
};

struct SimpleReply {
  static constexpr size_t kBytes = 16;
  Status status;
  u64 cookie;
  std::byte* encode(std::byte* into) const {
    into = put_be(into, kSimpleReplyMagic);
    into = put_be(into, static_cast<u32>(status));
    return put_be(into, cookie);
  }
};

inline constexpr u16 kChunkDone = 1 << 0;  // The last chunk of its reply.
enum class ChunkType : u16 {
  none = 0,
  offset_data = 1,               // u64 offset, then the data.
  offset_hole = 2,               // u64 offset, u32 length.
  block_status = 5,              // u32 context, then (u32 length, u32 flags) each.
  error = (1 << 15) + 1,         // u32 status, u16 bytes of message, message.
  error_offset = (1 << 15) + 2,  // The same, then u64 offset.
};

struct Chunk {
  static constexpr size_t kBytes = 20;
  static constexpr size_t kDataBytes = kBytes + 8;   // With the offset of offset_data.
  static constexpr size_t kHoleBytes = kBytes + 12;  // All of an offset_hole.
  u16 flags;
  ChunkType type;
  u64 cookie;
  u32 length;  // Of what follows this header.
  std::byte* encode(std::byte* into) const {
    into = put_be(into, kStructuredReplyMagic);
    into = put_be(into, flags);
    into = put_be(into, static_cast<u16>(type));
    into = put_be(into, cookie);
    return put_be(into, length);
  }
};

// ---- Metadata contexts ----

inline constexpr std::string_view kBaseNamespace = "base:";
inline constexpr std::string_view kBaseAllocation = "base:allocation";
inline constexpr u32 kBaseAllocationId = 1;  // Ours to choose.
inline constexpr u32 kStateHole = 1 << 0;
inline constexpr u32 kStateZero = 1 << 1;

}  // namespace coppice::serve::nbd::wire
