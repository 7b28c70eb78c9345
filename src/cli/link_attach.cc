#include "cli/link_attach.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/object_file.h"
#include "cli/shared_folder.h"

namespace coppice::cli {
namespace {

Attempt<> check(const AttachWishes& wishes) {
  if (!wishes.pin.empty() && !wishes.command.empty())
    return misuse("a link that is pinned needs no command to hold it: --pin or -- COMMAND");
  const int places =
      (wishes.first ? 1 : 0) + (wishes.before.empty() ? 0 : 1) + (wishes.after.empty() ? 0 : 1);
  if (places > 1) return misuse("one of --first, --before and --after");
  return {};
}

// Programs of the object, in its order.
Attempt<std::vector<std::string>> programs_of(const AttachWishes& wishes) {
  if (!wishes.programs.empty()) return wishes.programs;
  TRY(const auto path, find_object(wishes.object.file));
  TRY(const bpf::Object object, read_object_file(path, "", {.own_types = true}));
  std::vector<std::string> names;
  for (const bpf::ObjectProgram& each : object.programs()) names.push_back(each.name);
  if (names.empty()) return refuse(fmt::format("'{}' has no programs", path.string()));
  return names;
}

Attempt<> describe(Connection& connection, const AttachWishes& wishes,
                   schema::AttachSpec::Builder spec) {
  TRY_VOID(describe_object(wishes.object, spec.initObject()));
  TRY(std::vector<std::string> programs, programs_of(wishes));
  // They are attached one after the other, each at the place: the last one comes to stand first.
  if (wishes.first || !wishes.after.empty()) std::ranges::reverse(programs);
  auto places = spec.initPrograms(static_cast<u32>(programs.size()));
  for (u32 i = 0; i < places.size(); ++i) {
    places[i].setProgram(programs[i].c_str());
    TRY_VOID(describe_options(connection, wishes.link, places[i].initOptions()));
    auto position = places[i].getPosition();
    if (wishes.first) position.setFirst();
    if (!wishes.before.empty()) {
      TRY(const u64 id, find_link_id(connection, wishes.before));
      position.setBefore(id);
    }
    if (!wishes.after.empty()) {
      TRY(const u64 id, find_link_id(connection, wishes.after));
      position.setAfter(id);
    }
  }
  TRY(const schema::Tier tier, tier_of(wishes.tier_min));
  spec.setMinTier(tier);
  spec.setPin(wishes.pin.c_str());
  return {};
}

template <class Request>
auto ask_for(Connection& connection, Request request, const AttachWishes& wishes)
    -> decltype(connection.ask(kj::mv(request))) {
  TRY_VOID(describe(connection, wishes, request.initSpec()));
  return connection.ask(kj::mv(request));
}

void show(schema::Attached::Reader attached, bool json) {
  Json list = Json::array();
  for (auto each : attached.getLinks()) {
    if (json) {
      list.push_back(facts_of(each.getInfo()));
    } else {
      fmt::print("{}\n", line_of(each.getInfo()));
    }
  }
  if (json) fmt::print("{}\n", list.dump(2, ' ', false, Json::error_handler_t::replace));
  std::fflush(stdout);  // Whoever started us in the background waits for this.
}

// The links live as long as this process does, or until all of them are detached.
Attempt<> stay(Connection& connection, schema::Attached::Reader attached) {
  constexpr u64 kLookEachMs = 1000;
  while (true) {
    switch (connection.wait_for_end({.milliseconds = kLookEachMs})) {
      case Connection::Woken::by_daemon: return refuse("the link ended with the daemon");
      case Connection::Woken::by_signal: return {};
      default: break;
    }
    bool any = false;
    for (auto each : attached.getLinks()) {
      TRY(const auto info, connection.ask(each.getLink().infoRequest()));
      any = any || info.getValue().getState() != schema::LinkInfo::State::DETACHED;
    }
    if (!any) return refuse("the link was detached");
  }
}

}  // namespace

Attempt<> hand_over(int handle, const std::vector<std::string>& command) {
  const int inherited = ::fcntl(handle, F_DUPFD, 3);
  if (inherited < 0)
    return refuse(fmt::format("cannot pass the link on: {}", std::strerror(errno)));
  ::setenv("COPPICE_LINK_FD", std::to_string(inherited).c_str(), 1);
  std::vector<char*> words;
  for (const std::string& each : command) words.push_back(const_cast<char*>(each.c_str()));
  words.push_back(nullptr);
  std::fflush(stdout);
  ::execvp(words[0], words.data());
  return refuse(fmt::format("cannot run '{}': {}", command[0], std::strerror(errno)));
}

Attempt<> attach(Session& session, const AttachWishes& wishes) {
  TRY_VOID(check(wishes));
  const bool stays = wishes.pin.empty() && wishes.command.empty();
  if (stays) Connection::catch_signals();
  TRY(Connection * connection, session.connect());
  const auto finish = [&](schema::Attached::Reader attached) -> Attempt<> {
    show(attached, wishes.json);
    if (stays) return stay(*connection, attached);
    if (wishes.command.empty()) return {};
    TRY(const kj::AutoCloseFd handle, connection->descriptor_of(attached.getHandle()));
    return hand_over(handle.get(), wishes.command);
  };
  if (wishes.target == kDaemon) {
    TRY(const auto response, ask_for(*connection, connection->host().attachRequest(), wishes));
    return finish(response.getValue());
  }
  TRY(auto dataset, connection->dataset(wishes.target));
  TRY(const auto response, ask_for(*connection, dataset.attachRequest(), wishes));
  return finish(response.getValue());
}

}  // namespace coppice::cli
