// The probes are in the program, under the names and with the arguments that are promised.
#include <elf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <span>
#include <string>

#include "channel/testing/stage.h"

namespace coppice::channel {
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

// "provider:name" -> how many arguments, of the notes of an ELF file.
std::map<std::string, size_t> probes_of(const File& file) {
  std::map<std::string, size_t> probes;
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
        probes[provider + ":" + name] =
            arguments.empty()
                ? 0
                : 1 + static_cast<size_t>(std::count(arguments.begin(), arguments.end(), ' '));
      }
      at = body + (note.n_descsz + 3) / 4 * 4;
    }
  }
  return probes;
}

TEST(Probes, AreInTheProgramWithTheirArguments) {
  const File file("/proc/self/exe");
  ASSERT_FALSE(file.bytes.empty());
  const auto probes = probes_of(file);
  EXPECT_THAT(probes, testing::IsSupersetOf({testing::Pair("coppice:program_begin", 3U),
                                             testing::Pair("coppice:program_verb", 4U),
                                             testing::Pair("coppice:program_end", 4U)}));
}

}  // namespace
}  // namespace coppice::channel
