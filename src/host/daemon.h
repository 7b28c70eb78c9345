// host/daemon.h — Daemon: the open pools, their exports, and the threads they live on.
//
// Theory. The main thread (cap::Loop) owns the list of pools; the sync lane owns what is in them
// (Site, Exports). Whoever works in a pool counts as its user while he does (in_pool); closing lets
// nobody new in and waits for those. A pool stays in the list until it is closed for good, so that
// no second one of its name comes in meanwhile. Pools are opened one after another.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/ref.h"
#include "cap/loop.h"
#include "host/exports.h"
#include "host/hooks.h"
#include "host/lanes.h"
#include "host/pins.h"
#include "host/refusal.h"
#include "host/site.h"

namespace coppice::host {

class Holders;
class RunningPrograms;

struct Settings {
  u64 cache_bytes = 256_MiB;      // Of each pool.
  u64 dirty_bytes_max = 512_MiB;  // Of each pool.
  std::string version;
  std::string jit =
      bpf::default_jit();  // The compiler of programs; without it they are interpreted.
};

// A pool as the main thread knows it. RPC objects hold one for as long as they like.
struct OpenPool : Counted {
  std::string name;
  std::string origin;  // The file that the operator named, or "client".
  std::unique_ptr<PoolFile> file;
  std::unique_ptr<Site> site;  // Null: closed. Its content is the sync lane's.
  bool closing = false;
  u32 users = 0;
  rt::Event unused;
};

struct OpenRequest {
  cap::Fd file;
  std::string name;  // Empty: whatever it is called.
  bool read_only = false;
  std::string origin = "client";
  bool bind_exports = false;  // At start-up: the sockets of pinned exports.
};

class Daemon {
 public:
  static constexpr size_t kPoolsMax = 64;

  Daemon(cap::Loop& loop, Lanes& lanes, Settings settings, std::function<void(std::string)> log);
  ~Daemon();  // After shutdown().

  cap::Loop& loop() { return loop_; }
  Lanes& lanes() { return lanes_; }
  Exports& exports() { return exports_; }
  Hooks& hooks() { return hooks_; }
  Pins& pins() { return pins_; }
  Holders& holders() { return *holders_; }
  RunningPrograms& programs() { return *programs_; }
  const Settings& settings() const { return settings_; }
  u64 started_s() const { return started_s_; }
  u64 started_ns() const { return started_ns_; }
  u64 resident_bytes() const;
  void log(std::string line) { log_(std::move(line)); }
  void warn(std::string line);  // Logged, and kept for `status`.
  const std::vector<std::string>& warnings() const { return warnings_; }

  Task<Attempt<Ref<OpenPool>>> open_pool(OpenRequest request);
  struct CreateRequest {
    cap::Fd file;
    std::string name;
    bool force = false;  // Over a pool that is there already.
  };
  Task<Attempt<Ref<OpenPool>>> create_pool(CreateRequest request);
  Task<Attempt<>> close_pool(Ref<OpenPool> pool, bool force);
  Task<> shutdown();  // Ends exports, commits and closes all pools. Nobody works in them any more.

  Ref<OpenPool> find(std::string_view name) const;  // Null: none.
  std::vector<Ref<OpenPool>> pools() const;         // In name order.
  // For a pool that is open already.
  Ref<OpenPool> adopt(std::unique_ptr<Site> site, std::unique_ptr<PoolFile> file, std::string name,
                      const OpenRequest& request);

  // Runs `work` on the sync lane, as a user of the pool that it was made for.
  template <class T>
  Task<Attempt<T>> in_pool(Ref<OpenPool> pool, Task<Attempt<T>> work);

 private:
  Task<Attempt<Ref<OpenPool>>> open_locked(OpenRequest request);
  Task<Attempt<>> close_locked(Ref<OpenPool> pool, bool force);

  cap::Loop& loop_;
  Lanes& lanes_;
  Settings settings_;
  std::function<void(std::string)> log_;
  std::vector<std::string> warnings_;
  const u64 started_s_;
  const u64 started_ns_;
  cap::Fd statm_;  // /proc/self/statm, opened at start-up: afterwards nothing is.
  Hooks hooks_;
  Pins pins_;
  std::unique_ptr<Holders> holders_;
  Exports exports_;
  std::unique_ptr<RunningPrograms> programs_;
  rt::Mutex opening_;
  std::map<std::string, Ref<OpenPool>, std::less<>> pools_;
};

template <class T>
Task<Attempt<T>> Daemon::in_pool(Ref<OpenPool> pool, Task<Attempt<T>> work) {
  if (pool->closing || !pool->site)
    co_return refused(ENOENT, "the pool " + pool->name + " is closed: open it again");
  ++pool->users;
  auto result = co_await rt::call(loop_, lanes_.sync(), std::move(work));
  if (--pool->users == 0) pool->unused.pulse();
  co_return result;
}

}  // namespace coppice::host
