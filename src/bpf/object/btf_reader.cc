#include "bpf/object/btf_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace coppice::bpf {
namespace {

using Kind = Btf::Kind;

constexpr u16 kMagic = 0xeb9f;
constexpr u8 kVersion = 1;
constexpr u32 kHeaderBytes = 24;
constexpr u32 kRecordBytes = 12;  // At least, each.

std::unexpected<Error> bad_section(const std::string& why) {
  return fail(Errc::invalid, "cannot read the types (BTF)", why);
}

// What a pointer, a member or a parameter may be: not a thing that has a type, but a type.
bool is_value_type(Kind kind) {
  return kind != Kind::function && kind != Kind::variable && kind != Kind::section &&
         kind != Kind::declaration_tag;
}

bool takes_size(Kind kind) {
  return kind == Kind::integer || kind == Kind::structure || kind == Kind::union_ ||
         kind == Kind::enumeration || kind == Kind::enumeration64 || kind == Kind::section ||
         kind == Kind::floating;
}

}  // namespace

std::unexpected<Error> BtfReader::bad(u32 id, const std::string& why) const {
  CHECK(id < record_at_.size());
  return bad_section(fmt::format("type {} at offset {:#x}: {}", id, record_at_[id], why));
}

Result<Btf> Btf::read(std::span<const std::byte> section) { return BtfReader(section).read(); }

Result<Btf> BtfReader::read() {
  TRY(const Header header, read_header());
  TRY_VOID(read_types(header));
  make_spans();
  for (u32 id = 1; id < btf_.count(); ++id) TRY_VOID(check_type(id));
  heights_.assign(btf_.count(), kUnseen);
  btf_.sizes_.resize(btf_.count());
  for (u32 id = 0; id < btf_.count(); ++id) TRY_VOID(resolve(id, 0));
  for (u32 id = 1; id < btf_.count(); ++id) {
    if (!btf_.types_[id].name.empty()) btf_.by_name_.push_back(id);
  }
  std::ranges::sort(btf_.by_name_, {}, [&](u32 id) { return std::pair(btf_.types_[id].name, id); });
  return std::move(btf_);
}

Result<BtfReader::Header> BtfReader::read_header() {
  if (section_.size() > Btf::kBytesMax)
    return fail(
        Errc::too_big, "cannot read the types (BTF)",
        fmt::format("they have {} bytes; {} are the most", section_.size(), Btf::kBytesMax));
  Reader from(section_);
  const u16 magic = from.get<u16>();
  const u8 version = from.get<u8>();
  from.skip(1);  // Flags: none are defined.
  const u32 header_bytes = from.get<u32>();
  const u32 types_offset = from.get<u32>();
  const u32 types_bytes = from.get<u32>();
  const u32 strings_offset = from.get<u32>();
  const u32 strings_bytes = from.get<u32>();
  if (!from.good())
    return bad_section(fmt::format("{} bytes are no header of 24", section_.size()));
  if (magic != kMagic)
    return bad_section(fmt::format("offset 0: {:#06x} is not its magic number, {:#06x}{}", magic,
                                   kMagic, magic == 0x9feb ? " (these are big-endian)" : ""));
  if (version != kVersion)
    return bad_section(fmt::format("offset 2: version {}; only 1 is known", version));
  const u64 room = section_.size();
  if (header_bytes < kHeaderBytes || header_bytes > room)
    return bad_section(
        fmt::format("offset 4: a header of {} bytes in a section of {}", header_bytes, room));
  if (u64{header_bytes} + types_offset + types_bytes > room)
    return bad_section(fmt::format("offset 8: types at {:#x} of {} bytes reach behind the end",
                                   types_offset, types_bytes));
  if (u64{header_bytes} + strings_offset + strings_bytes > room)
    return bad_section(fmt::format("offset 16: strings at {:#x} of {} bytes reach behind the end",
                                   strings_offset, strings_bytes));
  const auto strings = section_.subspan(header_bytes + strings_offset, strings_bytes);
  if (strings.empty() || strings.front() != std::byte{0} || strings.back() != std::byte{0})
    return bad_section("offset 16: the table of strings must begin and end with a zero");
  btf_.strings_.resize(strings.size());
  std::memcpy(btf_.strings_.data(), strings.data(), strings.size());
  return Header{section_.subspan(header_bytes + types_offset, types_bytes),
                header_bytes + size_t{types_offset}};
}

Result<std::string_view> BtfReader::name_at(u32 offset) {
  const u32 id = btf_.count();
  const auto name = btf_.string_at(offset);
  if (!name) return bad(id, fmt::format("its name at {:#x} lies behind the strings", offset));
  if (name->size() == Btf::kNameMax)
    return bad(id, fmt::format("a name of more than {} bytes", Btf::kNameMax - 1));
  return *name;
}

Result<> BtfReader::read_types(const Header& header) {
  btf_.types_.emplace_back();  // Void.
  ranges_.emplace_back();
  record_at_.push_back(0);
  Reader from(header.types);
  while (from.remaining() > 0) {
    record_at_.push_back(header.types_at + header.types.size() - from.remaining());
    if (btf_.count() == Btf::kTypesMax)
      return bad(btf_.count(), fmt::format("more than {} types", Btf::kTypesMax - 1));
    TRY_VOID(read_type(from));
  }
  CHECK(ranges_.size() == btf_.count());
  return {};
}

Result<> BtfReader::read_type(Reader& from) {
  const u32 id = btf_.count();
  const u32 name_offset = from.get<u32>();
  const u32 info = from.get<u32>();
  const u32 size_or_type = from.get<u32>();
  if (!from.good()) return bad(id, fmt::format("fewer than the {} bytes of a type", kRecordBytes));
  const u32 vlen = info & 0xffff, kind = info >> 24 & 0x1f;
  const bool flag = info >> 31 != 0;
  if ((info & 0x60ff0000) != 0)
    return bad(id, fmt::format("reserved bits are set in {:#010x}", info));
  if (kind == 0 || kind > static_cast<u32>(Kind::enumeration64))
    return bad(id, fmt::format("there is no kind {} of types", kind));
  TRY(const std::string_view name, name_at(name_offset));
  Btf::Type type{.kind = static_cast<Kind>(kind), .name = name};
  (takes_size(type.kind) ? type.size : type.type) = size_or_type;
  if (type.size > Btf::kSizeMax)
    return bad(id, fmt::format("a size of {} bytes; {} are the most", type.size, Btf::kSizeMax));
  ranges_.push_back({.count = vlen});
  TRY_VOID(read_tail(from, type, vlen, flag));
  if (!from.good()) return bad(id, fmt::format("the types end within this {}", name_of(type.kind)));
  btf_.types_.push_back(type);
  return {};
}

// What follows the three words of each record.
Result<> BtfReader::read_tail(Reader& from, Btf::Type& type, u32 vlen, bool flag) {
  const u32 id = btf_.count();
  switch (type.kind) {
    case Kind::integer: read_integer(from, type); break;
    case Kind::array:
      type.type = from.get<u32>();
      type.index_type = from.get<u32>();
      type.count = from.get<u32>();
      break;
    case Kind::structure:
    case Kind::union_: return read_members(from, vlen, flag);
    case Kind::enumeration:
    case Kind::enumeration64: type.is_signed = flag; return read_enumerators(from, type, vlen);
    case Kind::forward: type.is_union = flag; break;
    case Kind::function:
      if (vlen > static_cast<u32>(Btf::Linkage::external))
        return bad(id, fmt::format("there is no linkage {}", vlen));
      type.linkage = static_cast<Btf::Linkage>(vlen);
      break;
    case Kind::prototype: return read_parameters(from, vlen);
    case Kind::variable: {
      const u32 linkage = from.get<u32>();
      if (linkage > static_cast<u32>(Btf::Linkage::external))
        return bad(id, fmt::format("there is no linkage {}", linkage));
      type.linkage = static_cast<Btf::Linkage>(linkage);
      break;
    }
    case Kind::section: read_placed(from, vlen); break;
    case Kind::declaration_tag: type.component = from.get<i32>(); break;
    default: break;
  }
  return {};
}

void BtfReader::read_integer(Reader& from, Btf::Type& type) {
  const u32 data = from.get<u32>();
  type.is_signed = (data >> 24 & 1) != 0;
  type.is_bool = (data >> 24 & 4) != 0;
  type.bits = static_cast<u8>(data & 0xff);
  // Old compilers made bit fields of integers that begin elsewhere; check_type() refuses those.
  type.count = data >> 16 & 0xff;
}

Result<> BtfReader::read_members(Reader& from, u32 count, bool with_bitfields) {
  ranges_.back().first = btf_.members_.size();
  for (u32 i = 0; i < count && from.good(); ++i) {
    TRY(const std::string_view name, name_at(from.get<u32>()));
    const u32 type = from.get<u32>();
    const u32 offset = from.get<u32>();
    btf_.members_.push_back({.name = name,
                             .type = type,
                             .bit_offset = with_bitfields ? offset & 0xffffff : offset,
                             .bitfield_size = with_bitfields ? offset >> 24 : 0});
  }
  return {};
}

Result<> BtfReader::read_enumerators(Reader& from, const Btf::Type& type, u32 count) {
  ranges_.back().first = btf_.enumerators_.size();
  for (u32 i = 0; i < count && from.good(); ++i) {
    TRY(const std::string_view name, name_at(from.get<u32>()));
    const u32 low = from.get<u32>();
    u64 value = low;
    if (type.kind == Kind::enumeration64) {
      value |= u64{from.get<u32>()} << 32;
    } else if (type.is_signed) {
      value = static_cast<u64>(i64{static_cast<i32>(low)});
    }
    btf_.enumerators_.push_back({.name = name, .value = value});
  }
  return {};
}

Result<> BtfReader::read_parameters(Reader& from, u32 count) {
  ranges_.back().first = btf_.parameters_.size();
  for (u32 i = 0; i < count && from.good(); ++i) {
    TRY(const std::string_view name, name_at(from.get<u32>()));
    btf_.parameters_.push_back({.name = name, .type = from.get<u32>()});
  }
  return {};
}

void BtfReader::read_placed(Reader& from, u32 count) {
  const size_t first = btf_.placed_.size();
  ranges_.back().first = first;
  for (u32 i = 0; i < count && from.good(); ++i) {
    const u32 variable = from.get<u32>();
    const u32 offset = from.get<u32>();
    btf_.placed_.push_back({.variable = variable, .offset = offset, .size = from.get<u32>()});
  }
  // clang writes them as it met them.
  std::ranges::sort(std::span(btf_.placed_).subspan(first), {}, &Btf::Placed::offset);
}

void BtfReader::make_spans() {
  for (u32 id = 0; id < btf_.count(); ++id) {
    Btf::Type& type = btf_.types_[id];
    const auto [first, count] = ranges_[id];
    if (type.is_composite()) type.members = std::span(btf_.members_).subspan(first, count);
    if (type.is_enumeration())
      type.enumerators = std::span(btf_.enumerators_).subspan(first, count);
    if (type.kind == Kind::prototype)
      type.parameters = std::span(btf_.parameters_).subspan(first, count);
    if (type.kind == Kind::section) type.placed = std::span(btf_.placed_).subspan(first, count);
  }
}

// `id` refers to `target` as a type of values, or of functions, or void.
Result<> BtfReader::expect_value_type(u32 id, u32 target, const char* what) {
  if (target >= btf_.count())
    return bad(id,
               fmt::format("{} is type {}, and {} is the last", what, target, btf_.count() - 1));
  const Kind kind = btf_.type(target).kind;
  if (!is_value_type(kind))
    return bad(id, fmt::format("{} is type {}, which is a {}", what, target, name_of(kind)));
  return {};
}

Result<> BtfReader::check_type(u32 id) {
  Btf::Type& type = btf_.types_[id];
  switch (type.kind) {
    case Kind::integer:
      if (type.size == 0 || type.size > 16)
        return bad(id, fmt::format("an integer of {} bytes", type.size));
      if (type.bits == 0 || type.bits > type.size * 8)
        return bad(id, fmt::format("an integer of {} bits in {} bytes", type.bits, type.size));
      if (type.count != 0)
        return bad(id, fmt::format("an integer that begins at bit {}; compilers have written 0 "
                                   "for years",
                                   type.count));
      return {};
    case Kind::enumeration:
    case Kind::enumeration64:
      if (type.size != 1 && type.size != 2 && type.size != 4 && type.size != 8)
        return bad(id, fmt::format("an enumeration of {} bytes", type.size));
      return {};
    case Kind::floating:
      if (type.size == 0 || type.size > 16)
        return bad(id, fmt::format("a float of {} bytes", type.size));
      return {};
    case Kind::pointer: return expect_value_type(id, type.type, "what it points to");
    case Kind::array:
      TRY_VOID(expect_value_type(id, type.type, "its element"));
      return expect_value_type(id, type.index_type, "its index");
    case Kind::typedef_:
    case Kind::volatile_:
    case Kind::const_:
    case Kind::restrict_:
    case Kind::type_tag: return expect_value_type(id, type.type, "what it names");
    case Kind::variable: return expect_value_type(id, type.type, "its type");
    case Kind::function:
      if (type.type >= btf_.count() || btf_.type(type.type).kind != Kind::prototype)
        return bad(id, fmt::format("type {} is no prototype of a function", type.type));
      return {};
    case Kind::declaration_tag: return check_tag(id);
    default: return check_lists(id);
  }
}

Result<> BtfReader::check_lists(u32 id) {
  const Btf::Type& type = btf_.type(id);
  for (const Btf::Member& each : type.members)
    TRY_VOID(expect_value_type(id, each.type, "a member"));
  if (type.kind == Kind::prototype) TRY_VOID(expect_value_type(id, type.type, "what it returns"));
  for (const Btf::Parameter& each : type.parameters) {
    TRY_VOID(expect_value_type(id, each.type, "a parameter"));
    if (each.type == 0 && &each != &type.parameters.back())
      return bad(id, "a parameter is void, and it is not the last");
  }
  for (const Btf::Placed& each : type.placed) {
    const bool known = each.variable < btf_.count();
    const Kind kind = known ? btf_.type(each.variable).kind : Kind::none;
    if (kind != Kind::variable && kind != Kind::function)
      return bad(id, fmt::format("type {} is nothing that lies in a section", each.variable));
    if (u64{each.offset} + each.size > Btf::kSizeMax)
      return bad(id, fmt::format("{} bytes at {:#x} are too far", each.size, each.offset));
  }
  return {};
}

Result<> BtfReader::check_tag(u32 id) {
  const Btf::Type& tag = btf_.type(id);
  if (tag.type >= btf_.count())
    return bad(id, fmt::format("it is of type {}, and {} is the last", tag.type, btf_.count() - 1));
  const Btf::Type& of = btf_.type(tag.type);
  size_t components = 0;
  if (of.is_composite()) {
    components = of.members.size();
  } else if (of.kind == Kind::function) {
    // The prototype may stand behind it, and not be looked at yet.
    if (of.type >= btf_.count())
      return bad(id, fmt::format("its function is of type {}, which does not exist", of.type));
    components = btf_.type(of.type).parameters.size();
  } else if (of.kind != Kind::variable && of.kind != Kind::typedef_) {
    return bad(id, fmt::format("a {} takes no tag", name_of(of.kind)));
  }
  if (tag.component < -1 || tag.component >= static_cast<i64>(components))
    return bad(id, fmt::format("its component is {}, of {}", tag.component, components));
  return {};
}

// The size of `id`, after those of what it is made of. Pointers and prototypes end the walk.
Result<> BtfReader::resolve(u32 id, u32 depth) {
  if (heights_[id] == kActive) return bad(id, "it contains itself");
  if (heights_[id] != kUnseen) return {};
  if (depth > Btf::kNestingMax)
    return bad(id, fmt::format("types nest deeper than {}", Btf::kNestingMax));
  heights_[id] = kActive;
  const Btf::Type& type = btf_.type(id);
  u32 height = 0;
  const auto enter = [&](u32 inner) -> Result<> {
    TRY_VOID(resolve(inner, depth + 1));
    height = std::max(height, heights_[inner] + 1u);
    return {};
  };
  std::optional<u32>& size = btf_.sizes_[id];
  if (takes_size(type.kind)) size = type.size;
  if (type.kind == Kind::pointer) size = 8;
  if (type.is_modifier() || type.kind == Kind::variable) {
    TRY_VOID(enter(type.type));
    size = btf_.sizes_[type.type];
  } else if (type.kind == Kind::array) {
    TRY_VOID(enter(type.type));
    TRY_VOID(enter(type.index_type));
    TRY_VOID(resolve_array(id));
  } else {
    for (const Btf::Member& each : type.members) {
      TRY_VOID(enter(each.type));
      TRY_VOID(check_member(id, each));
    }
  }
  if (height > Btf::kNestingMax)
    return bad(id, fmt::format("types nest deeper than {}", Btf::kNestingMax));
  heights_[id] = static_cast<u8>(height);
  return {};
}

Result<> BtfReader::resolve_array(u32 id) {
  const Btf::Type& type = btf_.type(id);
  if (btf_.plain(type.index_type).kind != Kind::integer)
    return bad(id, fmt::format("its index is type {}, which is no integer", type.index_type));
  const auto element = btf_.sizes_[type.type];
  if (!element) return bad(id, fmt::format("its element is type {}, which has no size", type.type));
  if (u64{*element} * type.count > Btf::kSizeMax)
    return bad(id, fmt::format("{} elements of {} bytes; {} bytes are the most", type.count,
                               *element, Btf::kSizeMax));
  btf_.sizes_[id] = *element * type.count;
  return {};
}

Result<> BtfReader::check_member(u32 id, const Btf::Member& member) {
  const auto size = btf_.sizes_[member.type];
  if (!size)
    return bad(id,
               fmt::format("member '{}' is type {}, which has no size", member.name, member.type));
  u64 bits = u64{*size} * 8;
  if (member.bitfield_size > 0) {
    const Btf::Type& type = btf_.plain(member.type);
    if (type.kind != Kind::integer && !type.is_enumeration())
      return bad(
          id, fmt::format("member '{}' is a bit field of a {}", member.name, name_of(type.kind)));
    if (member.bitfield_size > bits)
      return bad(id, fmt::format("member '{}' has {} bits of {}", member.name, member.bitfield_size,
                                 bits));
    bits = member.bitfield_size;
  } else if (member.bit_offset % 8 != 0) {
    return bad(id, fmt::format("member '{}' begins at bit {}, in the middle of a byte", member.name,
                               member.bit_offset));
  }
  if (member.bit_offset + bits > u64{btf_.type(id).size} * 8)
    return bad(id, fmt::format("member '{}' reaches behind the {} bytes of '{}'", member.name,
                               btf_.type(id).size, btf_.type(id).name));
  return {};
}

}  // namespace coppice::bpf
