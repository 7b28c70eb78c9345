#include "helper/jit/image_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace coppice::jit {
namespace {

bool fill(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return ::fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

}  // namespace

Result<int> seal_image(std::span<const std::byte> bytes) {
  const int file = ::memfd_create("coppice-code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return fail(Errc::io, "make a file for machine code", errno);
  if (fill(file, bytes)) return file;
  const int error = errno;
  ::close(file);
  return fail(Errc::io, "fill and seal the file of machine code", error);
}

}  // namespace coppice::jit
