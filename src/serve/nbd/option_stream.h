// serve/nbd/option_stream.h — buffered reading and writing of a negotiating client's stream.
#pragma once

#include <span>
#include <vector>

#include "io/socket.h"

namespace coppice::serve::nbd {

// Reads in pieces of exactly the size asked for, however the bytes arrive. What is appended to
// out() is sent before waiting for more input, so a client that sends many options at once costs
// few sends.
class OptionStream {
 public:
  OptionStream(io::Socket& socket, size_t capacity) : socket_(socket), buffer_(capacity) {}

  // `count` <= capacity; the bytes are valid until the next take() or skip(). closed: the client
  // left.
  Task<std::span<const std::byte>> take(size_t count);
  Task<> skip(u64 count);
  std::vector<std::byte>& out() { return out_; }
  Task<> flush();
  std::vector<std::byte> leftover() const {
    return {buffer_.data() + head_, buffer_.data() + tail_};
  }

 private:
  Task<> receive();
  io::Socket& socket_;
  std::vector<std::byte> buffer_;  // [head_, tail_) is received and not yet taken.
  size_t head_ = 0;
  size_t tail_ = 0;
  std::vector<std::byte> out_;
};

}  // namespace coppice::serve::nbd
