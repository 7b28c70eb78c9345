// cli/typed_value.h — bytes of a program's maps as people read and write them.
//
// Theory. If BTF says what the bytes are, they are JSON: numbers, structures as objects, names of
// enumerators, text for arrays of char, hexadecimal digits for arrays of bytes; if nothing does,
// all of them are digits. What is printed can be read back. What is written names only what shall
// change: fields that are left out stay as they are.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "bpf/object/btf.h"
#include "cli/failure.h"

namespace coppice::cli {

using Json = nlohmann::ordered_json;

struct ValueType {
  const bpf::Btf* types = nullptr;  // Null: nothing is known.
  u32 id = 0;                       // 0: likewise.
};

Json value_of_bytes(const ValueType& type, std::span<const std::byte> bytes);

// Writes `value` into bytes that hold the present value, or zeroes.
Attempt<> put_value(const ValueType& type, const Json& value, std::span<std::byte> into);

// The same of what a person typed: JSON, or a number or text as it is.
Attempt<> put_text(const ValueType& type, const std::string& text, std::span<std::byte> into);

// On one line, with names as they are and long runs of zeroes shortened: {hits: 3, log2: [0 x12,
// 5]}.
std::string show_value(const Json& value);

}  // namespace coppice::cli
