// io/file_disk.h — FileDisk: a regular file or block device behind a reactor's ring.
#pragma once

#include "io/disk.h"
#include "io/open_file.h"
#include "io/reactor.h"

namespace coppice::io {

// One reactor's view; several views may share one descriptor, which outlives them all.
class FileDisk final : public Disk {
 public:
  FileDisk(Reactor& reactor, const DiskFile& file)
      : reactor_(reactor), fd_(file.fd), size_bytes_(file.size_bytes) {}
  u64 size_bytes() const override { return size_bytes_; }
  void set_size_bytes(u64 size_bytes) { size_bytes_ = size_bytes; }  // The file grew.
  Task<> read(u64 offset, std::span<std::byte> into) override;
  Task<> write(u64 offset, Parts parts) override;
  Task<> flush() override;
  Task<> punch(u64 offset, u64 length) override;

 private:
  static constexpr int kRetriesMax = 64;  // Of one request, when the kernel did only part of it.

  Reactor& reactor_;
  int fd_;
  u64 size_bytes_;
  bool punches_ = true;  // Until the file says that it cannot.
};

}  // namespace coppice::io
