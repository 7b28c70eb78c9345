#include "hook/instance.h"

#include <fmt/format.h>
#include <nettle/sha2.h>

#include <algorithm>
#include <cerrno>

#include "bpf/object/replacement.h"

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

Tier tier_of(const PointType& point, const bpf::Program& program) {
  return calls_probe_read(program) ? Tier::internal : point.tier;
}

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

// What a program is proved and bound with.
struct Loader::Source {
  const PointType& point;
  const bpf::Btf* types = nullptr;
  std::span<const bpf::MapView> views = {};
  std::span<const std::shared_ptr<SharedMap>> maps = {};
  bool of_this_build = false;
};

Loaded<bpf::Object> Loader::read(const Order& order) const {
  if (order.object->size() > kObjectBytesMax)
    return refuse(E2BIG, fmt::format("an object has at most {} bytes", kObjectBytesMax));
  auto object = bpf::Object::read(*order.object, {.host = &types_.btf()});
  if (!object) return refuse(object.error());
  for (const auto& [variable, value] : order.settings)
    if (const auto set = object->set(variable, value); !set) return refuse(set.error());
  for (const auto& wanted : order.programs)
    if (std::ranges::find(object->programs(), wanted, &bpf::ObjectProgram::name) ==
        object->programs().end())
      return refuse(ENOENT, fmt::format("the object has no program '{}'", wanted));
  return *std::move(object);
}

Loaded<LoadedProgram> Loader::load_program(const Source& source,
                                           const bpf::ObjectProgram& program) {
  LoadedProgram loaded;
  loaded.name = program.name;
  loaded.point = &source.point;
  const bpf::Verdict verdict = bpf::verify({.program = program.program,
                                            .type = source.point.type,
                                            .maps = source.views,
                                            .btf = source.types,
                                            .host_btf = &types_.btf(),
                                            .functions = program.functions,
                                            .lines = program.lines});
  if (!verdict.accepted())
    return refuse(EACCES, fmt::format("the program '{}' is not proved safe", program.name),
                  lines_of(bpf::describe(*verdict.refusal, program.program, program.lines)));
  loaded.instructions_max = verdict.cost.bound.value_or(~u64{0});
  if (loaded.instructions_max > source.point.instructions_max)
    return refuse(E2BIG, fmt::format("one run of the program '{}' may take {} instructions, and "
                                     "{} allows {}",
                                     program.name, loaded.instructions_max, source.point.name,
                                     source.point.instructions_max));
  const bool probes = calls_probe_read(program.program);
  loaded.tier = tier_of(source.point, program.program);
  if (probes && !program.relocated && !source.of_this_build)
    return refuse(ENOEXEC,
                  fmt::format("the program '{}' reads the insides of another build of the daemon: "
                              "let its types be relocated (preserve_access_index), or make it for "
                              "build {}",
                              program.name, build_id_));
  std::vector<bpf::Map*> maps;
  for (const auto& map : source.maps) maps.push_back(map->map.get());
  auto code =
      bpf::Code::bind(program.program, {.helpers = *source.point.type.helpers, .maps = maps});
  if (!code) return refuse(code.error());
  loaded.code = std::make_unique<bpf::Code>(*std::move(code));
  auto native = compiler_.compile(program.program, *loaded.code, verdict.facts);
  if (native) loaded.native = std::make_unique<bpf::Native>(*std::move(native));
  return loaded;
}

Loaded<std::shared_ptr<const Instance>> Loader::load(const Order& order) {
  TRY(const bpf::Object object, read(order));
  auto instance = std::make_shared<Instance>();
  instance->hash = hash_of(*order.object, order.settings);
  instance->object = order.object;
  instance->settings = order.settings;
  TRY(instance->maps, make_maps(order, object));
  const auto views = bpf::views_of(object);
  for (const bpf::ObjectProgram& program : object.programs()) {
    if (!order.programs.empty() &&
        std::ranges::find(order.programs, program.name) == order.programs.end())
      continue;
    const PointType* point = types_.of_section(program.section);
    if (point == nullptr)
      return refuse(EINVAL, fmt::format("the program '{}' is in section '{}', which is no hook: "
                                        "volume.submit, volume.complete, admin, export.connect, "
                                        "timer or tracepoint/NAME",
                                        program.name, program.section));
    TRY(LoadedProgram loaded, load_program({.point = *point,
                                            .types = object.btf(),
                                            .views = views,
                                            .maps = instance->maps,
                                            .of_this_build = object.build_id() == build_id_},
                                           program));
    instance->programs.push_back(std::move(loaded));
  }
  if (instance->programs.empty()) return refuse(EINVAL, "the object has no programs");
  return instance;
}

Loaded<std::shared_ptr<const Instance>> Loader::load_replacement(const Order& order,
                                                                 const Replacement& replacement) {
  const Instance& target = replacement.target;
  const LoadedProgram* replaced = target.find(replacement.program);
  CHECK(replaced != nullptr);
  TRY(const bpf::Object whole, read({.object = target.object, .settings = target.settings}));
  TRY(const bpf::Object object, read(order));
  const std::string section = fmt::format("freplace/{}", replacement.function);
  const auto found = std::ranges::find_if(object.programs(), [&](const auto& each) {
    return each.section == section &&
           (order.programs.empty() || std::ranges::count(order.programs, each.name) > 0);
  });
  if (found == object.programs().end())
    return refuse(ENOENT, fmt::format("the object has no program in section '{}'", section));
  const auto program =
      std::ranges::find(whole.programs(), replacement.program, &bpf::ObjectProgram::name);
  CHECK(program != whole.programs().end());  // It was loaded from there.
  auto patched = bpf::replace_function({.target = *program,
                                        .target_types = whole.btf(),
                                        .function = replacement.function,
                                        .replacement = *found,
                                        .replacement_types = object.btf(),
                                        .first_map = static_cast<u32>(whole.maps().size())});
  if (!patched) return refuse(patched.error());

  auto instance = std::make_shared<Instance>();
  instance->hash = hash_of(*order.object, order.settings);
  instance->object = order.object;
  instance->settings = order.settings;
  instance->maps.assign(target.maps.begin(),
                        target.maps.begin() + static_cast<ptrdiff_t>(whole.maps().size()));
  TRY(const auto own, make_maps(order, object));
  instance->maps.insert(instance->maps.end(), own.begin(), own.end());
  auto views = bpf::views_of(whole);
  for (const bpf::MapView& view : bpf::views_of(object)) views.push_back(view);
  // The target's own probes were admitted when it was loaded.
  const bool may_probe =
      object.build_id() == build_id_ || found->relocated || !calls_probe_read(found->program);
  TRY(LoadedProgram loaded, load_program({.point = *replaced->point,
                                          .types = whole.btf(),
                                          .views = views,
                                          .maps = instance->maps,
                                          .of_this_build = may_probe},
                                         *patched));
  LoadedProgram function;
  function.name = found->name;
  function.point = replaced->point;
  function.function = replacement.function;
  function.tier = loaded.tier;
  function.instructions_max = loaded.instructions_max;
  loaded.name = replaced->name;
  instance->programs.push_back(std::move(loaded));
  instance->programs.push_back(std::move(function));
  return instance;
}

}  // namespace coppice::hook
