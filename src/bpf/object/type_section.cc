#include "bpf/object/type_section.h"

#include <fmt/format.h>

#include "base/endian.h"

namespace coppice::bpf {

Result<std::vector<std::byte>> read_type_section(const ElfFile& file) {
  const ElfFile::Section* types = file.find(".BTF");
  if (types == nullptr) return std::vector<std::byte>();
  std::vector<std::byte> bytes(types->bytes.begin(), types->bytes.end());
  for (const ElfFile::Relocation& each : file.relocations(file.number_of(*types))) {
    const bool known = each.kind == kRelocateData32 || each.kind == kRelocateBtf32;
    if (!known || bytes.size() < 4 || each.offset > bytes.size() - 4)
      return bad_object(Errc::invalid, types->name, each.offset,
                        fmt::format("a relocation of kind {} here makes no sense", each.kind));
    std::byte* at = bytes.data() + each.offset;
    store_le(at, static_cast<u32>(load_le<u32>(at) + file.symbols()[each.symbol].value));
  }
  return bytes;
}

}  // namespace coppice::bpf
