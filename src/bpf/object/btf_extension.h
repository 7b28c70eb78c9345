// bpf/object/btf_extension.h — the section .BTF.ext: which function, which line, and which use of a
// type of the host's each instruction is.
#pragma once

#include <map>

#include "bpf/object/btf.h"

namespace coppice::bpf {

// Offsets are bytes in the section of code.
struct FunctionRecord {
  u64 offset = 0;
  u32 type = 0;  // A Kind::function.
};
struct LineRecord {
  u64 offset = 0;
  u32 line = 0, column = 0;
  std::string_view file, text;
};
// What a CO-RE relocation asks of the host. The format's numbers.
enum class CoreKind : u32 {
  field_byte_offset = 0,
  field_byte_size = 1,
  field_exists = 2,
  field_signed = 3,
  field_left_shift = 4,
  field_right_shift = 5,
  type_id_local = 6,
  type_id_target = 7,
  type_exists = 8,
  type_size = 9,
  enumerator_exists = 10,
  enumerator_value = 11,
  type_matches = 12,
};
struct CoreRecord {
  u64 offset = 0;
  u32 type = 0;             // Of the object's own.
  std::string_view access;  // Indices with colons between: "0:1:2".
  CoreKind kind = CoreKind::field_byte_offset;
};

struct BtfExtension {
  // By the name of the section of code; each list by offset.
  std::map<std::string_view, std::vector<FunctionRecord>> functions;
  std::map<std::string_view, std::vector<LineRecord>> lines;
  std::map<std::string_view, std::vector<CoreRecord>> cores;

  // Types and names are `btf`'s, which must live as long.
  static Result<BtfExtension> read(std::span<const std::byte> section, const Btf& btf);
};

}  // namespace coppice::bpf
