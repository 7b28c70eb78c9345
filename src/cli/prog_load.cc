#include "cli/prog_load.h"

#include "cli/verbs.h"

namespace coppice::cli {
namespace {

Json facts_of(schema::LoadedObject::Reader loaded) {
  Json programs = Json::array();
  for (auto each : loaded.getPrograms()) {
    programs.push_back({{"name", each.getName().cStr()},
                        {"hook", each.getHook().cStr()},
                        {"tier", name_of(each.getTier())},
                        {"instructions_max", each.getInstructionsMax()}});
  }
  return {{"object", loaded.getHash().cStr()}, {"programs", std::move(programs)}};
}

}  // namespace

Attempt<> load_object(Session& session, const LoadWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY(auto pool, connection->pool(wishes.pool));
  auto request = pool.loadObjectRequest();
  TRY_VOID(describe_object(wishes.object, request.initObject()));
  request.setName(wishes.name.c_str());
  TRY(const auto response, connection->ask(kj::mv(request)));
  const auto loaded = response.getValue();
  if (wishes.json) {
    fmt::print("{}\n", facts_of(loaded).dump(2, ' ', false, Json::error_handler_t::replace));
    return {};
  }
  fmt::print("{}\n", loaded.getHash().cStr());
  for (auto each : loaded.getPrograms())
    fmt::print("  {}: {} ({}), at most {} instructions a run\n", each.getName().cStr(),
               each.getHook().cStr(), name_of(each.getTier()), each.getInstructionsMax());
  return {};
}

Attempt<> unload_object(Session& session, const LoadWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY_VOID(
      invoke(*connection, wishes.pool, {.verb = "unload", .arguments = {{"object", wishes.name}}}));
  return {};
}

}  // namespace coppice::cli
