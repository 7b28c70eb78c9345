#include "bpf/object/btf_writer.h"

#include "base/check.h"
#include "base/endian.h"

namespace coppice::bpf {
namespace {

constexpr u32 kHeaderBytes = 24;
constexpr u32 kMagicAndVersion = 0x0001eb9f;
constexpr u32 kSignedEncoding = 1, kBoolEncoding = 4;
constexpr u32 kMembersMax = 0xffff;

constexpr u32 info_of(Btf::Kind kind, u32 count) { return static_cast<u32>(kind) << 24 | count; }

}  // namespace

Result<BtfWriter> BtfWriter::behind(std::span<const std::byte> base) {
  TRY(const Btf read, Btf::read(base));
  BtfWriter writer;
  writer.first_ = read.count();
  // It was read, so its header is right.
  const u32 header_bytes = load_le<u32>(&base[4]);
  const auto part = [&](size_t field) {
    return base.subspan(header_bytes + load_le<u32>(&base[field]), load_le<u32>(&base[field + 4]));
  };
  const auto types = part(8);
  writer.types_.assign(types.begin(), types.end());
  for (const std::byte each : part(16)) writer.strings_.push_back(static_cast<char>(each));
  return writer;
}

u32 BtfWriter::text(std::string_view text) {
  if (text.empty()) return 0;
  const u32 at = static_cast<u32>(strings_.size());
  strings_.insert(strings_.end(), text.begin(), text.end());
  strings_.push_back('\0');
  return at;
}

u32 BtfWriter::add(std::string_view name, Btf::Kind kind, u32 size_or_type,
                   std::vector<u32> words) {
  records_.push_back({text(name), info_of(kind, 0), size_or_type, std::move(words)});
  return first_ + static_cast<u32>(records_.size()) - 1;
}

u32 BtfWriter::number(std::string_view name, u32 bytes, bool is_signed, bool is_bool) {
  const u32 encoding = (is_signed ? kSignedEncoding : 0) | (is_bool ? kBoolEncoding : 0);
  return add(name, Btf::Kind::integer, bytes, {encoding << 24 | bytes * 8});
}

u32 BtfWriter::pointer(u32 to) { return add({}, Btf::Kind::pointer, to, {}); }

u32 BtfWriter::array(u32 element, u32 index, u32 count) {
  return add({}, Btf::Kind::array, 0, {element, index, count});
}

u32 BtfWriter::declare_structure(std::string_view name, u32 bytes) {
  return add(name, Btf::Kind::structure, bytes, {});
}

void BtfWriter::define_structure(u32 id, const std::vector<Member>& members) {
  CHECK(id >= first_ && id - first_ < records_.size() && members.size() <= kMembersMax);
  Record& record = records_[id - first_];
  CHECK(record.info == info_of(Btf::Kind::structure, 0));
  record.info = info_of(Btf::Kind::structure, static_cast<u32>(members.size()));
  for (const Member& member : members) {
    const u32 name = text(member.name);
    record.words.insert(record.words.end(), {name, member.type, member.offset * 8});
  }
}

std::vector<std::byte> BtfWriter::bytes() const {
  size_t words = 0;
  for (const Record& record : records_) words += 3 + record.words.size();
  const size_t types_bytes = types_.size() + words * sizeof(u32);
  std::vector<std::byte> bytes(kHeaderBytes + types_bytes + strings_.size());
  Writer to(bytes);
  const u32 types = static_cast<u32>(types_bytes);
  for (const u32 word :
       {kMagicAndVersion, kHeaderBytes, u32{0}, types, types, static_cast<u32>(strings_.size())})
    to.put(word);
  to.bytes(types_);
  for (const Record& record : records_) {
    for (const u32 word : {record.name, record.info, record.size_or_type}) to.put(word);
    for (const u32 word : record.words) to.put(word);
  }
  to.bytes(std::as_bytes(std::span(strings_)));
  CHECK(to.remaining() == 0);
  return bytes;
}

}  // namespace coppice::bpf
