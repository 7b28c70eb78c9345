#include "bpf/testing/objects.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "base/check.h"

namespace coppice::bpf {

std::vector<Variant> all_variants() {
  std::vector<Variant> variants;
  for (const char* cpu : {"v1", "v2", "v3", "v4"}) {
    for (const char* level : {"O1", "O2"}) variants.push_back({.cpu = cpu, .level = level});
  }
  return variants;
}

void PrintTo(const Variant& variant, std::ostream* out) {
  *out << variant.cpu << '_' << variant.level;
}

std::vector<std::byte> object_bytes(const std::string& name, const Variant& variant) {
  const std::string path =
      fmt::format("{}/{}-{}-{}.o", COPPICE_BPF_PROGRAMS, name, variant.cpu, variant.level);
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Btf types_of(std::span<const std::byte> object) {
  const auto file = ElfFile::read(object);
  CHECK(file.has_value());
  const ElfFile::Section* section = file->find(".BTF");
  CHECK(section != nullptr);
  auto btf = Btf::read(section->bytes);
  CHECK(btf.has_value());
  return *std::move(btf);
}

}  // namespace coppice::bpf
