// channel/stream.h — frames to and from an interpreter.
#pragma once

#include <span>
#include <vector>

#include "io/socket.h"
#include "message/program.h"

namespace coppice::channel {

class FrameStream {
 public:
  explicit FrameStream(io::Socket& socket) : socket_(socket), buffer_(kBufferBytes) {}

  struct Frame {
    message::FrameKind kind{};
    std::span<const std::byte> body;  // Until the next call.
  };
  // closed: it ended; corrupt: this is no frame. Memory grows with what has come, not with what a
  // head promises.
  Task<Frame> next();
  // Something is here already that follows the last frame.
  bool more() const { return begin_ < end_; }
  Task<> send(std::vector<std::byte> frame);

 private:
  static constexpr size_t kBufferBytes = 16_KiB;
  Task<> receive_more(size_t wanted);

  io::Socket& socket_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;  // Received and not handed out.
};

}  // namespace coppice::channel
