#include "bpf/object/btf_extension.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/endian.h"
#include "bpf/instruction.h"
#include "bpf/object/elf.h"

namespace coppice::bpf {
namespace {

constexpr u16 kMagic = 0xeb9f;
constexpr u32 kHeaderBytes = 24;  // Without CO-RE, as the first compilers wrote it.
constexpr u32 kHeaderBytesWithCore = 32;
constexpr u32 kRecordBytesMax = 256;
constexpr u32 kColumnBits = 10;

class ExtensionReader {
 public:
  ExtensionReader(std::span<const std::byte> section, const Btf& btf)
      : section_(section), btf_(btf) {}

  Result<BtfExtension> read() {
    Reader from(section_);
    const u16 magic = from.get<u16>();
    const u8 version = from.get<u8>();
    from.skip(1);
    header_bytes_ = from.get<u32>();
    if (!from.good() || magic != kMagic || version != 1 || header_bytes_ < kHeaderBytes ||
        header_bytes_ > section_.size())
      return bad(0, fmt::format("magic number {:#06x}, version {}, header of {} bytes: it has "
                                "{:#06x}, 1, and at least {}",
                                magic, version, header_bytes_, kMagic, kHeaderBytes));
    const Part functions{from.get<u32>(), from.get<u32>()};
    const Part lines{from.get<u32>(), from.get<u32>()};
    Part cores{};
    if (header_bytes_ >= kHeaderBytesWithCore) {
      cores.offset = from.get<u32>();
      cores.bytes = from.get<u32>();
    }
    if (!from.good()) return bad(0, "the header is cut off");
    TRY_VOID(read_part(functions, 8, extension_.functions));
    TRY_VOID(read_part(lines, 16, extension_.lines));
    TRY_VOID(read_part(cores, 16, extension_.cores));
    return std::move(extension_);
  }

 private:
  struct Part {
    u32 offset = 0, bytes = 0;
  };

  std::unexpected<Error> bad(u64 offset, const std::string& why) const {
    return bad_object(Errc::invalid, ".BTF.ext", offset, why);
  }

  // A part is the size of its records, then for each section its name, how many, the records.
  template <class Record>
  Result<> read_part(Part part, u32 record_bytes,
                     std::map<std::string_view, std::vector<Record>>& into) {
    if (part.bytes == 0) return {};
    const u64 begin = u64{header_bytes_} + part.offset;
    if (begin + part.bytes > section_.size())
      return bad(begin, fmt::format("{} bytes of records reach behind its {}", part.bytes,
                                    section_.size()));
    Reader from(section_.subspan(begin, part.bytes));
    const auto at = [&] { return begin + part.bytes - from.remaining(); };
    const u32 stride = from.get<u32>();
    if (stride < record_bytes || stride > kRecordBytesMax)
      return bad(begin,
                 fmt::format("records of {} bytes; they have at least {}", stride, record_bytes));
    while (from.remaining() > 0) {
      const u64 place = at();
      const auto name = btf_.string_at(from.get<u32>());
      const u32 count = from.get<u32>();
      if (!from.good() || !name) return bad(place, "it names no section of code");
      if (u64{count} * stride > from.remaining())
        return bad(place,
                   fmt::format("{} records of {} bytes for section '{}' reach behind the end",
                               count, stride, *name));
      std::vector<Record>& records = into[*name];
      for (u32 i = 0; i < count; ++i) {
        const u64 record_at = at();
        Reader fields(from.bytes(stride));
        TRY_VOID(read_record(record_at, fields, records.emplace_back()));
        if (records.back().offset % kSlotBytes != 0)
          return bad(record_at, fmt::format("no instruction of section '{}' begins at {:#x}", *name,
                                            records.back().offset));
      }
    }
    for (auto& [name, records] : into) {
      // As clang writes them, and then those of one offset keep their order.
      if (!std::ranges::is_sorted(records, {}, &Record::offset))
        std::ranges::sort(records, {}, &Record::offset);
    }
    return {};
  }

  Result<> read_record(u64 at, Reader& from, FunctionRecord& record) {
    record.offset = from.get<u32>();
    record.type = from.get<u32>();
    if (record.type >= btf_.count() || btf_.type(record.type).kind != Btf::Kind::function)
      return bad(at, fmt::format("type {} is no function", record.type));
    return {};
  }

  Result<> read_record(u64 at, Reader& from, LineRecord& record) {
    record.offset = from.get<u32>();
    const auto file = btf_.string_at(from.get<u32>());
    const auto text = btf_.string_at(from.get<u32>());
    const u32 place = from.get<u32>();
    if (!file || !text) return bad(at, "the name of a file or a line lies behind the strings");
    record.file = *file;
    record.text = *text;
    record.line = place >> kColumnBits;
    record.column = place & ((1 << kColumnBits) - 1);
    return {};
  }

  Result<> read_record(u64 at, Reader& from, CoreRecord& record) {
    record.offset = from.get<u32>();
    record.type = from.get<u32>();
    const auto access = btf_.string_at(from.get<u32>());
    const u32 kind = from.get<u32>();
    if (record.type >= btf_.count())
      return bad(at,
                 fmt::format("there is no type {}: {} is the last", record.type, btf_.count() - 1));
    if (!access || access->size() == Btf::kNameMax)
      return bad(at, "the way to the field lies behind the strings, or is too long");
    if (kind > static_cast<u32>(CoreKind::type_matches))
      return bad(at, fmt::format("there is no kind {} of CO-RE relocations", kind));
    record.access = *access;
    record.kind = static_cast<CoreKind>(kind);
    return {};
  }

  std::span<const std::byte> section_;
  const Btf& btf_;
  u32 header_bytes_ = 0;
  BtfExtension extension_;
};

}  // namespace

Result<BtfExtension> BtfExtension::read(std::span<const std::byte> section, const Btf& btf) {
  return ExtensionReader(section, btf).read();
}

}  // namespace coppice::bpf
