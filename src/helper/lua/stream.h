// helper/lua/stream.h — the program's end of its socket to the daemon: one question, one answer.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/lookout.h"
#include "message/program.h"

namespace coppice::lua {

// Blocking; its descriptor belongs to somebody else. What is wrong on it is final.
class Stream {
 public:
  explicit Stream(int descriptor);
  bool send(std::span<const std::byte> frame);
  // What follows the head of the next frame. nullopt: the peer is gone, or the frame is not of this
  // kind. Valid until the next call.
  std::optional<std::span<const std::byte>> receive(message::FrameKind kind);

 private:
  bool fill(size_t bytes);  // Until the buffer holds that many.
  int descriptor_;
  std::unique_ptr<std::byte[]> buffer_;
  size_t capacity_;
  size_t held_ = 0;
  Lookout lookout_;
};

}  // namespace coppice::lua
