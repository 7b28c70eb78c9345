#include "hook/testing/workshop.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "hook/host_types.h"

namespace coppice::hook::testing {
namespace {

constexpr u64 kSecond = 1'000'000'000;

bpf::Compiler::Options options_of(Engine engine) {
  if (engine == Engine::machine_code)
    return {.helper = COPPICE_JIT_PATH, .deadline_ns = 60 * kSecond};
  return {.start = []() -> Result<std::unique_ptr<bpf::HelperProcess>> {
    return fail(Errc::unsupported, "start a compiler", "this test interprets");
  }};
}

}  // namespace

void PrintTo(Engine engine, std::ostream* out) {
  *out << (engine == Engine::interpreter ? "interpreter" : "machine_code");
}

std::shared_ptr<const std::vector<std::byte>> object_of(const std::string& name) {
  std::ifstream file(fmt::format("{}/{}.o", COPPICE_HOOK_PROGRAMS, name), std::ios::binary);
  CHECK(file.good());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
}

Workshop& Workshop::of(Engine engine) {
  static Workshop interpreting(Engine::interpreter), compiling(Engine::machine_code);
  return engine == Engine::interpreter ? interpreting : compiling;
}

Workshop::Workshop(Engine engine)
    : engine_(engine),
      types_(*Types::make(header_types())),
      compiler_(options_of(engine)),
      loader_(*types_, compiler_, kSlots, kBuildId) {}

const PointType& Workshop::type(std::string_view section) const {
  const PointType* found = types_->of_section(section);
  CHECK(found != nullptr);
  return *found;
}

Loaded<std::shared_ptr<const Instance>> Workshop::load(const std::string& name,
                                                       const Settings& settings) {
  return loader_.load({.object = object_of(name), .settings = settings});
}

std::shared_ptr<const Instance> Workshop::get(const std::string& name) {
  auto instance = load(name);
  CHECK(instance.has_value());
  for (const LoadedProgram& program : (*instance)->programs)
    CHECK((program.native != nullptr) == (engine_ == Engine::machine_code));
  return *std::move(instance);
}

bpf::Map& map_of(const Instance& instance, std::string_view name) {
  for (const auto& map : instance.maps)
    if (map->name == name) return *map->map;
  CHECK(false);
}

u64 sum_of(const Instance& instance, std::string_view name, u32 index) {
  bpf::Map& map = map_of(instance, name);
  std::vector<u64> values(map.value_bytes() / sizeof(u64));
  CHECK(map.read(reinterpret_cast<const std::byte*>(&index),
                 std::as_writable_bytes(std::span(values))) == 0);
  u64 sum = 0;
  for (const u64 value : values) sum += value;
  return sum;
}

std::shared_ptr<const Instance> failing(const PointType& type) {
  const auto program = bpf::Program::make(
      {{.opcode = bpf::kOpcodeCall, .imm = bpf::kUnsatisfied}, {.opcode = 0x95}});
  CHECK(program.has_value());
  auto code = bpf::Code::bind(*program, {.helpers = *type.type.helpers});
  CHECK(code.has_value());
  auto instance = std::make_shared<Instance>();
  LoadedProgram loaded;
  loaded.name = "fail";
  loaded.point = &type;
  loaded.code = std::make_unique<bpf::Code>(*std::move(code));
  instance->programs.push_back(std::move(loaded));
  return instance;
}

}  // namespace coppice::hook::testing
