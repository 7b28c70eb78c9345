#include "bpf/ring_buffer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>

// A record's place passes from one producer to the next by way of a consumer, who has the files
// mapped elsewhere: the thread sanitizer knows addresses, not pages, and has to be told.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define COPPICE_TELL_TSAN 1
#define COPPICE_UNSEEN_BY_TSAN [[clang::disable_sanitizer_instrumentation]]
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif
#endif

namespace coppice::bpf {
namespace {

void taken_from_consumer([[maybe_unused]] void* ring) {
#ifdef COPPICE_TELL_TSAN
  __tsan_acquire(ring);
#endif
}
// From here on the record is the consumer's, and its place soon another producer's: what was said
// to the sanitizer before must be all it sees.
#ifdef COPPICE_TELL_TSAN
COPPICE_UNSEEN_BY_TSAN
#endif
void publish(std::byte* header, u32 length, [[maybe_unused]] void* ring) {
#ifdef COPPICE_TELL_TSAN
  __tsan_release(ring);
#endif
  __atomic_exchange_n(reinterpret_cast<u32*>(header), length, __ATOMIC_SEQ_CST);
}

constexpr u32 kLengthMax = ~u32{0} / 4;  // Of a record.
constexpr u32 kLengthBits = ~(kRingBusy | kRingDiscard);

std::atomic<u32>& header_of(std::byte* record) {
  return *reinterpret_cast<std::atomic<u32>*>(record - kRingHeaderBytes);
}

Result<> map_at(std::byte* at, u64 size, int protection, int fd, u64 offset) {
  void* got = ::mmap(at, size, protection, MAP_SHARED | MAP_FIXED, fd, static_cast<off_t>(offset));
  if (got == MAP_FAILED) return fail(Errc::no_space, "cannot map a ring buffer", errno);
  CHECK(got == at);
  return {};
}

Result<std::byte*> reserve_addresses(u64 size) {
  void* at = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return fail(Errc::no_space, "cannot map a ring buffer", errno);
  return static_cast<std::byte*>(at);
}

}  // namespace

Result<std::unique_ptr<Map>> RingBuffer::make(MapSpec spec) {
  const u32 bytes = spec.max_entries;
  constexpr u32 kDataMax = u32{1} << 30;
  if (!std::has_single_bit(bytes) || bytes < kRingPage || bytes > kDataMax)
    return fail(Errc::invalid, "cannot make a map",
                fmt::format("ring buffer '{}': {} bytes; a power of two from {} to {} is possible",
                            spec.name, bytes, kRingPage, kDataMax));
  std::unique_ptr<RingBuffer> ring(new RingBuffer(std::move(spec)));
  TRY_VOID(ring->open_files());
  TRY_VOID(ring->map_files());
  return std::unique_ptr<Map>(std::move(ring));
}

Result<> RingBuffer::open_files() {
  const auto memory_file = [](const char* name, u64 size) {
    const int fd = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    // Shrunk by its holder elsewhere, it would kill us at the next access.
    if (fd >= 0 && (::ftruncate(fd, static_cast<off_t>(size)) != 0 ||
                    ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)) {
      ::close(fd);
      return -1;
    }
    return fd;
  };
  consumer_fd_ = memory_file("coppice-ring-consumer", kRingPage);
  if (consumer_fd_ < 0) return fail(Errc::no_space, "cannot make a ring buffer's file", errno);
  ring_fd_ = memory_file("coppice-ring", kRingPage + spec_.max_entries);
  if (ring_fd_ < 0) return fail(Errc::no_space, "cannot make a ring buffer's file", errno);
  event_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd_ < 0) return fail(Errc::no_space, "cannot make a ring buffer's eventfd", errno);
  return {};
}

Result<> RingBuffer::map_files() {
  const u64 bytes = spec_.max_entries;
  TRY(base_, reserve_addresses(3 * kRingPage + 2 * bytes));
  constexpr int kBoth = PROT_READ | PROT_WRITE;
  if (::mprotect(base_, kRingPage, kBoth) != 0)
    return fail(Errc::no_space, "cannot map a ring buffer", errno);
  TRY_VOID(map_at(base_ + kRingPage, kRingPage, PROT_READ, consumer_fd_, 0));
  TRY_VOID(map_at(base_ + 2 * kRingPage, kRingPage + bytes, kBoth, ring_fd_, 0));
  TRY_VOID(map_at(data() + bytes, bytes, kBoth, ring_fd_, kRingPage));
  if (::fcntl(ring_fd_, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    return fail(Errc::no_space, "cannot seal a ring buffer's file", errno);
  *reinterpret_cast<RingBuffer**>(base_) = this;
  return {};
}

RingBuffer::~RingBuffer() {
  if (base_ != nullptr) CHECK(::munmap(base_, 3 * kRingPage + 2 * u64{spec_.max_entries}) == 0);
  for (const int fd : {consumer_fd_, ring_fd_, event_fd_}) {
    if (fd >= 0) ::close(fd);
  }
}

u64 RingBuffer::consumer() const {
  return reinterpret_cast<const std::atomic<u64>*>(base_ + kRingPage)
      ->load(std::memory_order_acquire);
}

std::byte* RingBuffer::reserve(u64 size) {
  if (size > kLengthMax) return nullptr;
  const u64 bytes = spec_.max_entries, mask = bytes - 1;
  const u64 length = stride_of(static_cast<u32>(size) + kRingHeaderBytes);
  if (length > bytes) return nullptr;
  const u64 consumed = consumer();
  const Locked locked(lock_);
  const u64 at = producer().load(std::memory_order_relaxed);
  if (at + length - consumed > mask) return nullptr;
  taken_from_consumer(base_);
  std::byte* header = data() + (at & mask);
  const auto pages = static_cast<u32>(static_cast<u64>(header - (base_ + kRingPage)) / kRingPage);
  __atomic_store_n(reinterpret_cast<u32*>(header + 4), pages, __ATOMIC_RELAXED);
  header_of(header + kRingHeaderBytes)
      .store(static_cast<u32>(size) | kRingBusy, std::memory_order_relaxed);
  producer().store(at + length, std::memory_order_release);
  return header + kRingHeaderBytes;
}

void RingBuffer::commit(std::byte* record, u64 flags, u32 bits) {
  std::byte* header = record - kRingHeaderBytes;
  const u32 pages = __atomic_load_n(reinterpret_cast<u32*>(header + 4), __ATOMIC_RELAXED);
  // The header names the ring's first page, the consumer's; ours lies before it.
  auto* page = reinterpret_cast<std::byte*>(round_down(reinterpret_cast<u64>(header), kRingPage));
  auto* ring = *reinterpret_cast<RingBuffer**>(page - u64{pages} * kRingPage - kRingPage);
  const u32 length = header_of(record).load(std::memory_order_relaxed);
  CHECK((length & kRingBusy) != 0);  // A record is let go once.
  publish(header, (length & ~kRingBusy) | bits, ring->base_);
  const u64 mask = ring->spec_.max_entries - 1;
  const u64 position = static_cast<u64>(header - ring->data()) & mask;
  // As in the kernel: a consumer that has caught up is woken; one that is behind reads on anyway.
  const bool waits = (ring->consumer() & mask) == position;
  if ((flags & kRingForceWakeup) == 0 && ((flags & kRingNoWakeup) != 0 || !waits)) return;
  const u64 one = 1;
  // A counter that is full is readable already.
  [[maybe_unused]] const ssize_t written = ::write(ring->event_fd_, &one, sizeof one);
}

int RingBuffer::output(const std::byte* source, u64 size, u64 flags) {
  if ((flags & ~(kRingNoWakeup | kRingForceWakeup)) != 0) return -EINVAL;
  std::byte* record = reserve(size);
  if (record == nullptr) return -EAGAIN;
  if (size > 0) std::memcpy(record, source, size);
  submit(record, flags);
  return 0;
}

u64 RingBuffer::query(u64 what) const {
  const u64 at = producer().load(std::memory_order_acquire);
  switch (what) {
    case kRingAvailable: return at - consumer();
    case kRingSize: return spec_.max_entries;
    case kRingConsumer: return consumer();
    case kRingProducer: return at;
    default: return 0;
  }
}

Result<RingReader> RingReader::open(int consumer_fd, int ring_fd, u32 data_bytes) {
  if (!std::has_single_bit(data_bytes) || data_bytes < kRingPage)
    return fail(Errc::invalid, "cannot open a ring buffer",
                fmt::format("{} bytes are no size of one", data_bytes));
  void* page = ::mmap(nullptr, kRingPage, PROT_READ | PROT_WRITE, MAP_SHARED, consumer_fd, 0);
  if (page == MAP_FAILED) return fail(Errc::io, "cannot map a ring buffer", errno);
  auto ring = reserve_addresses(kRingPage + 2 * u64{data_bytes});
  if (!ring) {
    ::munmap(page, kRingPage);
    return std::unexpected(ring.error());
  }
  RingReader reader(static_cast<std::byte*>(page), *ring, data_bytes);
  TRY_VOID(map_at(*ring, kRingPage + data_bytes, PROT_READ, ring_fd, 0));
  TRY_VOID(map_at(*ring + kRingPage + data_bytes, data_bytes, PROT_READ, ring_fd, kRingPage));
  return reader;
}

RingReader::~RingReader() {
  if (consumer_ == nullptr) return;
  ::munmap(consumer_, kRingPage);
  ::munmap(ring_, kRingPage + 2 * u64{data_bytes_});
}

u64 RingReader::poll(const std::function<void(std::span<const std::byte>)>& take) {
  auto& consumed = *reinterpret_cast<std::atomic<u64>*>(consumer_);
  const auto& produced = *reinterpret_cast<const std::atomic<u64>*>(ring_);
  u64 at = consumed.load(std::memory_order_relaxed), records = 0;
  while (at < produced.load(std::memory_order_acquire)) {
    std::byte* record = ring_ + kRingPage + (at & (data_bytes_ - 1)) + kRingHeaderBytes;
    const u32 header = header_of(record).load(std::memory_order_seq_cst);
    if ((header & kRingBusy) != 0) break;
    const u32 length = header & kLengthBits;
    if (length > data_bytes_ - kRingHeaderBytes) break;  // No producer of ours wrote that.
    if ((header & kRingDiscard) == 0) {
      take({record, length});
      ++records;
    }
    at += stride_of(length + kRingHeaderBytes);
    consumed.store(at, std::memory_order_seq_cst);
  }
  return records;
}

}  // namespace coppice::bpf
