#include "hook/host_types.h"

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

}  // namespace coppice::hook
