#include "serve/nbd/option_stream.h"

#include <algorithm>
#include <cstring>

namespace coppice::serve::nbd {

Task<> OptionStream::flush() {
  if (out_.empty()) co_return {};
  const std::span<const std::byte> part = out_;
  const io::Socket::Parts parts(&part, 1);
  auto sent = co_await socket_.send(parts);
  out_.clear();
  co_return sent;
}

Task<> OptionStream::receive() {
  auto sent = co_await flush();
  if (!sent) co_return sent;
  CHECK(tail_ < buffer_.size());
  const auto space = std::span(buffer_).subspan(tail_);
  auto count = co_await socket_.receive(space);
  if (!count) co_return std::unexpected(std::move(count).error());
  if (*count == 0) co_return fail(Errc::closed, "negotiating with an NBD client that left");
  CHECK(*count <= space.size());
  tail_ += *count;
  co_return {};
}

Task<std::span<const std::byte>> OptionStream::take(size_t count) {
  CHECK(count <= buffer_.size());
  if (buffer_.size() - head_ < count) {
    std::memmove(buffer_.data(), buffer_.data() + head_, tail_ - head_);
    tail_ -= std::exchange(head_, 0);
  }
  while (tail_ - head_ < count) {
    auto received = co_await receive();
    if (!received) co_return std::unexpected(std::move(received).error());
  }
  const std::span<const std::byte> taken(buffer_.data() + head_, count);
  head_ += count;
  co_return taken;
}

Task<> OptionStream::skip(u64 count) {
  while (count > 0) {
    if (head_ == tail_) {
      head_ = tail_ = 0;
      auto received = co_await receive();
      if (!received) co_return received;
    }
    const size_t step = std::min<u64>(count, tail_ - head_);
    head_ += step;
    count -= step;
  }
  co_return {};
}

}  // namespace coppice::serve::nbd
