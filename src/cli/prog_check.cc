#include "cli/prog_check.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "bpf/standard_types.h"
#include "bpf/verify/verifier.h"
#include "cli/object_file.h"
#include "hook/host_types.h"
#include "hook/instance.h"

namespace coppice::cli {
namespace {

using Json = nlohmann::ordered_json;

// Of programs on hooks: by the daemon's types if they are given, else by the headers that this
// program was made with.
Attempt<std::unique_ptr<hook::Types>> hook_types(const std::string& btf) {
  if (!btf.empty()) {
    TRY(const auto bytes, read_file(btf, bpf::Btf::kBytesMax));
    if (auto types = hook::Types::make(bytes)) return *std::move(types);
  }
  TRY(auto types, hook::Types::make(hook::header_types()));
  return types;
}

struct Judged {
  const bpf::ObjectProgram& program;
  const bpf::ProgramType& type;
  bpf::Verdict verdict;
  double milliseconds = 0;
  std::optional<hook::Tier> tier = {};  // Of a program on a hook.
};

Json line_of(const Judged& judged, u32 slot) {
  const bpf::Line* line = bpf::line_of(judged.program.lines, slot);
  if (line == nullptr) return nullptr;
  return {
      {"file", line->file}, {"line", line->line}, {"column", line->column}, {"text", line->text}};
}

Json json_of(const Judged& judged) {
  const auto& verdict = judged.verdict;
  Json json{{"program", judged.program.name},
            {"section", judged.program.section},
            {"type", judged.type.name},
            {"accepted", verdict.accepted()},
            {"instructions", verdict.cost.instructions},
            {"states", verdict.cost.states},
            {"states_peak", verdict.cost.states_peak},
            {"stack_bytes", verdict.cost.stack_bytes},
            {"bound", verdict.cost.bound ? Json(*verdict.cost.bound) : Json()},
            {"milliseconds", judged.milliseconds}};
  if (judged.tier) json["tier"] = hook::name_of(*judged.tier);
  if (!verdict.log.empty()) json["log"] = verdict.log;
  if (verdict.accepted()) return json;
  const bpf::Refusal& refusal = *verdict.refusal;
  Json history = Json::array();
  for (const bpf::HistoryStep& step : refusal.history)
    history.push_back(
        {{"slot", step.slot}, {"what", step.what}, {"source", line_of(judged, step.slot)}});
  json["refusal"] = {{"rule", bpf::name_of(refusal.rule)},
                     {"slot", refusal.slot},
                     {"source", line_of(judged, refusal.slot)},
                     {"what", refusal.what},
                     {"needed", refusal.needed},
                     {"known", refusal.known},
                     {"suggestion", refusal.suggestion},
                     {"history", history}};
  return json;
}

void show(const Judged& judged) {
  const auto& verdict = judged.verdict;
  fmt::print("{}", verdict.log);
  fmt::print("{} (section {}, type {}): ", judged.program.name, judged.program.section,
             judged.type.name);
  if (!verdict.accepted()) {
    fmt::print("{}", bpf::describe(*verdict.refusal, judged.program.program, judged.program.lines));
    return;
  }
  const std::string bound = verdict.cost.bound
                                ? fmt::format("at most {} instructions a run", *verdict.cost.bound)
                                : std::string("a run has no bound, because of tail calls");
  const std::string tier = judged.tier ? fmt::format("{}, ", hook::name_of(*judged.tier)) : "";
  fmt::print("safe: {}{}; {} instructions walked, {} states kept, {} bytes of stack, {:.2f} ms\n",
             tier, bound, verdict.cost.instructions, verdict.cost.states, verdict.cost.stack_bytes,
             judged.milliseconds);
}

}  // namespace

Attempt<const bpf::ProgramType*> type_of(const bpf::StandardTypes& types,
                                         const bpf::ObjectProgram& program,
                                         const std::string& wanted) {
  const bpf::ProgramType* type =
      wanted.empty() ? types.of_section(program.section) : types.find(wanted);
  if (type != nullptr) return type;
  std::string known;
  for (const bpf::ProgramType& each : types.all()) known += " " + each.name;
  if (!wanted.empty())
    return misuse(fmt::format("there is no program type '{}'; there are:{}", wanted, known));
  return refuse(fmt::format("program '{}': its section '{}' names no program type; say --type:{}",
                            program.name, program.section, known));
}

bpf::VerifyInput verify_input(const bpf::Object& object, const bpf::ObjectProgram& program,
                              const bpf::ProgramType& type, std::span<const bpf::MapView> maps) {
  return {.program = program.program,
          .type = type,
          .maps = maps,
          .btf = object.btf(),
          .functions = program.functions,
          .lines = program.lines};
}

Attempt<> check_object(const CheckWishes& wishes) {
  TRY(const bpf::Object object, read_object_file(wishes.object, wishes.btf, {.own_types = true}));
  const bpf::StandardTypes types;
  TRY(const auto hooks, hook_types(wishes.btf));
  const auto maps = bpf::views_of(object);
  Json all = Json::array();
  bool found = false, safe = true;
  for (const bpf::ObjectProgram& program : object.programs()) {
    if (!wishes.program.empty() && program.name != wishes.program) continue;
    found = true;
    const hook::PointType* point =
        wishes.type.empty() ? hooks->of_section(program.section) : nullptr;
    const bpf::ProgramType* type = point == nullptr ? nullptr : &point->type;
    if (type == nullptr) {
      TRY(type, type_of(types, program, wishes.type));
    }
    auto input = verify_input(object, program, *type, maps);
    if (point != nullptr) input.host_btf = &hooks->btf();
    const auto began = std::chrono::steady_clock::now();
    Judged judged{
        .program = program, .type = *type, .verdict = bpf::verify(input, {.log = wishes.log})};
    if (point != nullptr) judged.tier = hook::tier_of(*point, program.program);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
    judged.milliseconds = took.count();
    safe = safe && judged.verdict.accepted();
    if (wishes.json) {
      all.push_back(json_of(judged));
    } else {
      show(judged);
    }
  }
  if (!found && !wishes.program.empty())
    return refuse(fmt::format("'{}' has no program '{}'", wishes.object, wishes.program));
  if (!found) return refuse(fmt::format("'{}' has no programs", wishes.object));
  if (wishes.json) fmt::print("{}\n", all.dump(2, ' ', false, Json::error_handler_t::replace));
  if (safe) return {};
  return std::unexpected(Failure("", kExitRefused));
}

}  // namespace coppice::cli
