#include "helper/lua/stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace coppice::lua {
namespace {

constexpr size_t kBufferBytes = message::kAskBytesMax + message::kFrameHeadBytes;
// How often an answer is looked for before the process goes to sleep for it. Most answers take a
// few microseconds, and waking takes as long again.
constexpr int kLooks = 80;

}  // namespace

Stream::Stream(int descriptor)
    : descriptor_(descriptor),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kBufferBytes)),
      capacity_(kBufferBytes) {}

bool Stream::send(std::span<const std::byte> frame) {
  while (!frame.empty()) {
    const ssize_t sent = ::send(descriptor_, frame.data(), frame.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    frame = frame.subspan(static_cast<size_t>(sent));
  }
  return true;
}

bool Stream::fill(size_t bytes) {
  CHECK(bytes <= capacity_);
  int looks = held_ < bytes && lookout_.worthwhile() ? kLooks : 0;
  while (held_ < bytes) {
    const bool looking = looks > 0;
    const ssize_t got =
        ::recv(descriptor_, buffer_.get() + held_, capacity_ - held_, looking ? MSG_DONTWAIT : 0);
    if (got > 0) {
      held_ += static_cast<size_t>(got);
      if (looking) lookout_.found();
    } else if (got < 0 && looking && errno == EAGAIN) {
      if (--looks == 0) lookout_.in_vain();
    } else if (got == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

std::optional<std::span<const std::byte>> Stream::receive(message::FrameKind kind) {
  held_ = 0;
  if (!fill(message::kFrameHeadBytes)) return std::nullopt;
  const auto head = message::decode_head(std::span<const std::byte, message::kFrameHeadBytes>(
      buffer_.get(), message::kFrameHeadBytes));
  if (!head || head->kind != kind) return std::nullopt;
  const size_t whole = sizeof(u32) + head->length;
  if (whole > capacity_) {  // Begin alone may be so long.
    auto larger = std::make_unique_for_overwrite<std::byte[]>(whole);
    std::memcpy(larger.get(), buffer_.get(), held_);
    buffer_ = std::move(larger);
    capacity_ = whole;
  }
  if (!fill(whole)) return std::nullopt;
  if (held_ != whole) return std::nullopt;  // Nobody asked for a second one.
  return std::span<const std::byte>(buffer_.get() + message::kFrameHeadBytes,
                                    whole - message::kFrameHeadBytes);
}

}  // namespace coppice::lua
