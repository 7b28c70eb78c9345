#include "cli/links.h"

#include <fcntl.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "cli/object_file.h"
#include "cli/shared_folder.h"
#include "cli/size.h"

namespace coppice::cli {
namespace {

constexpr size_t kObjectBytesMax = 1_MiB;  // The daemon takes no more.

std::optional<u64> id_of(std::string_view text) {
  if (text.starts_with('#')) text.remove_prefix(1);
  u64 id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return id;
}

bool is_named(schema::LinkInfo::Reader info, const std::string& name) {
  if (info.getName().size() == 0) return false;
  const std::string_view own = info.getName().cStr();
  return own == name || fmt::format("{}:{}", pool_part(info.getTarget().cStr()), own) == name;
}

void set_texts(capnp::List<capnp::Text>::Builder into, const std::vector<std::string>& texts) {
  for (u32 i = 0; i < into.size(); ++i) into.set(i, texts[i].c_str());
}

std::string target_of(schema::LinkInfo::Reader info) {
  return info.getTarget().size() == 0 ? kDaemon : info.getTarget().cStr();
}

const char* name_of(schema::LinkInfo::State state) {
  switch (state) {
    case schema::LinkInfo::State::ATTACHED: return "attached";
    case schema::LinkInfo::State::DETACHED: return "detached";
    case schema::LinkInfo::State::BROKEN: return "broken";
  }
  return "unknown";
}

Json texts_of(capnp::List<capnp::Text>::Reader texts) {
  Json list = Json::array();
  for (auto each : texts) list.push_back(each.cStr());
  return list;
}

u64 ns_per_run(schema::LinkInfo::Reader info) {
  return info.getRuns() == 0 ? 0 : info.getRunNs() / info.getRuns();
}

}  // namespace

Attempt<> describe_options(Connection& connection, const LinkWishes& wishes,
                           schema::LinkOptions::Builder into) {
  using Policy = schema::LinkOptions::ErrorPolicy;
  if (!wishes.on_error.empty() && wishes.on_error != "pass" && wishes.on_error != "deny")
    return misuse(fmt::format(
        "on an error a request passes or is denied: 'pass' or 'deny', not '{}'", wishes.on_error));
  into.setOnError(wishes.on_error == "deny" ? Policy::DENY : Policy::PASS);
  set_texts(into.initGoOn(static_cast<u32>(wishes.go_on.size())), wishes.go_on);
  set_texts(into.initRedirects(static_cast<u32>(wishes.redirects.size())), wishes.redirects);
  if (!wishes.every.empty()) {
    TRY(const u64 interval_ns, parse_duration(wishes.every));
    into.setIntervalNs(interval_ns);
  }
  if (wishes.replaces.empty()) return {};
  const size_t colon = wishes.replaces.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == wishes.replaces.size())
    return misuse(fmt::format("'{}' is not of the form LINK:FUNCTION", wishes.replaces));
  TRY(const u64 id, find_link_id(connection, wishes.replaces.substr(0, colon)));
  into.setReplaces(id);
  into.setFunction(wishes.replaces.substr(colon + 1).c_str());
  return {};
}

Attempt<> describe_object(const ObjectWishes& wishes, schema::ObjectSpec::Builder into) {
  TRY(const auto path, find_object(wishes.file));
  TRY(const auto bytes, read_file(path, kObjectBytesMax));
  into.setObject({reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()});
  auto settings = into.initSettings(static_cast<u32>(wishes.settings.size()));
  for (u32 i = 0; i < settings.size(); ++i) {
    const std::string& each = wishes.settings[i];
    const size_t equals = each.find('=');
    if (equals == each.npos || equals == 0)
      return misuse(fmt::format("'{}' is not of the form VARIABLE=VALUE", each));
    settings[i].setName(each.substr(0, equals).c_str());
    settings[i].setValue(each.substr(equals + 1).c_str());
  }
  return {};
}

Attempt<u64> find_link_id(Connection& connection, const std::string& name) {
  if (const auto id = id_of(name)) return *id;
  TRY(const auto response, connection.ask(connection.host().linksRequest()));
  std::optional<u64> found;
  for (auto each : response.getValue().getLinks()) {
    if (!is_named(each.getInfo(), name)) continue;
    if (found)
      return misuse(fmt::format("several pools have a link '{}': say POOL:{}", name, name));
    found = each.getInfo().getId();
  }
  if (found) return *found;
  return refuse(fmt::format("there is no link '{}' ('coppice link list' shows them)", name),
                ENOENT);
}

Attempt<schema::Link::Client> find_link(Connection& connection, const LinkChoice& choice) {
  if (choice.name.empty() == (choice.fd < 0))
    return misuse("say which link: its number or name, or --fd with its descriptor");
  if (choice.fd >= 0) {
    const int copy = ::fcntl(choice.fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
      return refuse(
          fmt::format("descriptor {} cannot be passed on: {}", choice.fd, std::strerror(errno)));
    auto request = connection.host().adoptLinkRequest();
    request.setHandle(carry_handle(kj::AutoCloseFd(copy)));
    TRY(auto response, connection.ask(kj::mv(request)));
    return response.getValue();
  }
  TRY(const u64 id, find_link_id(connection, choice.name));
  auto request = connection.host().linkRequest();
  request.setId(id);
  TRY(auto response, connection.ask(kj::mv(request)));
  return response.getValue();
}

const char* name_of(schema::Tier tier) {
  return tier == schema::Tier::STABLE ? "stable" : "internal";
}

Attempt<schema::Tier> tier_of(const std::string& name) {
  if (name.empty() || name == "internal") return schema::Tier::INTERNAL;
  if (name == "stable") return schema::Tier::STABLE;
  return misuse(fmt::format("there is no tier '{}': stable or internal", name));
}

Json facts_of(schema::LinkInfo::Reader info) {
  const auto options = info.getOptions();
  const bool denies = options.getOnError() == schema::LinkOptions::ErrorPolicy::DENY;
  Json settings = Json::object();
  for (auto each : info.getSettings()) settings[each.getName().cStr()] = each.getValue().cStr();
  return {{"id", info.getId()},
          {"name", info.getName().cStr()},
          {"hook", info.getHook().cStr()},
          {"target", target_of(info)},
          {"position", info.getPosition()},
          {"program", info.getProgram().cStr()},
          {"object", info.getHash().cStr()},
          {"settings", std::move(settings)},
          {"tier", name_of(info.getTier())},
          {"state", name_of(info.getState())},
          {"problem", info.getProblem().cStr()},
          {"author", info.getAuthor().cStr()},
          {"created_s", info.getCreatedS()},
          {"holders", info.getHolders()},
          {"runs", info.getRuns()},
          {"run_ns", info.getRunNs()},
          {"drops", info.getDrops()},
          {"errors", info.getErrors()},
          {"denials", info.getDenials()},
          {"instructions_max", info.getInstructionsMax()},
          {"machine_code", info.getMachineCode()},
          {"go_on", texts_of(options.getGoOn())},
          {"on_error", denies ? "deny" : "pass"},
          {"redirects", texts_of(options.getRedirects())},
          {"interval_ns", options.getIntervalNs()},
          {"replaces", options.getReplaces()},
          {"function", options.getFunction().cStr()}};
}

std::string line_of(schema::LinkInfo::Reader info) {
  return fmt::format("link {}{}: {} on {} of {} ({})", info.getId(),
                     info.getName().size() == 0 ? "" : fmt::format(" '{}'", info.getName().cStr()),
                     info.getProgram().cStr(), info.getHook().cStr(), target_of(info),
                     name_of(info.getTier()));
}

Table table_of(const std::vector<schema::LinkInfo::Reader>& links) {
  Table table{.columns = {{.name = "id", .right = true},
                          {.name = "name"},
                          {.name = "hook"},
                          {.name = "target"},
                          {.name = "program"},
                          {.name = "tier"},
                          {.name = "state"},
                          {.name = "runs", .right = true},
                          {.name = "time", .right = true, .header = "TIME/RUN"},
                          {.name = "drops", .right = true},
                          {.name = "errors", .right = true},
                          {.name = "denials", .right = true}},
              .rows = {}};
  for (const auto& each : links) {
    table.rows.push_back({Cell::exact(each.getId()), Cell::text(each.getName().cStr()),
                          Cell::text(each.getHook().cStr()), Cell::text(target_of(each)),
                          Cell::text(each.getProgram().cStr()), Cell::text(name_of(each.getTier())),
                          Cell::text(name_of(each.getState())), Cell::count(each.getRuns()),
                          Cell::nanoseconds(ns_per_run(each)), Cell::count(each.getDrops()),
                          Cell::count(each.getErrors()), Cell::count(each.getDenials())});
  }
  return table;
}

}  // namespace coppice::cli
