#include "hook/types.h"

#include <fmt/format.h>

#include <algorithm>

#include "bpf/core_helpers.h"
#include "bpf/probe.h"
#include "hook/helpers.h"

namespace coppice::hook {
namespace {

constexpr const char* kWhat = "read the types of hooks";
constexpr u64 kRequestInstructionsMax = 1'000'000;  // Under a millisecond.
constexpr u64 kAdminInstructionsMax = 10'000'000;
constexpr u32 kProbeNumbers = trace::kArgumentsMax;

void apply_tag(std::string_view tag, bpf::Field& field) {
  if (tag == "writable") field.writable = true;
  if (tag == "packet") field.kind = bpf::FieldKind::packet;
  if (tag == "packet_end") field.kind = bpf::FieldKind::packet_end;
}

}  // namespace

const char* name_of(Tier tier) { return tier == Tier::stable ? "stable" : "internal"; }

Result<bpf::Layout> layout_of(const bpf::Btf& btf, std::string_view structure) {
  const auto id = btf.find(structure, bpf::Btf::Kind::structure);
  if (!id) return fail(Errc::invalid, kWhat, fmt::format("there is no struct {}", structure));
  const bpf::Btf::Type& type = btf.type(*id);
  bpf::Layout layout{.name = std::string(structure), .size = type.size, .fields = {}};
  for (const auto& member : type.members) {
    const auto size = btf.size_of(member.type);
    if (!size || member.bitfield_size != 0 || member.bit_offset % 8 != 0)
      return fail(Errc::invalid, kWhat,
                  fmt::format("{}.{} is no plain field", structure, member.name));
    bpf::Field field{
        .name = std::string(member.name), .offset = member.bit_offset / 8, .size = *size};
    const auto& plain = btf.plain(member.type);
    if (plain.kind == bpf::Btf::Kind::pointer && btf.plain(plain.type).is_composite()) {
      field.kind = bpf::FieldKind::btf;
      field.type = btf.skip_modifiers(plain.type);
    }
    layout.fields.push_back(std::move(field));
  }
  for (u32 i = 1; i < btf.count(); ++i) {
    const auto& tag = btf.type(i);
    if (tag.kind != bpf::Btf::Kind::declaration_tag || tag.type != *id || tag.component < 0)
      continue;
    if (static_cast<size_t>(tag.component) < layout.fields.size())
      apply_tag(tag.name, layout.fields[static_cast<size_t>(tag.component)]);
  }
  return layout;
}

Result<> Types::add(PointType point, std::string_view context, const bpf::HelperTable& helpers) {
  TRY(point.type.context, layout_of(btf_, context));
  point.type.name = point.name;
  point.type.sections = {point.name};
  point.type.helpers = &helpers;
  point.type.may_tail_call = false;
  const i64 most = static_cast<i64>(point.results.size()) - 1;
  if (!point.of_daemon() && point.hook != Hook::complete) point.type.returns = {{0, most}};
  points_.push_back(std::move(point));
  return {};
}

Result<std::unique_ptr<Types>> Types::make(std::span<const std::byte> btf) {
  TRY(bpf::Btf read, bpf::Btf::read(btf));
  std::unique_ptr<Types> types(new Types(std::move(read)));
  for (bpf::HelperTable* table : {&types->core_, &types->submit_, &types->texts_, &types->probing_})
    bpf::add_core_helpers(*table);
  add_request_helpers(types->submit_);
  add_text_helpers(types->texts_);
  bpf::add_probe_helpers(types->probing_);
  add_view_helper(types->probing_);

  constexpr Results kPassOrDelay = 1 << COPPICE_PASS | 1 << COPPICE_DELAY;
  TRY_VOID(types->add({.hook = Hook::submit,
                       .name = "volume.submit",
                       .type = {},
                       .results = {"pass", "deny", "delay", "redirect", "complete"},
                       .goes_on = kPassOrDelay,
                       .instructions_max = kRequestInstructionsMax},
                      "coppice_submit", types->submit_));
  TRY_VOID(types->add({.hook = Hook::complete,
                       .name = "volume.complete",
                       .type = {},
                       .results = {"pass", "stop"},
                       .instructions_max = kRequestInstructionsMax},
                      "coppice_complete", types->core_));
  TRY_VOID(types->add({.hook = Hook::admin,
                       .name = "admin",
                       .type = {},
                       .results = {"allow", "refuse"},
                       .goes_on = 1 << COPPICE_ALLOW,
                       .instructions_max = kAdminInstructionsMax},
                      "coppice_admin", types->texts_));
  TRY_VOID(types->add({.hook = Hook::connect,
                       .name = "export.connect",
                       .type = {},
                       .results = {"allow", "refuse"},
                       .goes_on = 1 << COPPICE_ALLOW,
                       .instructions_max = kAdminInstructionsMax},
                      "coppice_connect", types->texts_));
  TRY_VOID(types->add({.hook = Hook::timer,
                       .name = "timer",
                       .type = {},
                       .results = {"pass", "stop"},
                       .instructions_max = kAdminInstructionsMax},
                      "coppice_timer", types->core_));
  TRY_VOID(types->add_tracepoints());
  return types;
}

// A stable tracepoint shows its view; an internal one its arguments, as numbers where the types do
// not say more.
Result<> Types::add_tracepoints() {
  for (size_t i = 0; i < trace::kPoints; ++i) {
    const trace::PointInfo& info = trace::info(static_cast<trace::Point>(i));
    PointType point{.hook = Hook::tracepoint,
                    .name = fmt::format("tracepoint/{}", info.name),
                    .tier = info.tier,
                    .type = {},
                    .results = {"pass", "stop"},
                    .instructions_max = kRequestInstructionsMax,
                    .tracepoint = static_cast<trace::Point>(i)};
    const std::string view = fmt::format("coppice_{}", info.name);
    if (info.tier == Tier::stable || btf_.find(view, bpf::Btf::Kind::structure)) {
      TRY_VOID(add(std::move(point), view, probing_));
      continue;
    }
    bpf::ProgramType& type = point.type;
    type.name = point.name;
    type.sections = {point.name};
    type.helpers = &probing_;
    type.may_tail_call = false;
    type.context = {.name = "coppice_probe", .size = kProbeNumbers * 8, .fields = {}};
    for (u32 n = 0; n < kProbeNumbers; ++n)
      type.context.fields.push_back(
          {.name = fmt::format("args[{}]", n), .offset = 8 * n, .size = 8});
    points_.push_back(std::move(point));
  }
  return {};
}

const PointType* Types::of_section(std::string_view section) const {
  const auto found = std::ranges::find_if(points_, [&](const PointType& point) {
    return section == point.name ||
           (section.starts_with(point.name) && section[point.name.size()] == '/');
  });
  return found == points_.end() ? nullptr : &*found;
}

}  // namespace coppice::hook
