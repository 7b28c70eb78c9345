// cap/descriptor.h — descriptors, and those that ride on capabilities.
#pragma once

#include <capnp/capability.h>
#include <unistd.h>

#include <utility>

#include "base/result.h"

namespace coppice::cap {

// Owns a file descriptor, or none.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A descriptor of our own for what `holder` carries; the capability may go after that. invalid: it
// carries none.
kj::Promise<Result<Fd>> take_descriptor(capnp::Capability::Client holder);

}  // namespace coppice::cap
