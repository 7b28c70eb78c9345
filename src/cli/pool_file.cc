#include "cli/pool_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <vector>

#include "cli/size.h"

namespace coppice::cli {
namespace {

constexpr u64 kProbedBytes = 1_MiB;

struct Signature {
  size_t offset;
  std::string_view bytes;
  const char* meaning;
};
using namespace std::string_view_literals;
// The first that matches is told; nobody relies on the list being complete, only on its words.
constexpr Signature kSignatures[] = {
    {0, "QFI\xfb"sv, "a qcow2 image"},
    {0, "LUKS\xba\xbe"sv, "a LUKS volume"},
    {0, "XFSB"sv, "an XFS file system"},
    {1080, "\x53\xef"sv, "an ext file system"},
    {65600, "_BHRfS_M"sv, "a btrfs file system"},
    {512, "LABELONE"sv, "an LVM physical volume"},
    {512, "EFI PART"sv, "a partition table"},
    {4096, "EFI PART"sv, "a partition table"},
    {4086, "SWAPSPACE2"sv, "swap space"},
    {32769, "CD001"sv, "an ISO 9660 image"},
    {510, "\x55\xaa"sv, "a partition table or a boot sector"},
};

std::unexpected<Error> fail_on(const std::string& path, const char* what, int sys) {
  const Errc code = sys == ENOENT   ? Errc::not_found
                    : sys == EACCES ? Errc::denied
                    : sys == EROFS  ? Errc::read_only
                    : sys == ENOSPC ? Errc::no_space
                                    : Errc::io;
  auto failed = fail(code, what, sys);
  failed.error().detail = "'" + path + "'";
  return failed;
}

struct Kind {
  bool block_device = false;
  u64 size_bytes = 0;
};
Result<Kind> kind_of(int fd, const std::string& path) {
  constexpr const char* kWhat = "cannot use the file";
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_on(path, kWhat, errno);
  if (S_ISREG(status.st_mode)) return Kind{.size_bytes = static_cast<u64>(status.st_size)};
  if (!S_ISBLK(status.st_mode)) {
    return fail(Errc::invalid, kWhat,
                fmt::format("'{}' is neither a regular file nor a block device", path));
  }
  u64 size_bytes = 0;
  if (::ioctl(fd, BLKGETSIZE64, &size_bytes) != 0) return fail_on(path, kWhat, errno);
  return Kind{.block_device = true, .size_bytes = size_bytes};
}

Result<std::vector<std::byte>> read_at(int fd, u64 offset, u64 length) {
  std::vector<std::byte> bytes(length);
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = ::pread(fd, bytes.data() + filled, bytes.size() - filled,
                                static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(Errc::io, "cannot read what is in the file", errno);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

bool all_zero(const std::vector<std::byte>& bytes) {
  return std::ranges::all_of(bytes, [](std::byte each) { return each == std::byte{}; });
}

Result<> set_size(const PoolFile& file, const NewPoolFile& options, bool block_device) {
  if (!options.size_bytes) return {};
  if (block_device) {
    return fail(
        Errc::invalid, "cannot set the size",
        fmt::format("'{}' is a block device and has its own (leave out --size)", file.path));
  }
  if (::ftruncate(file.fd.get(), static_cast<off_t>(*options.size_bytes)) != 0) {
    return fail_on(file.path, "cannot set the size", errno);
  }
  return {};
}

}  // namespace

Result<std::string> content_of(int fd, u64 size_bytes) {
  const u64 probed = std::min(size_bytes, kProbedBytes);
  TRY(const auto first, read_at(fd, 0, probed));
  for (const Signature& each : kSignatures) {
    if (each.offset + each.bytes.size() > first.size()) continue;
    const auto* at = reinterpret_cast<const char*>(first.data()) + each.offset;
    if (std::string_view(at, each.bytes.size()) == each.bytes) return each.meaning;
  }
  if (!all_zero(first)) return "data";
  TRY(const auto last, read_at(fd, size_bytes - probed, probed));
  return all_zero(last) ? "" : "data";
}

Result<PoolFile> open_pool_file(const std::string& path) {
  const int raw = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (raw < 0) return fail_on(path, "cannot open the file", errno);
  PoolFile file{.fd = kj::AutoCloseFd(raw), .path = std::filesystem::absolute(path).string()};
  TRY(const Kind kind, kind_of(raw, path));
  file.size_bytes = kind.size_bytes;
  return file;
}

Result<PoolFile> make_pool_file(NewPoolFile options) {
  constexpr const char* kWhat = "cannot make the file";
  PoolFile file{.fd = {}, .path = std::filesystem::absolute(options.path).string()};
  int raw = ::open(options.path.c_str(), O_RDWR | O_CLOEXEC);
  if (raw < 0 && errno == ENOENT) {
    if (!options.size_bytes) {
      return fail(Errc::not_found, kWhat,
                  fmt::format("'{}' does not exist (use --size to make it)", options.path));
    }
    raw = ::open(options.path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    file.created = raw >= 0;
  }
  if (raw < 0) return fail_on(options.path, kWhat, errno);
  file.fd = kj::AutoCloseFd(raw);
  TRY(const Kind kind, kind_of(raw, options.path));
  if (!options.force) {
    TRY(const std::string content, content_of(raw, kind.size_bytes));
    if (!content.empty()) {
      return fail(
          Errc::exists, kWhat,
          fmt::format("'{}' holds {} (use --force to overwrite it)", options.path, content));
    }
  }
  if (const Result<> sized = set_size(file, options, kind.block_device); !sized) {
    abandon(file);
    return std::unexpected(sized.error());
  }
  file.size_bytes =
      kind.block_device ? kind.size_bytes : options.size_bytes.value_or(kind.size_bytes);
  return file;
}

void abandon(const PoolFile& file) {
  if (file.created) ::unlink(file.path.c_str());
}

}  // namespace coppice::cli
