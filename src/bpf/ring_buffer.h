// bpf/ring_buffer.h — records for somebody else, in the kernel's layout.
//
// Theory. Three pieces, in memory one after the other: a page with the consumer's position, a page
// with the producer's, the data; and the data once more behind itself, so that no record is torn. A
// record is a header (u32 length with the BUSY and DISCARD bits, u32 pages from the ring's first
// page to the header) and the bytes, rounded up to 8. Positions only grow. reserve() writes a BUSY
// header and moves the producer's position past it; submit() and discard() clear BUSY; a consumer
// reads up to the producer's position, stops at a BUSY record, and moves its own.
//
// The consumer's page is a file of its own, because a consumer elsewhere writes it: what it writes
// can make the ring full or lose its own records, and nothing else. The other file is sealed
// against new writable mappings. Producers check the position they read, never trust it.
#pragma once

#include <atomic>

#include "bpf/map.h"
#include "bpf/seq_lock.h"

namespace coppice::bpf {

inline constexpr u32 kRingBusy = u32{1} << 31;
inline constexpr u32 kRingDiscard = u32{1} << 30;
inline constexpr u32 kRingHeaderBytes = 8;
inline constexpr u64 kRingPage = 4096;
// Flags of submit, discard and output; and what bpf_ringbuf_query asks.
inline constexpr u64 kRingNoWakeup = 1, kRingForceWakeup = 2;
inline constexpr u64 kRingAvailable = 0, kRingSize = 1, kRingConsumer = 2, kRingProducer = 3;

class RingBuffer final : public Map {
 public:
  // max_entries: the bytes of data, a power of two and a multiple of a page.
  static Result<std::unique_ptr<Map>> make(MapSpec spec);
  ~RingBuffer() override;

  const MapSpec& spec() const override { return spec_; }
  std::byte* reserve(u64 size);  // Null: no room, or too large.
  static void submit(std::byte* record, u64 flags) { commit(record, flags, 0); }
  static void discard(std::byte* record, u64 flags) { commit(record, flags, kRingDiscard); }
  int output(const std::byte* data, u64 size, u64 flags);
  u64 query(u64 what) const;

  // For a consumer: page one is its own to write, the rest (producer's page, then data) to read.
  int consumer_fd() const { return consumer_fd_; }
  int ring_fd() const { return ring_fd_; }
  int event_fd() const { return event_fd_; }  // Becomes readable when a record waits.

 private:
  explicit RingBuffer(MapSpec spec) : spec_(std::move(spec)) {}
  static void commit(std::byte* record, u64 flags, u32 bits);
  Result<> open_files();
  Result<> map_files();
  u64 consumer() const;
  std::atomic<u64>& producer() const {
    return *reinterpret_cast<std::atomic<u64>*>(base_ + 2 * kRingPage);
  }
  std::byte* data() const { return base_ + 3 * kRingPage; }

  MapSpec spec_;
  int consumer_fd_ = -1, ring_fd_ = -1, event_fd_ = -1;
  std::byte* base_ = nullptr;  // A page of our own with a pointer to this, then the three pieces.
  SeqLock lock_;               // Of reserve().
};

// A consumer, in this process or another that was given the two files.
class RingReader {
 public:
  static Result<RingReader> open(int consumer_fd, int ring_fd, u32 data_bytes);
  RingReader(RingReader&& other) noexcept
      : consumer_(std::exchange(other.consumer_, nullptr)),
        ring_(std::exchange(other.ring_, nullptr)),
        data_bytes_(other.data_bytes_) {}
  RingReader& operator=(RingReader&&) = delete;
  ~RingReader();
  // Calls `take` for the records that wait, oldest first, and lets go of each; how many there were.
  u64 poll(const std::function<void(std::span<const std::byte>)>& take);

 private:
  RingReader(std::byte* consumer, std::byte* ring, u32 data_bytes)
      : consumer_(consumer), ring_(ring), data_bytes_(data_bytes) {}
  std::byte* consumer_;
  std::byte* ring_;  // The producer's page, and the data twice.
  u32 data_bytes_;
};

}  // namespace coppice::bpf
