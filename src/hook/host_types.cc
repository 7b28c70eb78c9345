#include "hook/host_types.h"

#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <cstring>

#include "base/check.h"
#include "bpf/object/elf.h"

// The object of headers.c, whole.
asm(".pushsection .rodata\n"
    ".balign 8\n"
    "coppice_headers_object: .incbin \"" COPPICE_HEADERS_OBJECT
    "\"\n"
    "coppice_headers_object_end:\n"
    ".popsection\n");
extern "C" [[gnu::visibility("hidden")]] const std::byte coppice_headers_object[];
extern "C" [[gnu::visibility("hidden")]] const std::byte coppice_headers_object_end[];

namespace coppice::hook {

std::span<const std::byte> header_types() {
  const std::span object(coppice_headers_object, coppice_headers_object_end);
  const auto file = bpf::ElfFile::read(object);
  CHECK(file.has_value());
  const auto* section = file->find(".BTF");
  CHECK(section != nullptr);
  return section->bytes;
}

namespace {

// The first object that is told of is the program itself.
int read_notes(dl_phdr_info* info, size_t, void* into) {
  constexpr size_t kAlignment = 4;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    const char* at = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
    const char* end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* content =
          at + sizeof note + (note.n_namesz + kAlignment - 1) / kAlignment * kAlignment;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof "GNU") {
        for (u32 n = 0; n < note.n_descsz; ++n)
          *static_cast<std::string*>(into) += fmt::format("{:02x}", static_cast<u8>(content[n]));
        return 1;
      }
      at = content + (note.n_descsz + kAlignment - 1) / kAlignment * kAlignment;
    }
  }
  return 1;
}

}  // namespace

std::string build_id() {
  std::string id;
  dl_iterate_phdr(read_notes, &id);
  return id;
}

}  // namespace coppice::hook
