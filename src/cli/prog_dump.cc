#include "cli/prog_dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bpf/core_helpers.h"
#include "bpf/object/listing.h"
#include "cli/object_file.h"
#include "cli/prog_bed.h"

namespace coppice::cli {
namespace {

using Json = nlohmann::ordered_json;

// Names of sources may be anything.
std::string utf8(std::string_view text) {
  constexpr auto kReplace = Json::error_handler_t::replace;
  return Json::parse(Json(std::string(text)).dump(-1, ' ', false, kReplace)).get<std::string>();
}

// The file's name without its folders, which say little here.
std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// What an object calls things must not move the cursor.
std::string printable(std::string_view text) {
  std::string shown(text);
  for (char& each : shown) {
    if (static_cast<unsigned char>(each) < ' ' || each == 0x7f) each = each == '\t' ? ' ' : '?';
  }
  return shown;
}

// The line, if it is another than before.
void print_line(const bpf::Line* line, const bpf::Line*& before) {
  const bool same = line == nullptr ||
                    (before != nullptr && before->line == line->line && before->file == line->file);
  if (same) return;
  before = line;
  if (line->line == 0) return;
  const size_t begin = std::min(line->text.find_first_not_of(" \t"), line->text.size());
  fmt::print("; {}:{}: {}\n", printable(last_part(line->file)), line->line,
             printable(line->text.substr(begin)));
}

void print_instruction(const bpf::ListedInstruction& each, const bpf::Line*& line) {
  if (each.function != nullptr) {
    fmt::print("\n{}{}:\n", each.function->global ? "" : "static ", printable(each.function->name));
    line = nullptr;
  }
  print_line(each.line, line);
  if (each.note.empty())
    fmt::print("{:5}: ({:02x}) {}\n", each.slot, each.opcode, each.text);
  else
    fmt::print("{:5}: ({:02x}) {:<40} ; {}\n", each.slot, each.opcode, each.text,
               printable(each.note));
}

void print_object(const bpf::Object& object, const bpf::HelperTable& helpers) {
  if (!object.license().empty()) fmt::print("license {}\n", printable(object.license()));
  if (object.version() != 0) fmt::print("version {:#x}\n", object.version());
  for (size_t i = 0; i < object.maps().size(); ++i) {
    const bpf::ObjectMap& map = object.maps()[i];
    fmt::print("map {}: {}\n", i, printable(bpf::describe(object, map)));
    for (const auto& entry : map.entries)
      fmt::print("  [{}] program {}\n", entry.index,
                 printable(object.programs()[entry.program].name));
  }
  for (const bpf::ObjectProgram& program : object.programs()) {
    fmt::print("\nprogram {} of section '{}', {} slots\n", printable(program.name),
               printable(program.section), program.program.slots().size());
    const bpf::Line* line = nullptr;
    for (const auto& each : bpf::list(object, program, helpers)) print_instruction(each, line);
  }
}

Json json_of(const bpf::Object& object, const bpf::ObjectMap& map) {
  Json json = {{"name", utf8(map.spec.name)},
               {"kind", bpf::name_of(map.spec.kind)},
               {"key_size", map.spec.key_size},
               {"value_size", map.spec.value_size},
               {"max_entries", map.spec.max_entries},
               {"data", map.is_data},
               {"read_only", map.read_only},
               {"frozen", map.frozen},
               {"by_name", map.by_name}};
  if (map.key_type != 0) json["key_type"] = utf8(object.btf()->describe(map.key_type));
  if (map.value_type != 0 && !map.is_data)
    json["value_type"] = utf8(object.btf()->describe(map.value_type));
  if (!map.kernel_field.empty()) json["kernel_field"] = utf8(map.kernel_field);
  for (const auto& entry : map.entries)
    json["entries"].push_back(
        {{"index", entry.index}, {"program", utf8(object.programs()[entry.program].name)}});
  return json;
}

Json json_of(const bpf::Object& object, const bpf::ObjectProgram& program,
             const bpf::HelperTable& helpers) {
  Json functions = Json::array(), instructions = Json::array();
  for (const bpf::Function& each : program.functions)
    functions.push_back({{"slot", each.slot}, {"name", utf8(each.name)}, {"global", each.global}});
  for (const auto& each : bpf::list(object, program, helpers)) {
    Json json = {{"slot", each.slot}, {"opcode", each.opcode}, {"text", each.text}};
    if (!each.note.empty()) json["note"] = utf8(each.note);
    if (each.line != nullptr && each.line->line > 0) {
      json["file"] = utf8(each.line->file);
      json["line"] = each.line->line;
      json["column"] = each.line->column;
      json["source"] = utf8(each.line->text);
    }
    instructions.push_back(std::move(json));
  }
  return {{"name", utf8(program.name)},
          {"section", utf8(program.section)},
          {"slots", program.program.slots().size()},
          {"functions", std::move(functions)},
          {"instructions", std::move(instructions)}};
}

// What runs is what is shown, so the program is verified first.
Attempt<> dump_machine_code(const DumpOptions& options) {
  if (options.json) return misuse("--json shows bytecode, --jit machine code: choose one");
  TRY(const bpf::Object object, read_object_file(options.object, options.btf, {.own_types = true}));
  TRY(const auto bed, ProgBed::make(object, options.type));
  TRY(const Ready* ready, bed->prepare(options.program, Engine::interpret));
  TRY(const std::string listing,
      bed->compiler().list(ready->source->program, *ready->code, ready->verdict.facts));
  fmt::print("{}", listing);
  return {};
}

}  // namespace

Attempt<> dump_object(const DumpOptions& options) {
  if (options.jit) return dump_machine_code(options);
  TRY(const bpf::Object object,
      read_object_file(options.object, options.btf, {.own_types = true, .only = options.program}));
  bpf::HelperTable helpers;
  bpf::add_core_helpers(helpers);
  if (!options.json) {
    print_object(object, helpers);
    return {};
  }
  Json json = {{"license", utf8(object.license())},
               {"version", object.version()},
               {"maps", Json::array()},
               {"programs", Json::array()}};
  for (const auto& map : object.maps()) json["maps"].push_back(json_of(object, map));
  for (const auto& program : object.programs())
    json["programs"].push_back(json_of(object, program, helpers));
  fmt::print("{}\n", json.dump(2));
  return {};
}

}  // namespace coppice::cli
