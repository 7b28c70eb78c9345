#include "hook/instance.h"

#include <fmt/format.h>
#include <nettle/sha2.h>

#include <algorithm>
#include <cerrno>

namespace coppice::hook {
namespace {

constexpr i32 kProbeReads[] = {113, 115};
constexpr size_t kDetailsMax = 200;

std::unexpected<LoadRefusal> refuse(int error, std::string message,
                                    std::vector<std::string> details = {}) {
  return std::unexpected(LoadRefusal{error, std::move(message), std::move(details)});
}
std::unexpected<LoadRefusal> refuse(const Error& error) {
  return refuse(errno_of(error.code), describe(error));
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty() && lines.size() < kDetailsMax) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text = end == text.npos ? "" : text.substr(end + 1);
  }
  return lines;
}

bool calls_probe_read(const bpf::Program& program) {
  return std::ranges::any_of(program.slots(), [](const bpf::Instruction& instruction) {
    return instruction.opcode == bpf::kOpcodeCall &&
           instruction.src == static_cast<u8>(bpf::Callee::helper) &&
           std::ranges::find(kProbeReads, instruction.imm) != std::end(kProbeReads);
  });
}

}  // namespace

const LoadedProgram* Instance::find(std::string_view program) const {
  const auto found = std::ranges::find(programs, program, &LoadedProgram::name);
  return found == programs.end() ? nullptr : &*found;
}

std::string hash_of(std::span<const std::byte> object, const Settings& settings) {
  sha256_ctx context;
  sha256_init(&context);
  const auto feed = [&](const void* data, size_t size) {
    sha256_update(&context, size, static_cast<const u8*>(data));
  };
  const auto feed_text = [&](std::string_view text) {
    const u64 size = text.size();
    feed(&size, sizeof size);
    feed(text.data(), text.size());
  };
  feed_text({reinterpret_cast<const char*>(object.data()), object.size()});
  for (const auto& [name, value] : settings) {
    feed_text(name);
    feed_text(value);
  }
  u8 digest[SHA256_DIGEST_SIZE];
  sha256_digest(&context, sizeof digest, digest);
  std::string hash;
  for (const u8 byte : digest) hash += fmt::format("{:02x}", byte);
  return hash;
}

Loaded<std::shared_ptr<SharedMap>> Loader::share(std::shared_ptr<SharedMap> made) {
  auto& known = by_name_[made->name];
  if (auto there = known.lock()) {
    const bpf::MapSpec &a = there->map->spec(), &b = made->map->spec();
    if (a.kind != b.kind || a.key_size != b.key_size || a.value_size != b.value_size ||
        a.max_entries != b.max_entries)
      return refuse(EEXIST, fmt::format("the map '{}' is shared by name, and another object has "
                                        "one of that name with another shape",
                                        made->name));
    return there;
  }
  known = made;
  return made;
}

Loaded<std::vector<std::shared_ptr<SharedMap>>> Loader::make_maps(const Order& order,
                                                                  const bpf::Object& object) {
  auto made = bpf::make_maps(object, slots_);
  if (!made) return refuse(made.error());
  std::vector<std::shared_ptr<SharedMap>> maps;
  for (size_t i = 0; i < made->size(); ++i) {
    const bpf::ObjectMap& source = object.maps()[i];
    auto map = std::make_shared<SharedMap>();
    map->id = next_map_++;
    map->name = source.spec.name;
    map->map = std::move((*made)[i]);
    map->read_only = source.read_only;
    map->frozen = source.frozen;
    map->key_type = source.key_type;
    map->value_type = source.value_type;
    map->object = order.object;
    if (source.by_name) {
      TRY(map, share(std::move(map)));
    }
    maps.push_back(std::move(map));
  }
  std::erase_if(by_name_, [](const auto& each) { return each.second.expired(); });
  return maps;
}

Loaded<LoadedProgram> Loader::load_program(const bpf::Object& object,
                                           const bpf::ObjectProgram& program,
                                           const Instance& instance) {
  LoadedProgram loaded;
  loaded.name = program.name;
  loaded.point = types_.of_section(program.section);
  if (loaded.point == nullptr)
    return refuse(EINVAL, fmt::format("the program '{}' is in section '{}', which is no hook: "
                                      "volume.submit, volume.complete, admin, export.connect, "
                                      "timer or tracepoint/NAME",
                                      program.name, program.section));
  const auto views = bpf::views_of(object);
  const bpf::Verdict verdict = bpf::verify({.program = program.program,
                                            .type = loaded.point->type,
                                            .maps = views,
                                            .btf = object.btf(),
                                            .host_btf = &types_.btf(),
                                            .functions = program.functions,
                                            .lines = program.lines});
  if (!verdict.accepted())
    return refuse(EACCES, fmt::format("the program '{}' is not proved safe", program.name),
                  lines_of(bpf::describe(*verdict.refusal, program.program, program.lines)));
  loaded.instructions_max = verdict.cost.instructions;
  if (loaded.instructions_max > loaded.point->instructions_max)
    return refuse(E2BIG, fmt::format("one run of the program '{}' may take {} instructions, and "
                                     "{} allows {}",
                                     program.name, loaded.instructions_max, loaded.point->name,
                                     loaded.point->instructions_max));
  const bool probes = calls_probe_read(program.program);
  loaded.tier = probes ? Tier::internal : loaded.point->tier;
  if (probes && !program.relocated && object.build_id() != build_id_)
    return refuse(ENOEXEC,
                  fmt::format("the program '{}' reads the insides of another build of the daemon: "
                              "let its types be relocated (preserve_access_index), or make it for "
                              "build {}",
                              program.name, build_id_));
  std::vector<bpf::Map*> maps;
  for (const auto& map : instance.maps) maps.push_back(map->map.get());
  auto code =
      bpf::Code::bind(program.program, {.helpers = *loaded.point->type.helpers, .maps = maps});
  if (!code) return refuse(code.error());
  loaded.code = std::make_unique<bpf::Code>(*std::move(code));
  auto native = compiler_.compile(program.program, *loaded.code, verdict.facts);
  if (native) loaded.native = std::make_unique<bpf::Native>(*std::move(native));
  return loaded;
}

Loaded<std::shared_ptr<const Instance>> Loader::load(const Order& order) {
  if (order.object->size() > kObjectBytesMax)
    return refuse(E2BIG, fmt::format("an object has at most {} bytes", kObjectBytesMax));
  auto object = bpf::Object::read(*order.object, {.host = &types_.btf()});
  if (!object) return refuse(object.error());
  auto instance = std::make_shared<Instance>();
  instance->hash = hash_of(*order.object, order.settings);
  instance->object = order.object;
  instance->settings = order.settings;
  TRY(instance->maps, make_maps(order, *object));
  for (const auto& wanted : order.programs)
    if (std::ranges::find(object->programs(), wanted, &bpf::ObjectProgram::name) ==
        object->programs().end())
      return refuse(ENOENT, fmt::format("the object has no program '{}'", wanted));
  for (const bpf::ObjectProgram& program : object->programs()) {
    if (!order.programs.empty() &&
        std::ranges::find(order.programs, program.name) == order.programs.end())
      continue;
    TRY(LoadedProgram loaded, load_program(*object, program, *instance));
    instance->programs.push_back(std::move(loaded));
  }
  if (instance->programs.empty()) return refuse(EINVAL, "the object has no programs");
  return instance;
}

}  // namespace coppice::hook
