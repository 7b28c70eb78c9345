#include "serve/nbd/outbox.h"

#include <algorithm>

namespace coppice::serve::nbd {

Outbox::Outbox(u32 replies_max) : arena_bytes_(replies_max * kShortReplyMax) {
  for (Batch& batch : batches_) {
    batch.arena = std::make_unique_for_overwrite<std::byte[]>(arena_bytes_);
    batch.parts.reserve(replies_max);
    batch.buffers.reserve(replies_max);
  }
}

// Adjacent short replies become one part.
std::byte* Outbox::short_reply(size_t bytes) {
  Batch& batch = *filling_;
  CHECK(bytes <= kShortReplyMax);
  CHECK(batch.arena_used + bytes <= arena_bytes_);
  std::byte* at = batch.arena.get() + batch.arena_used;
  batch.arena_used += bytes;
  if (!batch.parts.empty() && batch.parts.back().data() + batch.parts.back().size() == at) {
    auto& last = batch.parts.back();
    last = {last.data(), last.size() + bytes};
  } else {
    batch.parts.emplace_back(at, bytes);
  }
  return at;
}

void Outbox::add_simple(u64 cookie, wire::Status status) {
  wire::SimpleReply{status, cookie}.encode(short_reply(wire::SimpleReply::kBytes));
}

std::byte* Outbox::error_chunk(u64 cookie, wire::ChunkType type, wire::Status status,
                               std::string_view message, size_t bytes_after) {
  CHECK(status != wire::Status::ok);
  size_t length = std::min(message.size(), kMessageMax);
  // Cut between characters, not inside one: the message is UTF-8.
  while (length > 0 && length < message.size() && (message[length] & 0xc0) == 0x80) --length;
  const u32 body = static_cast<u32>(4 + 2 + length + bytes_after);
  std::byte* at = short_reply(wire::Chunk::kBytes + body);
  at = wire::Chunk{wire::kChunkDone, type, cookie, body}.encode(at);
  at = wire::put_be(at, static_cast<u32>(status));
  at = wire::put_be(at, static_cast<u16>(length));
  std::memcpy(at, message.data(), length);
  return at + length;
}

void Outbox::add_error(u64 cookie, wire::Status status, std::string_view message) {
  error_chunk(cookie, wire::ChunkType::error, status, message, 0);
}

void Outbox::add_error_at(u64 cookie, wire::Status status, u64 offset, std::string_view message) {
  wire::put_be(error_chunk(cookie, wire::ChunkType::error_offset, status, message, sizeof(offset)),
               offset);
}

void Outbox::add_payload(std::span<const std::byte> reply, Buffer buffer) {
  CHECK(!reply.empty() && buffer);
  filling_->parts.push_back(reply);
  filling_->buffers.push_back(std::move(buffer));
}

void Outbox::weigh(u64 bytes) {
  ++filling_->weight.requests;
  filling_->weight.bytes += bytes;
}

io::Socket::Parts Outbox::begin_send() {
  CHECK(!busy_ && !empty());
  busy_ = true;
  std::swap(filling_, sending_);
  return sending_->parts;
}

Outbox::Weight Outbox::end_send() {
  CHECK(busy_);
  busy_ = false;
  sending_->arena_used = 0;
  sending_->parts.clear();
  sending_->buffers.clear();
  return std::exchange(sending_->weight, {});
}

}  // namespace coppice::serve::nbd
