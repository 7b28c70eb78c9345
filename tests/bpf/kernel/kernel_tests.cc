#include "kernel_tests.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "bpf/object/elf.h"

namespace coppice::bpf {
namespace {

// What a test's function is annotated with.
struct Expectation {
  bool privileged = false, unprivileged = false;
  bool auxiliary = false;
  bool accept = true;
  bool strict_alignment = false;
  bool elsewhere = false;  // On other processors.
  std::string message;
};

void note(std::string_view tag, Expectation& expectation) {
  const auto take = [&tag](std::string_view prefix) {
    if (!tag.starts_with(prefix)) return false;
    tag.remove_prefix(prefix.size());
    return true;
  };
  if (!take("comment:test_")) return;
  if (tag.find("unpriv") < tag.find('=')) {
    expectation.unprivileged = true;
  } else if (take("expect_success")) {
    expectation.privileged = true;
  } else if (take("expect_failure")) {
    expectation.privileged = true;
    expectation.accept = false;
  } else if (take("expect_msg=")) {
    expectation.privileged = true;
    if (!expectation.message.empty()) expectation.message += " / ";
    expectation.message += tag.substr(tag.find('=') + 1);
  } else if (take("auxiliary")) {
    expectation.auxiliary = true;
  } else if (take("prog_flags=BPF_F_STRICT_ALIGNMENT")) {
    expectation.strict_alignment = true;
  } else if (take("arch=")) {
    expectation.elsewhere = tag != "X86_64";
  }
}

// Nothing: it is no test of what privileged users may load here.
std::optional<Expectation> expectation_of(const Btf& btf, std::string_view function) {
  const auto id = btf.find(function, Btf::Kind::function);
  if (!id) return {};
  Expectation expectation;
  for (u32 i = 1; i < btf.count(); ++i) {
    const Btf::Type& type = btf.type(i);
    if (type.kind == Btf::Kind::declaration_tag && type.type == *id && type.component == -1)
      note(type.name, expectation);
  }
  if (expectation.auxiliary || expectation.elsewhere) return {};
  if (expectation.unprivileged && !expectation.privileged) return {};
  return expectation;
}

Result<std::vector<std::byte>> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return fail(Errc::not_found, "cannot read a file of the kernel's tests", path);
  const std::string bytes = std::move(text).str();
  const auto span = std::as_bytes(std::span(bytes));
  return std::vector<std::byte>(span.begin(), span.end());
}

std::vector<std::byte> bytes_of(std::string_view hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    u8 byte = 0;
    std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, byte, 16);
    bytes[i] = std::byte{byte};
  }
  return bytes;
}

bool is_known(u32 kind) {
  constexpr u32 kKnown[] = {1, 2, 3, 5, 6, 9, 11, 22, 23, 27};
  return std::ranges::find(kKnown, kind) != std::end(kKnown);
}

// "KIND KEY VALUE ENTRIES FLAGS WHOLE"
MapView read_map(std::istringstream& words) {
  u32 kind = 0, flags = 0, whole = 0;
  MapView view;
  words >> kind >> view.spec.key_size >> view.spec.value_size >> view.spec.max_entries >> flags >>
      whole;
  if (is_known(kind)) {
    view.spec.kind = static_cast<MapKind>(kind);
  } else {
    view.refused = fmt::format("there are no maps of the kernel's kind {}", kind);
  }
  if (whole == 0) view.refused = "a value has a part that is the kernel's own";
  return view;
}

}  // namespace

Result<KernelTests> KernelTests::read(const std::string& folder) {
  KernelTests tests;
  std::vector<std::filesystem::path> objects;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".o") objects.push_back(entry.path());
  }
  std::ranges::sort(objects);
  for (const auto& path : objects) TRY_VOID(tests.read_object(path.string(), path.stem().string()));
  TRY_VOID(tests.read_arrays(folder + "/arrays.txt"));
  return tests;
}

Result<> KernelTests::read_object(const std::string& path, const std::string& name) {
  TRY(const auto bytes, read_file(path));
  TRY(const auto elf, ElfFile::read(bytes));
  const auto* types = elf.find(".BTF");
  if (types == nullptr) return fail(Errc::invalid, "one of the kernel's tests has no BTF", path);
  TRY(const auto btf, Btf::read(types->bytes));
  for (const auto& symbol : elf.symbols()) {
    if (!symbol.is_function || symbol.is_local || symbol.section == ElfFile::kUndefined) continue;
    const auto type = kernel_type_of(elf.section(symbol.section).name);
    const auto expectation = expectation_of(btf, symbol.name);
    if (!type || !expectation) continue;
    KernelTest test{.name = fmt::format("{}/{}", name, symbol.name),
                    .type = *type,
                    .accept = expectation->accept,
                    .strict_alignment = expectation->strict_alignment,
                    .message = expectation->accept ? "" : expectation->message};
    // One at a time: a file may have programs that are no programs at all.
    auto object = Object::read(bytes, {.own_types = true, .only = std::string(symbol.name)});
    if (!object) {
      test.unreadable = describe(object.error());
    } else {
      const Object& kept = objects_.emplace_back(std::move(*object));
      const ObjectProgram& program = kept.programs().front();
      test.program = program.program;
      test.btf = kept.btf();
      test.functions = program.functions;
      test.lines = program.lines;
      test.maps = views_of(kept);
    }
    tests_.push_back(std::move(test));
  }
  return {};
}

Result<> KernelTests::read_arrays(const std::string& path) {
  std::ifstream file(path);
  std::string line, word;
  KernelTest test;
  bool scored = false;
  const auto finish = [&] {
    if (scored) tests_.push_back(std::move(test));
    test = {};
    scored = false;
  };
  while (std::getline(file, line)) {
    std::istringstream words(line);
    words >> word;
    const std::string rest = line.size() > word.size() ? line.substr(word.size() + 1) : "";
    if (word == "test") {
      finish();
      test.name = rest;
      test.name[test.name.find(' ')] = '/';
    } else if (word == "type") {
      u32 number = 0;
      words >> number;
      const auto type = kernel_type_of(number);
      scored = type.has_value();
      test.type = type.value_or(KernelType::socket);
    } else if (word == "verdict") {
      test.accept = rest == "accept";
    } else if (word == "strict") {
      test.strict_alignment = true;
    } else if (word == "map") {
      test.maps.push_back(read_map(words));
    } else if (word == "message") {
      test.message = rest;
    } else if (word == "code") {
      auto program = Program::read(bytes_of(rest));
      if (program) {
        test.program = std::move(*program);
      } else {
        test.unreadable = describe(program.error());
      }
    }
  }
  finish();
  if (!file.eof()) return fail(Errc::not_found, "cannot read a file of the kernel's tests", path);
  return {};
}

}  // namespace coppice::bpf
