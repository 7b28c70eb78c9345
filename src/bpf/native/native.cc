#include "bpf/native/native.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "bpf/native/request.h"

namespace coppice::bpf {
namespace {

constexpr const char* kWhat = "cannot use the machine code";
constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

Result<std::shared_ptr<const Image>> Image::map(int descriptor) {
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals)
    return fail(Errc::denied, kWhat, "its file is not sealed against changes");
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) return fail(Errc::io, kWhat, errno);
  const u64 bytes = static_cast<u64>(status.st_size);
  if (bytes < sizeof(ImageHeader) || bytes > kImageBytesMax)
    return fail(Errc::too_big, kWhat,
                fmt::format("its file has {} bytes; {} to {} are possible", bytes,
                            sizeof(ImageHeader), kImageBytesMax));
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, descriptor, 0);
  if (base == MAP_FAILED) return fail(Errc::io, kWhat, errno);
  ImageHeader header;
  std::memcpy(&header, base, sizeof header);
  std::shared_ptr<const Image> image(
      new Image(static_cast<const std::byte*>(base), bytes, header.entry));
  if (header.magic != kImageMagic || header.bytes != bytes || header.entry < sizeof header ||
      header.entry >= bytes)
    return fail(Errc::corrupt, kWhat,
                fmt::format("its header makes no sense: {} bytes, entry at {}", header.bytes,
                            header.entry));
  return image;
}

Image::~Image() { ::munmap(const_cast<std::byte*>(base_), bytes_); }

}  // namespace coppice::bpf
