// bpf/testing/objects.h — the C programs of the tests, as clang made them at build time.
#pragma once

#include <vector>

#include "bpf/object/object.h"

namespace coppice::bpf {

// One of testing/programs, for one instruction set: "v1" to "v4", and "O1" or "O2".
struct Variant {
  std::string cpu = "v4";
  std::string level = "O2";
};
std::vector<Variant> all_variants();
void PrintTo(const Variant& variant, std::ostream* out);

std::vector<std::byte> object_bytes(const std::string& name, const Variant& variant);

// The types of an object.
Btf types_of(std::span<const std::byte> object);

}  // namespace coppice::bpf
