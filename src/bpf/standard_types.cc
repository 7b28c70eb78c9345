#include "bpf/standard_types.h"

#include <fmt/format.h>

#include <algorithm>

#include "bpf/core_helpers.h"
#include "bpf/probe.h"

namespace coppice::bpf {
namespace {

constexpr u32 kProbeNumbers = 8;

ProgramType buffer_type(const HelperTable& helpers) {
  ProgramType type;
  type.name = "buffer";
  type.sections = {"buffer"};
  type.context = {.name = "buffer",
                  .size = sizeof(BufferContext),
                  .fields = {{.name = "data",
                              .offset = offsetof(BufferContext, data),
                              .size = 8,
                              .kind = FieldKind::packet},
                             {.name = "data_end",
                              .offset = offsetof(BufferContext, data_end),
                              .size = 8,
                              .kind = FieldKind::packet_end}}};
  type.helpers = &helpers;
  type.packet_writable = true;
  return type;
}

ProgramType probe_type(const HelperTable& helpers) {
  ProgramType type;
  type.name = "probe";
  type.sections = {"probe", "raw_tp", "raw_tracepoint"};
  type.context.name = "probe";
  type.context.size = kProbeNumbers * 8;
  for (u32 i = 0; i < kProbeNumbers; ++i)
    type.context.fields.push_back({.name = fmt::format("args[{}]", i), .offset = 8 * i, .size = 8});
  type.helpers = &helpers;
  return type;
}

}  // namespace

StandardTypes::StandardTypes() {
  add_core_helpers(core_);
  add_core_helpers(probing_);
  add_probe_helpers(probing_);
  types_.push_back(buffer_type(core_));
  types_.push_back(probe_type(probing_));
}

const ProgramType* StandardTypes::find(std::string_view name) const {
  const auto found = std::ranges::find(types_, name, &ProgramType::name);
  return found == types_.end() ? nullptr : &*found;
}

const ProgramType* StandardTypes::of_section(std::string_view section) const {
  const std::string_view first = section.substr(0, section.find('/'));
  for (const ProgramType& type : types_) {
    if (std::ranges::find(type.sections, first) != type.sections.end()) return &type;
  }
  return nullptr;
}

}  // namespace coppice::bpf
