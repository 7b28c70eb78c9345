// serve/nbd/buffers.h — the memory of one connection: payload buffers and receive buffers.
#pragma once

#include <array>
#include <span>
#include <utility>
#include <vector>

#include "base/ref.h"
#include "base/types.h"

namespace coppice::serve::nbd {

class BufferPool;

// Memory for one payload, with room before it for the headers of a reply. Goes back to its pool.
class Buffer {
 public:
  static constexpr size_t kHeadroom = 64;
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        payload_(other.payload_),
        size_class_(other.size_class_) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(payload_, other.payload_);
    std::swap(size_class_, other.size_class_);
    return *this;
  }
  ~Buffer();
  std::byte* payload() const { return payload_; }  // kHeadroom bytes before it are there, too.
  explicit operator bool() const { return pool_ != nullptr; }

 private:
  friend class BufferPool;
  BufferPool* pool_ = nullptr;
  std::byte* payload_ = nullptr;
  u32 size_class_ = 0;
};

// Keeps freed buffers of a few sizes for reuse: the payloads of small requests never meet malloc.
// Large ones are aligned to pages, so that a device may read and write them directly.
class BufferPool {
 public:
  BufferPool() = default;
  BufferPool(const BufferPool&) = delete;
  ~BufferPool();
  Buffer take(size_t payload_bytes);

 private:
  friend class Buffer;
  static constexpr std::array<size_t, 4> kSizes = {4_KiB, 16_KiB, 64_KiB, 256_KiB};
  static constexpr std::array<size_t, 4> kKeep = {256, 32, 16, 16};
  static constexpr u32 kUnpooled = kSizes.size();
  static size_t offset_of_payload(size_t payload_bytes);
  void give(std::byte* payload, u32 size_class);
  std::array<std::vector<std::byte*>, kSizes.size()> free_;  // By size; the payloads' addresses.
  size_t taken_ = 0;
};

// What the socket fills and requests are parsed from. A write whose payload lies in it holds a Ref
// until the device is done; the bytes of a buffer somebody else refers to are never overwritten.
class ReceiveBuffer : public Counted {
 public:
  // Two requests of the largest payload used in place, and their headers: a stream of those is
  // seldom moved about.
  static constexpr size_t kInPlaceMax = 256_KiB;
  static constexpr size_t kBytes = 2 * kInPlaceMax + 4_KiB;
  ReceiveBuffer();
  ~ReceiveBuffer();
  std::byte* bytes() const { return bytes_; }

 private:
  std::byte* bytes_;
};

// The receive buffers of one connection: one being filled, others while writes hold them.
class Inbox {
 public:
  Inbox();
  // What is received and not yet consumed. Bytes of it that a consumer wants to keep: hold
  // buffer().
  std::span<const std::byte> pending() const { return {current_->bytes() + head_, tail_ - head_}; }
  const Ref<ReceiveBuffer>& buffer() const { return current_; }
  void consume(size_t count);
  void append(std::span<const std::byte> bytes);  // Fits into space().
  // Makes room so that `wanted` bytes, counted from the start of pending(), fit. False if every
  // buffer is held by writes: try again once one is done. wanted <= ReceiveBuffer::kBytes.
  bool make_room(size_t wanted);
  std::span<std::byte> space() const {
    return {current_->bytes() + tail_, ReceiveBuffer::kBytes - tail_};
  }
  void received(size_t count);

 private:
  static constexpr size_t kBuffersMax = 16;
  static constexpr size_t kWorthReceiving = 64_KiB;  // Less space than this is not filled up.
  bool unshared(const Ref<ReceiveBuffer>& buffer) const;
  std::vector<Ref<ReceiveBuffer>> all_;
  Ref<ReceiveBuffer> current_;
  size_t head_ = 0;
  size_t tail_ = 0;
};

}  // namespace coppice::serve::nbd
