#include "serve/nbd/buffers.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace coppice::serve::nbd {
namespace {
constexpr size_t kPage = 4096;
constexpr size_t kPageAlignFrom = 64_KiB;
static_assert(kPage >= Buffer::kHeadroom);

std::byte* allocate(size_t alignment, size_t bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, round_up(bytes, alignment)));
  CHECK(memory != nullptr);
  return memory;
}
}  // namespace

Buffer::~Buffer() {
  if (pool_ != nullptr) pool_->give(payload_, size_class_);
}

size_t BufferPool::offset_of_payload(size_t payload_bytes) {
  return payload_bytes >= kPageAlignFrom ? kPage : Buffer::kHeadroom;
}

Buffer BufferPool::take(size_t payload_bytes) {
  Buffer buffer;
  buffer.pool_ = this;
  ++taken_;
  u32 size_class = 0;
  while (size_class < kUnpooled && kSizes[size_class] < payload_bytes) ++size_class;
  buffer.size_class_ = size_class;
  if (size_class < kUnpooled && !free_[size_class].empty()) {
    buffer.payload_ = free_[size_class].back();
    free_[size_class].pop_back();
    return buffer;
  }
  const size_t bytes = size_class < kUnpooled ? kSizes[size_class] : payload_bytes;
  const size_t offset = offset_of_payload(bytes);
  buffer.payload_ = allocate(offset, offset + bytes) + offset;
  return buffer;
}

void BufferPool::give(std::byte* payload, u32 size_class) {
  CHECK(taken_ > 0);
  --taken_;
  if (size_class < kUnpooled && free_[size_class].size() < kKeep[size_class]) {
    free_[size_class].push_back(payload);
    return;
  }
  const size_t bytes = size_class < kUnpooled ? kSizes[size_class] : kSizes.back() + 1;
  std::free(payload - offset_of_payload(bytes));
}

BufferPool::~BufferPool() {
  CHECK(taken_ == 0);
  for (size_t i = 0; i < kSizes.size(); ++i)
    for (std::byte* payload : free_[i]) std::free(payload - offset_of_payload(kSizes[i]));
}

ReceiveBuffer::ReceiveBuffer() : bytes_(allocate(kPage, kBytes)) {}
ReceiveBuffer::~ReceiveBuffer() { std::free(bytes_); }

Inbox::Inbox() : current_(new ReceiveBuffer) { all_.push_back(current_); }

bool Inbox::unshared(const Ref<ReceiveBuffer>& buffer) const {
  return buffer->references() == (buffer.get() == current_.get() ? 2u : 1u);  // Ours alone.
}

void Inbox::consume(size_t count) {
  CHECK(count <= tail_ - head_);
  head_ += count;
}

void Inbox::append(std::span<const std::byte> bytes) {
  CHECK(bytes.size() <= space().size());
  if (!bytes.empty()) std::memcpy(space().data(), bytes.data(), bytes.size());
  tail_ += bytes.size();
}

void Inbox::received(size_t count) {
  CHECK(count <= space().size());
  tail_ += count;
}

bool Inbox::make_room(size_t wanted) {
  CHECK(wanted <= ReceiveBuffer::kBytes);
  const size_t left = tail_ - head_;
  if (left == 0 && unshared(current_)) head_ = tail_ = 0;
  const bool fits = head_ + wanted <= ReceiveBuffer::kBytes;
  if (fits && (space().size() >= kWorthReceiving || head_ == 0)) return true;
  if (unshared(current_)) {
    std::memmove(current_->bytes(), current_->bytes() + head_, left);
    tail_ = left;
    head_ = 0;
    return true;
  }
  auto spare = std::ranges::find_if(all_, [this](const auto& each) { return unshared(each); });
  if (spare == all_.end()) {
    if (all_.size() == kBuffersMax) return fits && !space().empty();
    all_.push_back(Ref<ReceiveBuffer>(new ReceiveBuffer));
    spare = std::prev(all_.end());
  }
  std::memcpy((*spare)->bytes(), current_->bytes() + head_, left);
  current_ = *spare;
  tail_ = left;
  head_ = 0;
  return true;
}

}  // namespace coppice::serve::nbd
