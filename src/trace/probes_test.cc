// Every tracepoint is a USDT probe of the program, with its switch as the probe's semaphore.
#include <elf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <string>

#include "base/check.h"
#include "trace/fire.h"

namespace coppice::trace {
namespace {

class File {  // Mapped.
 public:
  explicit File(const char* path) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    struct stat status{};
    if (fd < 0 || ::fstat(fd, &status) != 0) return;
    void* at = ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    ::close(fd);
    if (at != MAP_FAILED)
      bytes = {static_cast<const char*>(at), static_cast<size_t>(status.st_size)};
  }
  File(const File&) = delete;
  ~File() {
    if (!bytes.empty()) ::munmap(const_cast<char*>(bytes.data()), bytes.size());
  }
  template <class T>
  T at(size_t offset) const {
    T value;
    CHECK(offset + sizeof value <= bytes.size());
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  }
  std::span<const char> bytes;
};

struct Probe {
  size_t arguments = 0;
  u64 semaphore = 0;  // Its address in the file.
};

// By name, those of provider `coppice` in the notes of an ELF file.
std::map<std::string, Probe> probes_of(const File& file) {
  std::map<std::string, Probe> probes;
  const auto header = file.at<Elf64_Ehdr>(0);
  for (size_t i = 0; i < header.e_shnum; ++i) {
    const auto section = file.at<Elf64_Shdr>(header.e_shoff + i * header.e_shentsize);
    if (section.sh_type != SHT_NOTE) continue;
    for (size_t at = section.sh_offset; at < section.sh_offset + section.sh_size;) {
      const auto note = file.at<Elf64_Nhdr>(at);
      const char* owner = file.bytes.data() + at + sizeof note;
      const size_t body = at + sizeof note + (note.n_namesz + 3) / 4 * 4;
      if (note.n_type == 3 && std::strcmp(owner, "stapsdt") == 0) {
        const char* text = file.bytes.data() + body + 3 * sizeof(u64);  // After three addresses.
        const std::string provider = text;
        const std::string name = text + provider.size() + 1;
        const std::string arguments = text + provider.size() + name.size() + 2;
        EXPECT_EQ(provider, "coppice");
        probes[name] = {.arguments = static_cast<size_t>(std::ranges::count(arguments, '@')),
                        .semaphore = file.at<u64>(body + 2 * sizeof(u64))};
      }
      at = body + (note.n_descsz + 3) / 4 * 4;
    }
  }
  return probes;
}

// The section of the switches, in the file.
Elf64_Shdr switches_of(const File& file) {
  const auto header = file.at<Elf64_Ehdr>(0);
  const auto names =
      file.at<Elf64_Shdr>(header.e_shoff + size_t{header.e_shstrndx} * header.e_shentsize);
  for (size_t i = 0; i < header.e_shnum; ++i) {
    const auto section = file.at<Elf64_Shdr>(header.e_shoff + i * header.e_shentsize);
    if (std::strcmp(file.bytes.data() + names.sh_offset + section.sh_name, ".probes") == 0)
      return section;
  }
  return {};
}

TEST(Probes, AreAllTheTracepoints) {
  const File file("/proc/self/exe");
  ASSERT_FALSE(file.bytes.empty());
  const auto probes = probes_of(file);
  const auto section = switches_of(file);
  EXPECT_EQ(probes.size(), kPoints);
  EXPECT_EQ(section.sh_type, u32{SHT_PROGBITS});  // The kernel counts in pages of the file.
  for (size_t i = 0; i < kPoints; ++i) {
    const PointInfo& about = points()[i];
    SCOPED_TRACE(about.name);
    const auto found = probes.find(std::string(about.name));
    ASSERT_NE(found, probes.end());
    EXPECT_EQ(found->second.semaphore, section.sh_addr + i * sizeof(Switch));
    if (about.tier == Tier::internal) {
      EXPECT_EQ(found->second.arguments, about.argument_count);
    }
  }
  EXPECT_EQ(probes.at("program_begin").arguments, 4U);
  EXPECT_EQ(probes.at("program_verb").arguments, 5U);
  EXPECT_EQ(probes.at("program_end").arguments, 5U);
}

}  // namespace
}  // namespace coppice::trace
