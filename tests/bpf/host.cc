#include "host.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>

#include "base/check.h"
#include "bpf/core_helpers.h"
#include "bpf/testing/assembler.h"
#include "bpf/testing/fact_watch.h"
#include "bpf/verify/oracle.h"

namespace coppice::bpf {
namespace {

constexpr u32 kDeviceBytes = 16, kQueueBytes = 16;

u64 nothing(Machine&, u64, u64, u64, u64, u64) { return 0; }

Field number(const char* name, size_t offset, size_t size, bool writable) {
  return {.name = name,
          .offset = static_cast<u32>(offset),
          .size = static_cast<u32>(size),
          .writable = writable};
}

Layout device_layout() {
  return {.name = "device",
          .size = kDeviceBytes,
          .fields = {number("index", 0, 4, false), number("flags", 4, 4, true),
                     number("speed", 8, 8, false)}};
}
Layout queue_layout(const Layout& device) {
  Field field = number("device", 0, 8, false);
  field.kind = FieldKind::object;
  field.layout = &device;
  return {.name = "queue", .size = kQueueBytes, .fields = {field, number("depth", 8, 8, false)}};
}

// What the core helpers leave out: objects, packets that move, numbers that are written.
void add_host_helpers(HelperTable& table, const Layout& device, const Layout& queue) {
  using enum Argument;
  table.add({.number = 1000,
             .name = "move_packet",
             .function = nothing,
             .arguments = {context, anything},
             .range = AnswerRange{-1, 0},
             .changes_packet = true});
  table.add({.number = 1001,
             .name = "find_device",
             .function = nothing,
             .arguments = {anything},
             .answer = Answer::acquired_or_null,
             .answer_layout = &device});
  table.add({.number = 1002,
             .name = "put_device",
             .function = nothing,
             .arguments = {released},
             .layouts = {&device}});
  table.add({.number = 1003,
             .name = "queue_of",
             .function = nothing,
             .arguments = {object},
             .answer = Answer::object_or_null,
             .layouts = {&device},
             .answer_layout = &queue});
  table.add({.number = 1004,
             .name = "weight",
             .function = nothing,
             .arguments = {object},
             .range = AnswerRange{0, 15}});
  table.add({.number = 1005,
             .name = "read_number",
             .function = nothing,
             .arguments = {read, size, number_out}});
  table.add({.number = 1006,
             .name = "note",
             .function = nothing,
             .arguments = {read, size_or_zero},
             .answer = Answer::nothing,
             .nullable = 1});
  table.add({.number = 1007,
             .name = "main_device",
             .function = nothing,
             .answer = Answer::object,
             .answer_layout = &device});
  table.add({.number = 1008,
             .name = "fill_packet",
             .function = nothing,
             .arguments = {context, read, size},
             .takes_packet = false});
}

}  // namespace

Layout Host::context_layout() const {
  const auto pointer = [](const char* name, size_t offset, FieldKind kind) {
    Field field = number(name, offset, 8, false);
    field.kind = kind;
    return field;
  };
  Layout layout{.name = "context", .size = sizeof(Context), .fields = {}};
  auto& fields = layout.fields;
  fields.push_back(pointer("data", offsetof(Context, data), FieldKind::packet));
  fields.push_back(pointer("data_end", offsetof(Context, data_end), FieldKind::packet_end));
  fields.push_back(pointer("data_meta", offsetof(Context, data_meta), FieldKind::packet_meta));
  fields.push_back(number("length", offsetof(Context, length), 4, false));
  fields.push_back(number("mark", offsetof(Context, mark), 4, true));
  fields.push_back(number("cookie", offsetof(Context, cookie), 8, true));
  fields.push_back(number("hidden", offsetof(Context, hidden), 8, false));
  fields.back().readable = false;
  fields.push_back(pointer("device", offsetof(Context, device), FieldKind::object));
  fields.back().layout = &device_;
  fields.push_back(pointer("queue", offsetof(Context, queue), FieldKind::object));
  fields.back().layout = &queue_;
  fields.back().nullable = true;
  fields.push_back(number("flow", offsetof(Context, flow), 8, true));
  fields.back().whole = true;
  fields.push_back(number("pair", offsetof(Context, pair), 8, true));
  fields.push_back(pointer("task", offsetof(Context, task), FieldKind::btf));
  fields.back().type = task_type_;
  fields.push_back(pointer("maybe_task", offsetof(Context, maybe_task), FieldKind::btf));
  fields.back().type = task_type_;
  fields.back().nullable = true;
  return layout;
}

Host::Host() : device_(device_layout()), queue_(queue_layout(device_)) {
  BtfBuilder builder;
  const u32 word = builder.integer("unsigned int", 4);
  const u32 half = builder.integer("unsigned short", 2);
  const u32 four = builder.array(word, word, 4);
  const u32 inner = builder.structure("inner", 8, {{"low", word, 0}, {"high", half, 4}});
  constexpr u32 kAhead = 3;  // The structure comes behind two pointers.
  task_type_ = builder.pointer(inner) - 1 + kAhead;
  const u32 to_inner = task_type_ - 2, to_task = builder.pointer(task_type_);
  const u32 task = builder.structure("task", 48,
                                     {{"id", word, 0},
                                      {"parent", to_task, 8},
                                      {"inner", inner, 16},
                                      {"counts", four, 24},
                                      {"extra", to_inner, 40}});
  CHECK(task == task_type_);
  auto btf = builder.build();
  CHECK(btf.has_value());
  btf_ = *std::move(btf);
  add_core_helpers(helpers_);
  add_host_helpers(helpers_, device_, queue_);
  const ProgramType packet{.name = "packet",
                           .sections = {},
                           .context = context_layout(),
                           .helpers = &helpers_,
                           .returns = AnswerRange{0, 3},
                           .packet_writable = true};
  types_.assign(5, packet);
  types_[1].name = "filter";
  types_[1].packet_writable = types_[1].may_tail_call = false;
  types_[2].name = "strict";
  types_[2].stack_bytes_max = kFrameBytes;
  types_[2].strict_alignment = true;
  types_[3].name = "lenient";
  types_[3].reads_unwritten_stack = types_[3].catches_faults = true;
  types_[3].returns.reset();
  types_[4].name = "trace";
  types_[4].returns.reset();
}

const ProgramType* Host::type(const std::string& name) const {
  const auto found = std::ranges::find(types_, name, &ProgramType::name);
  return found == types_.end() ? nullptr : &*found;
}

Result<> Subject::make_maps() {
  for (const CaseMap& wanted : from_.maps) {
    TRY(auto map, make_map(wanted.spec));
    MapView view{.spec = wanted.spec, .read_only = wanted.read_only, .frozen = wanted.frozen};
    if (!wanted.contents.empty()) {
      if (wanted.contents.size() != wanted.spec.value_size)
        return fail(Errc::invalid, "cannot fill a map", wanted.spec.name);
      const u32 key = 0;
      CHECK(map->write(reinterpret_cast<const std::byte*>(&key), wanted.contents, kAny) == 0);
      view.contents = wanted.contents;
    }
    maps_.push_back(map.get());
    owned_.push_back(std::move(map));
    views_.push_back(std::move(view));
  }
  return {};
}

Result<> Subject::make_functions() {
  if (from_.functions.empty()) return {};
  BtfBuilder builder;
  const u32 word = builder.integer("int", 4);
  const u32 context = builder.pointer(builder.structure("context", sizeof(Context), {}));
  const auto type_named = [&](const std::string& name) -> u32 {
    if (name == "void") return 0;
    if (name == "int") return word;
    if (name == "ctx") return context;
    if (name == "opaque") return builder.pointer(0);
    if (name == "whole") return builder.structure("whole", 8, {});
    u32 bytes = 0;
    CHECK(name.starts_with("mem"));
    std::from_chars(name.data() + 3, name.data() + name.size(), bytes);
    return builder.pointer(builder.structure("m", bytes, {}));
  };
  for (const CaseFunction& function : from_.functions) {
    const auto at = labels_.find(function.label);
    if (at == labels_.end())
      return fail(Errc::invalid, "cannot make a function global", function.label);
    std::vector<u32> parameters;
    for (const std::string& name : function.parameters)
      parameters.push_back(type_named(name.substr(0, name.find(':'))));
    const u32 result = type_named(function.result);
    const u32 type = builder.function(function.label, result, parameters);
    for (u32 i = 0; i < parameters.size(); ++i) {
      const std::string& name = function.parameters[i];
      if (const size_t colon = name.find(':'); colon != name.npos)
        builder.tag("arg" + name.substr(colon), type, i);
    }
    functions_.push_back({.slot = static_cast<u32>(at->second),
                          .name = function.label,
                          .type = type,
                          .global = true});
  }
  std::ranges::sort(functions_, {}, &Function::slot);
  TRY(btf_, builder.build());
  return {};
}

Result<std::unique_ptr<Subject>> Subject::make(const Host& host, const Case& from) {
  auto subject = std::unique_ptr<Subject>(new Subject(host, from));
  subject->type_ = host.type(from.type);
  if (subject->type_ == nullptr) return fail(Errc::not_found, "no such program type", from.type);
  Names names{.maps = {}, .helpers = &host.helpers()};
  for (const CaseMap& map : from.maps) names.maps.push_back(map.spec.name);
  TRY(auto assembled, assemble(from.code, names));
  subject->labels_ = std::move(assembled.labels);
  TRY(subject->program_, Program::make(std::move(assembled.slots)));
  TRY_VOID(subject->make_maps());
  TRY_VOID(subject->make_functions());
  return subject;
}

Verdict Subject::verify(bool log) const {
  VerifyOptions options{.log = log, .claims = true};
  if (from_.budget != 0) options.instructions_max = from_.budget;
  return bpf::verify({.program = *program_,
                      .type = *type_,
                      .maps = views_,
                      .btf = btf_ ? &*btf_ : nullptr,
                      .host_btf = &host_.btf(),
                      .functions = functions_},
                     options);
}

std::optional<u32> Subject::slot_of(const std::string& place) const {
  if (const auto label = labels_.find(place); label != labels_.end())
    return static_cast<u32>(label->second);
  u32 slot = 0;
  const auto [end, error] = std::from_chars(place.data(), place.data() + place.size(), slot);
  if (error != std::errc{} || end != place.data() + place.size()) return std::nullopt;
  return slot;
}

// Random values for maps that are not the verifier's to know.
void Subject::fill_maps(Prng& prng) {
  for (size_t i = 0; i < maps_.size(); ++i) {
    const MapSpec& spec = from_.maps[i].spec;
    if (from_.maps[i].frozen || spec.key_size == 0 || spec.kind == MapKind::program_array) continue;
    std::vector<std::byte> key(spec.key_size), value(maps_[i]->value_bytes());
    for (u32 at = 0; at < std::min(spec.max_entries, 8u); ++at) {
      for (std::byte& byte : value) byte = static_cast<std::byte>(prng.next());
      store_le<u8>(key.data(), static_cast<u8>(at));
      if (prng.chance(3, 4)) (void)maps_[i]->write(key.data(), value, kAny);
    }
  }
}

std::string Subject::run(const Verdict& verdict, Prng& prng) {
  constexpr u64 kBudgetOfCase = 20'000'000;
  const auto code = Code::bind(*program_, {.helpers = host_.helpers(), .maps = maps_});
  if (!code) return describe(code.error());
  fill_maps(prng);
  // The packet lies in memory of its own size, so that the sanitizer sees what the engine may not.
  const u64 meta = 4 * prng.below(8), bytes = prng.chance(1, 4) ? prng.below(8) : prng.below(200);
  const auto packet = std::make_unique<std::byte[]>(meta + bytes);
  for (u64 i = 0; i < meta + bytes; ++i) packet[i] = static_cast<std::byte>(prng.next());
  std::array<u64, kDeviceBytes / 8> device{prng.next(), prng.next()};
  std::array<u64, kQueueBytes / 8> queue{reinterpret_cast<u64>(device.data()), prng.next()};
  using Task = std::array<u64, 6>;
  const auto tasks = std::make_unique<std::array<Task, 2>>();
  for (Task& task : *tasks)
    for (u64& word : task) word = prng.next();
  const u64 begin = reinterpret_cast<u64>(packet.get());
  auto context = std::make_unique<Context>();
  *context = {.data = begin + meta,
              .data_end = begin + meta + bytes,
              .data_meta = begin,
              .length = static_cast<u32>(bytes),
              .mark = static_cast<u32>(prng.next()),
              .cookie = prng.chance(1, 2) ? prng.below(100) : prng.next(),
              .hidden = prng.next(),
              .device = reinterpret_cast<u64>(device.data()),
              .queue = prng.chance(1, 2) ? 0 : reinterpret_cast<u64>(queue.data()),
              .flow = prng.next(),
              .pair = {static_cast<u32>(prng.next()), static_cast<u32>(prng.below(4))},
              .task = reinterpret_cast<u64>(&(*tasks)[0]),
              .maybe_task = prng.chance(1, 2) ? 0 : reinterpret_cast<u64>(&(*tasks)[1])};
  (*tasks)[0][1] = context->maybe_task;  // Its parent.
  const Region regions[] = {{reinterpret_cast<u64>(context.get()), sizeof(Context), true},
                            {begin, meta + bytes, true},
                            {reinterpret_cast<u64>(device.data()), kDeviceBytes, true},
                            {reinterpret_cast<u64>(queue.data()), kQueueBytes, false},
                            {reinterpret_cast<u64>(tasks.get()), sizeof *tasks, false}};
  Machine machine({.budget = kBudgetOfCase});
  Oracle oracle(*code, verdict, reinterpret_cast<u64>(context.get()));
  FactWatch facts(*program_, *code, verdict.facts, oracle);
  const Outcome outcome =
      machine.run_checked(*code, regions, reinterpret_cast<u64>(context.get()), 0, &facts);
  if (!oracle.disagreement().empty()) return oracle.disagreement();
  if (!facts.disagreement().empty()) return facts.disagreement();
  if (outcome.stop != Stop::exited) return describe(result_of(outcome).error());
  return {};
}

}  // namespace coppice::bpf
