#include "cli/scrub.h"

#include <cerrno>

#include "cli/progress.h"

namespace coppice::cli {
namespace {

constexpr u64 kPollMs = 200;

// Whether it was answered is all there is to know.
template <class Answer>
Attempt<> kept(const Attempt<Answer>& answer) {
  if (answer) return {};
  return std::unexpected(answer.error());
}

Attempt<> follow(Connection& connection, schema::Pool::Client pool, const std::string& name) {
  using State = schema::ScrubStatus::State;
  ProgressBar bar("scrub of " + name);
  while (true) {
    TRY(const auto response, connection.ask(pool.scrubStatusRequest()));
    const auto status = response.getValue();
    if (status.getState() == State::RUNNING) {
      bar.show(status.getExaminedBytes(), status.getToExamineBytes());
      TRY_VOID(connection.sleep(kPollMs));
      continue;
    }
    if (status.getState() != State::FINISHED) {
      return refuse(fmt::format("the scrub of '{}' was {} before its end", name,
                                status.getState() == State::PAUSED ? "paused" : "stopped"));
    }
    if (status.getErrors() == 0) return {};
    return refuse(fmt::format("the scrub of '{}' found {} errors (see 'coppice pool status {}')",
                              name, status.getErrors(), name));
  }
}

}  // namespace

Attempt<> scrub(Connection& connection, const ScrubOptions& options) {
  TRY(auto pool, connection.pool(options.pool));
  const auto refused = [&](const Failure& why) {
    return refuse(fmt::format("cannot scrub '{}': {}", options.pool, why.message));
  };
  if (options.pause || options.stop) {
    const auto answer = options.pause ? kept(connection.ask(pool.pauseScrubRequest()))
                                      : kept(connection.ask(pool.cancelScrubRequest()));
    return answer ? answer : refused(answer.error());
  }
  const auto started = connection.ask(pool.startScrubRequest());
  // Waiting for a scrub that somebody else began is as good.
  const bool running = !started && started.error().error == EBUSY;
  if (!started && !(running && options.wait)) return refused(started.error());
  return options.wait ? follow(connection, pool, options.pool) : Attempt<>{};
}

Attempt<> wait_for_freeing(Connection& connection, const std::string& name) {
  TRY(auto pool, connection.pool(name));
  ProgressBar bar("freeing in " + std::string(pool_part(name)));
  u64 most = 0;
  while (true) {
    TRY(const auto response, connection.ask(pool.statusRequest()));
    const u64 left = response.getValue().getStats().getFreeingBytes();
    if (left == 0) return {};
    most = std::max(most, left);
    bar.show(most - left, most);
    TRY_VOID(connection.sleep(kPollMs));
  }
}

}  // namespace coppice::cli
