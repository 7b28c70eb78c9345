// bpf/object/btf_writer.h — writes BTF: new types behind those of a section that is there already.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bpf/object/btf.h"

namespace coppice::bpf {

// What it is told is the caller's to get right; Btf::read() looks at the result. Each function
// returns the new type's id.
class BtfWriter {
 public:
  struct Member {
    std::string name;
    u32 type = 0;
    u32 offset = 0;  // Bytes.
  };

  // Types keep the ids that they have in `base`. invalid: it is no BTF.
  static Result<BtfWriter> behind(std::span<const std::byte> base);

  u32 number(std::string_view name, u32 bytes, bool is_signed, bool is_bool = false);
  u32 pointer(u32 to);
  u32 array(u32 element, u32 index, u32 count);
  // A structure is declared before it is defined, so that others can point to it.
  u32 declare_structure(std::string_view name, u32 bytes);
  void define_structure(u32 id, const std::vector<Member>& members);  // Once, of a declared one.

  std::vector<std::byte> bytes() const;

 private:
  BtfWriter() = default;
  u32 add(std::string_view name, Btf::Kind kind, u32 size_or_type, std::vector<u32> words);
  u32 text(std::string_view text);

  struct Record {
    u32 name = 0, info = 0, size_or_type = 0;
    std::vector<u32> words;
  };
  std::vector<std::byte> types_;  // Of the base.
  std::vector<char> strings_;
  u32 first_ = 0;  // Id of records_[0].
  std::vector<Record> records_;
};

}  // namespace coppice::bpf
