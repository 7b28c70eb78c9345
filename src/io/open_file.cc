#include "io/open_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>

#include "io/disk.h"

namespace coppice::io {
namespace {

constexpr const char* kOpening = "opening a disk file";

Result<> lock(int fd) {
  struct flock range{};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &range) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) {
    return fail(Errc::busy, kOpening,
                std::string("it is in use by another process; close it there"));
  }
  return fail(Errc::io, "locking a disk file", errno);
}

}  // namespace

Result<u64> size_of_disk_file(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail(Errc::io, "asking for a disk file's size", errno);
  if (S_ISREG(status.st_mode)) return round_down(static_cast<u64>(status.st_size), kDiskBlock);
  if (!S_ISBLK(status.st_mode)) {
    return fail(Errc::invalid, kOpening, std::string("not a regular file or block device"));
  }
  u64 size_bytes = 0;
  if (::ioctl(fd, BLKGETSIZE64, &size_bytes) != 0) {
    return fail(Errc::io, "asking for a block device's size", errno);
  }
  return round_down(size_bytes, kDiskBlock);
}

Result<DiskFile> adopt_disk_file(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail(Errc::invalid, kOpening, errno);
  TRY(const u64 size_bytes, size_of_disk_file(fd));
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fail(Errc::invalid, kOpening, errno);
  if ((flags & O_ACCMODE) != O_RDWR || (flags & O_PATH) != 0) {
    return fail(Errc::read_only, kOpening, std::string("open it for reading and writing"));
  }
  if ((flags & O_APPEND) != 0) {
    return fail(Errc::invalid, kOpening, std::string("open it without O_APPEND"));
  }
  TRY_VOID(lock(fd));
  const bool direct = ::fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
  return DiskFile{fd, size_bytes, direct, S_ISBLK(status.st_mode)};
}

}  // namespace coppice::io
