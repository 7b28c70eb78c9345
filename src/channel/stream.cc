#include "channel/stream.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace coppice::channel {

using message::FrameHead;
using message::kFrameHeadBytes;

Task<FrameStream::Frame> FrameStream::next() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    // After a rare large frame.
    if (buffer_.size() > kBufferBytes) buffer_ = std::vector<std::byte>(kBufferBytes);
  }
  while (end_ - begin_ < kFrameHeadBytes) {
    Task<> receiving = receive_more(kFrameHeadBytes);
    co_await ok(std::move(receiving));
  }
  const std::optional<FrameHead> head = message::decode_head(
      std::span<const std::byte, kFrameHeadBytes>(buffer_.data() + begin_, kFrameHeadBytes));
  if (!head) co_return fail(Errc::corrupt, "read a frame", "its head makes no sense");
  const size_t whole = sizeof(u32) + head->length;
  while (end_ - begin_ < whole) {
    Task<> receiving = receive_more(whole);
    co_await ok(std::move(receiving));
  }
  Frame frame{head->kind, std::span<const std::byte>(buffer_).subspan(begin_ + kFrameHeadBytes,
                                                                      whole - kFrameHeadBytes)};
  begin_ += whole;
  co_return frame;
}

// `wanted`: of a frame that begins at begin_. At least one byte.
Task<> FrameStream::receive_more(size_t wanted) {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) {
    CHECK(buffer_.size() < wanted);
    buffer_.resize(std::min(wanted, 2 * buffer_.size()));
  }
  Task<size_t> receiving = socket_.receive(std::span(buffer_).subspan(end_));
  const size_t got = co_await ok(std::move(receiving));
  if (got == 0) co_return fail(Errc::closed, "read a frame");
  end_ += got;
  co_return {};
}

Task<> FrameStream::send(std::vector<std::byte> frame) {
  const std::span<const std::byte> part(frame);
  const io::Socket::Parts parts(&part, 1);
  Task<> sending = socket_.send(parts);
  co_return co_await std::move(sending);
}

}  // namespace coppice::channel
