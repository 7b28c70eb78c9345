// serve/nbd/outbox.h — replies waiting to be sent together.
//
// Theory. Replies are added to one batch while the other is being sent. A batch owns every byte it
// names: short replies lie in its arena, one after the other and thus in few parts; longer ones lie
// in the Buffers it holds. What a reply weighs (requests, bytes) counts against the connection's
// limits until its batch is sent: a client that does not read its replies stops being read from.
#pragma once

#include <memory>
#include <string_view>

#include "io/socket.h"
#include "serve/nbd/buffers.h"
#include "serve/nbd/wire.h"

namespace coppice::serve::nbd {

class Outbox {
 public:
  static constexpr size_t kMessageMax = 160;
  static constexpr size_t kShortReplyMax = 200;
  static_assert(kShortReplyMax >= wire::Chunk::kBytes + 4 + 2 + kMessageMax + 8);

  struct Weight {
    u32 requests = 0;
    u64 bytes = 0;
  };

  explicit Outbox(u32 replies_max);
  void add_simple(u64 cookie, wire::Status status);
  void add_error(u64 cookie, wire::Status status, std::string_view message);
  void add_error_at(u64 cookie, wire::Status status, u64 offset, std::string_view message);
  void add_payload(std::span<const std::byte> reply, Buffer buffer);  // `reply` lies in `buffer`.
  void weigh(u64 bytes);  // One reply was added; its request weighs this much.

  bool empty() const { return filling_->parts.empty(); }
  io::Socket::Parts begin_send();  // All that was added. One send at a time.
  Weight end_send();               // What it weighed.

 private:
  struct Batch {
    std::unique_ptr<std::byte[]> arena;
    size_t arena_used = 0;
    std::vector<std::span<const std::byte>> parts;
    std::vector<Buffer> buffers;
    Weight weight;
  };
  std::byte* short_reply(size_t bytes);
  std::byte* error_chunk(u64 cookie, wire::ChunkType type, wire::Status status,
                         std::string_view message, size_t bytes_after);
  const size_t arena_bytes_;
  Batch batches_[2];
  Batch* filling_ = &batches_[0];
  Batch* sending_ = &batches_[1];
  bool busy_ = false;
};

}  // namespace coppice::serve::nbd
