#include "host/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdio>

#include "host/holders.h"
#include "host/restore.h"
#include "host/running_programs.h"

namespace coppice::host {
namespace {

constexpr size_t kWarningsMax = 100;

u64 random_seed() {
  u64 seed = 0;
  CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

// --- On the sync lane ---

Task<std::unique_ptr<Site>> open_site(std::vector<pool::Lane> lanes, pool::Options options,
                                      Exports& exports, Hooks& hooks, Pins& pins,
                                      rt::Executor& sync) {
  auto opening = pool::Pool::open(std::move(lanes), std::move(options));
  auto pool = co_await std::move(opening);
  if (!pool) co_return std::unexpected(std::move(pool).error());
  auto stats = co_await (*pool)->stats();
  if (!stats) co_return std::unexpected(stats.error());
  auto site = std::make_unique<Site>(*std::move(pool), stats->guid, exports, hooks, pins, sync);
  hooks.add(*site);
  co_return site;
}

// busy: clients are connected, and not `force`. Other errors: it is closed, but not as it should
// be.
Task<Attempt<>> close_site(Site& site, Hooks& hooks, bool force) {
  Exports& exports = site.exports();
  auto turn = co_await exports.turn();
  const auto views = exports.views(&site);
  for (const auto& view : views)
    if (view.connections > 0 && !force)
      co_return refused(EBUSY, fmt::format("{} has {} clients at {}: disconnect them, or use force",
                                           view.name, view.connections, view.spec.address));
  co_await ok(exports.stop_site(site));
  turn.release();
  hooks.remove(site);
  co_await ok(hooks.table().settled());
  co_await rt::yield(hooks.table().home().executor());  // Handles of redirects come home.
  auto closed = co_await site.pool().close();
  if (!closed) {
    if (closed.error().code == Errc::busy) {  // It stays open.
      hooks.add(site);
      co_await ok(site.pins().restore(site));
    }
    co_return std::unexpected(closed.error());
  }
  co_return Attempt<>{};
}

Task<> destroy_site(std::unique_ptr<Site> site) {
  site.reset();
  co_return {};
}

}  // namespace

Daemon::Daemon(cap::Loop& loop, Lanes& lanes, Settings settings,
               std::function<void(std::string)> log)
    : loop_(loop),
      lanes_(lanes),
      settings_(std::move(settings)),
      log_(std::move(log)),
      started_s_(loop.wall_ns() / 1'000'000'000),
      started_ns_(loop.now_ns()),
      statm_(open("/proc/self/statm", O_RDONLY | O_CLOEXEC)),
      hooks_(loop, lanes, settings_.jit, log_),
      pins_(hooks_, lanes.sync()),
      holders_(std::make_unique<Holders>(loop, lanes, hooks_)),
      exports_(lanes, hooks_, log_),
      programs_(std::make_unique<RunningPrograms>(loop, lanes.sync())),
      opening_(loop) {}

Daemon::~Daemon() { CHECK(pools_.empty()); }

u64 Daemon::resident_bytes() const {
  char text[128] = {};
  unsigned long long total = 0, resident = 0;
  if (!statm_ || pread(statm_.get(), text, sizeof text - 1, 0) <= 0) return 0;
  if (std::sscanf(text, "%llu %llu", &total, &resident) != 2) return 0;
  return resident * static_cast<u64>(sysconf(_SC_PAGESIZE));
}

void Daemon::warn(std::string line) {
  log_(line);
  if (warnings_.size() < kWarningsMax) warnings_.push_back(std::move(line));
}

Ref<OpenPool> Daemon::find(std::string_view name) const {
  const auto found = pools_.find(name.substr(0, name.find_first_of("/@#")));
  return found == pools_.end() ? Ref<OpenPool>() : found->second;
}

std::vector<Ref<OpenPool>> Daemon::pools() const {
  std::vector<Ref<OpenPool>> all;
  for (const auto& [name, pool] : pools_) all.push_back(pool);
  return all;
}

Ref<OpenPool> Daemon::adopt(std::unique_ptr<Site> site, std::unique_ptr<PoolFile> file,
                            std::string name, const OpenRequest& request) {
  CHECK(!pools_.contains(name));
  Ref<OpenPool> pool(new OpenPool());
  pool->name = name;
  pool->origin = request.origin;
  pool->file = std::move(file);
  pool->site = std::move(site);
  pools_.emplace(std::move(name), pool);
  return pool;
}

Task<Attempt<Ref<OpenPool>>> Daemon::open_pool(OpenRequest request) {
  const auto turn = co_await opening_.lock();
  auto opened = co_await open_locked(std::move(request));
  co_return opened;
}

Task<Attempt<Ref<OpenPool>>> Daemon::open_locked(OpenRequest request) {
  if (request.read_only)
    co_return refused(ENOTSUP, "open a pool read-only: this format is always opened for writing");
  if (pools_.size() >= kPoolsMax)
    co_return refused(E2BIG, fmt::format("{} pools are open: close one first", kPoolsMax));
  if (!request.name.empty() && pools_.contains(request.name))
    co_return refused(EEXIST, fmt::format("a pool named {} is open already", request.name));
  auto file = PoolFile::adopt(std::move(request.file), lanes_);
  if (!file) co_return refused(file.error());

  pool::Options options;
  options.name = request.name;
  options.cache_bytes = settings_.cache_bytes;
  options.dirty_bytes_max = settings_.dirty_bytes_max;
  options.seed = random_seed();
  options.warn = log_;
  auto opening =
      open_site((*file)->pool_lanes(), std::move(options), exports_, hooks_, pins_, lanes_.sync());
  auto site = co_await rt::call(loop_, lanes_.sync(), std::move(opening));
  if (!site) co_return refused(site.error());

  std::string name = (*site)->pool().name();
  const bool taken = pools_.contains(name);
  auto pool = adopt(*std::move(site), *std::move(file), taken ? name + "\n" : name, request);
  if (taken) {  // It was opened only to learn its name.
    auto closed = co_await close_locked(pool, true);
    (void)closed;
    co_return refused(EEXIST, fmt::format("a pool named {} is open already", name));
  }
  auto linking = pins_.restore(*pool->site);  // Before anybody is served.
  co_await ok(rt::call(loop_, lanes_.sync(), std::move(linking)));
  auto restoring = restore_exports(*pool->site, request.bind_exports);
  auto problems = co_await rt::call(loop_, lanes_.sync(), std::move(restoring));
  if (problems)
    for (auto& problem : *problems) warn(std::move(problem));
  log_(fmt::format("pool {} is open ({})", pool->name, pool->origin));
  co_return pool;
}

Task<Attempt<Ref<OpenPool>>> Daemon::create_pool(CreateRequest request) {
  const auto turn = co_await opening_.lock();
  if (pools_.contains(request.name))
    co_return refused(EEXIST, fmt::format("a pool named {} is open already", request.name));
  {
    const int duplicate = fcntl(request.file.get(), F_DUPFD_CLOEXEC, 3);  // The same lock.
    if (duplicate < 0) co_return refused(Error{Errc::too_big, "create a pool", errno, {}});
    cap::Fd borrowed(duplicate);
    auto file = PoolFile::adopt(std::move(borrowed), lanes_);
    if (!file) co_return refused(file.error());
    auto probing = pool::Pool::probe((*file)->sync_lane());
    auto present = co_await rt::call(loop_, lanes_.sync(), std::move(probing));
    if (present && !present->empty() && !request.force)
      co_return refused(
          EEXIST, fmt::format("the file holds a pool named {}: open it, or use force", *present));
    pool::Pool::CreateOptions options;
    options.name = request.name;
    options.seed = random_seed();
    options.now_s = loop_.wall_ns() / 1'000'000'000;
    auto creating = pool::Pool::create((*file)->sync_lane(), std::move(options));
    auto created = co_await rt::call(loop_, lanes_.sync(), std::move(creating));
    if (!created) co_return refused(created.error());
  }
  OpenRequest opening;
  opening.file = std::move(request.file);
  opening.name = std::move(request.name);
  auto opened = co_await open_locked(std::move(opening));
  co_return opened;
}

Task<Attempt<>> Daemon::close_pool(Ref<OpenPool> pool, bool force) {
  const auto turn = co_await opening_.lock();
  auto closed = co_await close_locked(pool, force);
  co_return closed;
}

Task<Attempt<>> Daemon::close_locked(Ref<OpenPool> pool, bool force) {
  if (pool->closing || !pool->site)
    co_return refused(ENOENT, "the pool " + pool->name + " is closed");
  const size_t programs = programs_->running_in(*pool);
  if (programs > 0 && !force)
    co_return refused(EBUSY, fmt::format("{} channel program{} in the pool {}: wait, end {} with "
                                         "coppice program --kill, or use force",
                                         programs, programs == 1 ? " runs" : "s run", pool->name,
                                         programs == 1 ? "it" : "them"));
  pool->closing = true;
  auto killing = programs_->kill_all(pool, "the pool is being closed");
  co_await ok(std::move(killing));
  while (pool->users > 0) co_await pool->unused.wait();
  auto closing = close_site(*pool->site, hooks_, force);
  auto closed = co_await rt::call(loop_, lanes_.sync(), std::move(closing));
  const bool busy = closed ? !closed->has_value() : closed.error().code == Errc::busy;
  if (busy) {
    pool->closing = false;
    if (!closed) co_return refused(closed.error());
    co_return *closed;
  }
  auto destroying = destroy_site(std::move(pool->site));
  auto destroyed = co_await rt::call(loop_, lanes_.sync(), std::move(destroying));
  CHECK(destroyed.has_value());
  pool->file.reset();
  std::erase_if(pools_, [&](const auto& each) { return each.second.get() == pool.get(); });
  if (!closed) {
    log_(fmt::format("pool {}: closed after an error: {}", pool->name, describe(closed.error())));
    co_return refused(closed.error());
  }
  log_(fmt::format("pool {} is closed", pool->name));
  co_return Attempt<>{};
}

Task<> Daemon::shutdown() {
  for (auto& pool : pools()) {
    auto closed = co_await close_pool(pool, true);
    if (closed && !*closed) log_(fmt::format("pool {}: {}", pool->name, closed->error().message));
  }
  holders_.reset();
  auto closing = hooks_.close();
  co_await ok(std::move(closing));
  co_return {};
}

}  // namespace coppice::host
