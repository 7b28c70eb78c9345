#include "cli/prog_check.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "bpf/standard_types.h"
#include "bpf/verify/verifier.h"
#include "cli/object_file.h"

namespace coppice::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Judged {
  const bpf::ObjectProgram& program;
  const bpf::ProgramType& type;
  bpf::Verdict verdict;
  double milliseconds = 0;
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
  fmt::print("safe: {}; {} instructions walked, {} states kept, {} bytes of stack, {:.2f} ms\n",
             bound, verdict.cost.instructions, verdict.cost.states, verdict.cost.stack_bytes,
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
  const auto maps = bpf::views_of(object);
  Json all = Json::array();
  bool found = false, safe = true;
  for (const bpf::ObjectProgram& program : object.programs()) {
    if (!wishes.program.empty() && program.name != wishes.program) continue;
    found = true;
    TRY(const bpf::ProgramType* type, type_of(types, program, wishes.type));
    const auto began = std::chrono::steady_clock::now();
    Judged judged{
        .program = program,
        .type = *type,
        .verdict = bpf::verify(verify_input(object, program, *type, maps), {.log = wishes.log})};
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
