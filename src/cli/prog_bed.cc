#include "cli/prog_bed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "bpf/program_array.h"
#include "cli/prog_check.h"

namespace coppice::cli {

double milliseconds_since(std::chrono::steady_clock::time_point began) {
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - began;
  return taken.count();
}

ProgBed::ProgBed(const bpf::Object& object, std::string type)
    : object_(object),
      type_(std::move(type)),
      views_(bpf::views_of(object)),
      compiler_({.helper = bpf::default_jit()}) {}

Attempt<std::unique_ptr<ProgBed>> ProgBed::make(const bpf::Object& object, std::string type) {
  std::unique_ptr<ProgBed> bed(new ProgBed(object, std::move(type)));
  TRY(bed->owned_, bpf::make_maps(object, 1));
  for (const auto& each : bed->owned_) bed->maps_.push_back(each.get());
  return bed;
}

Attempt<size_t> ProgBed::choose(const std::string& name) const {
  const auto programs = object_.programs();
  if (programs.empty())
    return refuse(
        "the object has no programs: a program is a function that is not static, in a "
        "section of its own");
  if (name.empty()) {
    if (programs.size() == 1) return size_t{0};
    std::string names;
    for (const auto& each : programs) names += (names.empty() ? "" : ", ") + each.name;
    return misuse(
        fmt::format("the object has several programs: say --program with one of {}", names));
  }
  const auto at = std::ranges::find(programs, name, &bpf::ObjectProgram::name);
  if (at == programs.end()) return refuse(fmt::format("the object has no program '{}'", name));
  return static_cast<size_t>(at - programs.begin());
}

Attempt<Ready*> ProgBed::prepare(const std::string& name, Engine engine) {
  TRY(const size_t number, choose(name));
  // Whatever a tail call leads to runs, too.
  for (size_t i = 0; i < maps_.size(); ++i) {
    for (const auto& entry : object_.maps()[i].entries) {
      TRY(const Ready* next, prepare(entry.program, engine));
      auto* programs = static_cast<bpf::ProgramArray*>(maps_[i]);
      if (next->native != nullptr) {
        programs->set(entry.index, next->native.get());
      } else {
        programs->set(entry.index, next->code.get());
      }
    }
  }
  return prepare(number, engine);
}

Attempt<Ready*> ProgBed::prepare(size_t number, Engine engine) {
  const auto [at, is_new] = ready_.try_emplace(number);
  Ready& ready = at->second;
  if (!is_new) return &ready;
  ready.source = &object_.programs()[number];
  TRY(ready.type, type_of(types_, *ready.source, type_));
  auto began = std::chrono::steady_clock::now();
  ready.verdict = bpf::verify(verify_input(object_, *ready.source, *ready.type, views_));
  ready.verify_ms = milliseconds_since(began);
  if (!ready.verdict.accepted()) {
    const auto& source = *ready.source;
    fmt::print(stderr, "{}", bpf::describe(*ready.verdict.refusal, source.program, source.lines));
    return refuse(fmt::format("program '{}' is not run: it is not proved safe", source.name));
  }
  TRY(bpf::Code code,
      bpf::Code::bind(ready.source->program, {.helpers = *ready.type->helpers, .maps = maps_}));
  ready.code = std::make_unique<bpf::Code>(std::move(code));
  TRY_VOID(compile(ready, engine));
  return &ready;
}

Attempt<> ProgBed::compile(Ready& ready, Engine engine) {
  if (engine == Engine::interpret) return {};
  const auto began = std::chrono::steady_clock::now();
  auto native = compiler_.compile(ready.source->program, *ready.code, ready.verdict.facts);
  ready.compile_ms = milliseconds_since(began);
  if (native) {
    ready.native = std::make_unique<bpf::Native>(*std::move(native));
    return {};
  }
  if (engine == Engine::jit) return std::unexpected(Failure(native.error()));
  if (!warned_)
    fmt::print(stderr, "coppice: warning: {}; the program is interpreted\n",
               describe(native.error()));
  warned_ = true;
  return {};
}

Attempt<Context> Context::make(const bpf::ProgramType& type, std::vector<std::byte> data) {
  Context context;
  context.words_.resize((type.context.size + 7) / 8);
  if (type.name == "buffer") {
    static_assert(sizeof(bpf::BufferContext) == 2 * sizeof(u64));
    context.data_ = std::move(data);
    const u64 begin = reinterpret_cast<u64>(context.data_.data());
    context.words_ = {begin, begin + context.data_.size()};
    return context;
  }
  if (data.size() > type.context.size)
    return misuse(fmt::format("--data has {} bytes, and the context of type {} has {}", data.size(),
                              type.name, type.context.size));
  if (!data.empty()) std::memcpy(context.words_.data(), data.data(), data.size());
  return context;
}

Attempt<u64> run_once(bpf::Machine& machine, const Ready& ready, const Context& context) {
  if (ready.native == nullptr) {
    TRY(const u64 r0, bpf::result_of(machine.run(*ready.code, context.address())));
    return r0;
  }
  const u64 r0 = machine.run(*ready.native, context.address());
  if (machine.stopped())
    return refuse("the run was stopped: a tail call or a callback took too long");
  return r0;
}

}  // namespace coppice::cli
