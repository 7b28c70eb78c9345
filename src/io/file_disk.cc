#include "io/file_disk.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <cerrno>
#include <vector>

namespace coppice::io {
namespace {

bool aligned(u64 value) { return value % kDiskBlock == 0; }
bool aligned(const std::byte* address) {
  return aligned(reinterpret_cast<std::uintptr_t>(address));
}

bool transient(int res) { return res == -EINTR || res == -EAGAIN; }

std::unexpected<Error> failed(const char* what, int res) {
  const bool full = res == -ENOSPC || res == -EDQUOT || res == -EFBIG;
  return fail(full ? Errc::no_space : Errc::io, what, -res);
}

// What is left of a gathered write.
class Gather {
 public:
  explicit Gather(Disk::Parts parts) {
    CHECK(parts.size() <= kPartsMax);
    vectors_.reserve(parts.size());
    for (const auto part : parts) {
      CHECK(aligned(part.size()) && aligned(part.data()));
      if (part.empty()) continue;
      vectors_.push_back({const_cast<std::byte*>(part.data()), part.size()});
      left_bytes_ += part.size();
    }
  }
  const iovec* data() const { return vectors_.data() + first_; }
  unsigned count() const { return static_cast<unsigned>(vectors_.size() - first_); }
  u64 left_bytes() const { return left_bytes_; }
  void advance(u64 bytes) {
    CHECK(bytes <= left_bytes_);
    left_bytes_ -= bytes;
    while (bytes > 0) {
      iovec& vector = vectors_[first_];
      const u64 step = std::min<u64>(bytes, vector.iov_len);
      vector.iov_base = static_cast<std::byte*>(vector.iov_base) + step;
      vector.iov_len -= step;
      if (vector.iov_len == 0) ++first_;
      bytes -= step;
    }
  }

 private:
  std::vector<iovec> vectors_;
  size_t first_ = 0;
  u64 left_bytes_ = 0;
};

}  // namespace

Task<> FileDisk::read(u64 offset, std::span<std::byte> into) {
  CHECK(aligned(offset) && aligned(into.size()) && aligned(into.data()));
  for (int attempt = 0; !into.empty(); ++attempt) {
    if (attempt == kRetriesMax)
      co_return fail(Errc::io, "reading from the disk: it does too little");
    const auto prepare = [fd = fd_, into, offset](io_uring_sqe& sqe) {
      io_uring_prep_read(&sqe, fd, into.data(), static_cast<unsigned>(into.size()), offset);
    };
    const int res = co_await reactor_.submit(prepare);
    if (transient(res)) continue;
    if (res < 0) co_return failed("reading from the disk", res);
    if (res == 0) co_return fail(Errc::io, "reading past the end of the disk");
    const u64 done = round_down(static_cast<u64>(res), kDiskBlock);  // The rest must stay aligned.
    offset += done;
    into = into.subspan(done);
  }
  co_return {};
}

Task<> FileDisk::write(u64 offset, Parts parts) {
  CHECK(aligned(offset));
  Gather gather(parts);
  for (int attempt = 0; gather.left_bytes() > 0; ++attempt) {
    if (attempt == kRetriesMax) co_return fail(Errc::io, "writing to the disk: it does too little");
    const auto prepare = [fd = fd_, &gather, offset](io_uring_sqe& sqe) {
      io_uring_prep_writev(&sqe, fd, gather.data(), gather.count(), offset);
    };
    const int res = co_await reactor_.submit(prepare);
    if (transient(res)) continue;
    if (res < 0) co_return failed("writing to the disk", res);
    const u64 done = round_down(static_cast<u64>(res), kDiskBlock);
    offset += done;
    gather.advance(done);
  }
  co_return {};
}

Task<> FileDisk::flush() {
  for (int attempt = 0;; ++attempt) {
    const auto prepare = [fd = fd_](io_uring_sqe& sqe) {
      io_uring_prep_fsync(&sqe, fd, IORING_FSYNC_DATASYNC);
    };
    const int res = co_await reactor_.submit(prepare);
    if (res == -EINTR && attempt < kRetriesMax) continue;
    if (res < 0) co_return failed("flushing the disk", res);
    co_return {};
  }
}

Task<> FileDisk::punch(u64 offset, u64 length) {
  CHECK(aligned(offset) && aligned(length));
  if (!punches_ || length == 0) co_return {};
  for (int attempt = 0;; ++attempt) {
    const auto prepare = [fd = fd_, offset, length](io_uring_sqe& sqe) {
      io_uring_prep_fallocate(&sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(offset), static_cast<off_t>(length));
    };
    const int res = co_await reactor_.submit(prepare);
    if (transient(res) && attempt < kRetriesMax) continue;
    if (res == -EOPNOTSUPP || res == -ENOSYS) {
      punches_ = false;  // It was only a hint.
      co_return {};
    }
    if (res < 0) co_return failed("punching a hole in the disk", res);
    co_return {};
  }
}

}  // namespace coppice::io
