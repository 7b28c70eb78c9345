#include "cli/object_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <kj/io.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "bpf/object/elf.h"

namespace coppice::cli {
namespace {

Attempt<bpf::Btf> read_types(std::span<const std::byte> bytes, const std::string& path) {
  constexpr std::byte kMagic[] = {std::byte{0x9f}, std::byte{0xeb}};
  if (bytes.size() >= sizeof kMagic &&
      std::equal(std::begin(kMagic), std::end(kMagic), bytes.begin())) {
    TRY(auto alone, bpf::Btf::read(bytes));
    return alone;
  }
  TRY(const auto file, bpf::ElfFile::read(bytes));
  const auto* section = file.find(".BTF");
  if (section == nullptr)
    return refuse(fmt::format("cannot read types from '{}': it has no section .BTF", path));
  TRY(auto types, bpf::Btf::read(section->bytes));
  return types;
}

}  // namespace

Attempt<std::vector<std::byte>> read_file(const std::string& path, size_t bytes_max) {
  const bool standard = path == "-";
  kj::AutoCloseFd fd(standard ? ::dup(STDIN_FILENO)
                              : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  const auto why = [&] {
    return refuse(fmt::format("cannot read '{}': {}", path, std::strerror(errno)));
  };
  if (fd.get() < 0) return why();
  std::vector<std::byte> bytes;
  std::byte buffer[64 * 1024];
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return why();
    if (got == 0) return bytes;
    bytes.insert(bytes.end(), buffer, buffer + got);
    if (bytes.size() > bytes_max)
      return refuse(fmt::format("cannot read '{}': it has more than {} bytes", path, bytes_max));
  }
}

Attempt<bpf::Object> read_object_file(const std::string& path, const std::string& btf,
                                      bpf::ReadOptions options) {
  std::optional<bpf::Btf> host;
  if (!btf.empty()) {
    TRY(const auto bytes, read_file(btf, bpf::kObjectBytesMax));
    TRY(host, read_types(bytes, btf));
    options.host = &*host;
    options.own_types = false;
  }
  TRY(const auto bytes, read_file(path, bpf::kObjectBytesMax));
  TRY(auto object, bpf::Object::read(bytes, options));
  return object;
}

}  // namespace coppice::cli
