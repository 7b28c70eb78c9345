// bpf/object/btf_reader.h — looks at every byte of a BTF section, once.
#pragma once

#include <vector>

#include "base/endian.h"
#include "bpf/object/btf.h"

namespace coppice::bpf {

// Reads in three passes, since types refer to later ones: the records by themselves, what they
// refer to, and then sizes from the innermost outwards.
class BtfReader {
 public:
  explicit BtfReader(std::span<const std::byte> section) : section_(section) {}
  Result<Btf> read();

 private:
  // Which part of a list of the Btf is a type's; spans are made when the lists grow no more.
  struct Range {
    size_t first = 0;
    u32 count = 0;
  };
  struct Header {
    std::span<const std::byte> types;
    size_t types_at = 0;  // In the section.
  };

  Result<Header> read_header();
  Result<> read_types(const Header& header);
  Result<> read_type(Reader& from);
  Result<> read_tail(Reader& from, Btf::Type& type, u32 vlen, bool flag);
  void read_integer(Reader& from, Btf::Type& type);
  Result<> read_members(Reader& from, u32 count, bool with_bitfields);
  Result<> read_enumerators(Reader& from, const Btf::Type& type, u32 count);
  Result<> read_parameters(Reader& from, u32 count);
  void read_placed(Reader& from, u32 count);
  void make_spans();

  Result<> check_type(u32 id);
  Result<> check_lists(u32 id);
  Result<> check_tag(u32 id);
  Result<> expect_value_type(u32 id, u32 target, const char* what);
  Result<> resolve(u32 id, u32 depth);
  Result<> resolve_array(u32 id);
  Result<> check_member(u32 id, const Btf::Member& member);
  Result<std::string_view> name_at(u32 offset);
  std::unexpected<Error> bad(u32 id, const std::string& why) const;

  static constexpr u8 kUnseen = 0xff, kActive = 0xfe;  // Beside heights.

  std::span<const std::byte> section_;
  Btf btf_;
  std::vector<Range> ranges_;      // By id.
  std::vector<size_t> record_at_;  // By id: where in the section.
  std::vector<u8> heights_;        // By id: how deep what it is made of nests.
};

}  // namespace coppice::bpf
