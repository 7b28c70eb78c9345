// host/site.h — Site: one open pool as the sync lane sees it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cap/descriptor.h"
#include "host/exports.h"
#include "host/lanes.h"
#include "io/file_disk.h"
#include "pool/pool.h"
#include "verb/admin.h"

namespace coppice::host {

class Hooks;
class Pins;

// Made and used on the sync lane; destroyed anywhere, after its pool was closed.
class Site final : public verb::Host, public verb::Gate {
 public:
  Site(std::unique_ptr<pool::Pool> pool, u64 guid, Exports& exports, Hooks& hooks, Pins& pins,
       rt::Executor& sync)
      : pool_(std::move(pool)),
        guid_(guid),
        exports_(exports),
        hooks_(hooks),
        pins_(pins),
        sync_(sync),
        admin_(*pool_, *this, sync) {}
  Site(const Site&) = delete;

  pool::Pool& pool() { return *pool_; }
  u64 guid() const { return guid_; }
  const pool::Pool& pool() const { return *pool_; }
  verb::Admin& admin() { return admin_; }
  Exports& exports() { return exports_; }
  Pins& pins() { return pins_; }
  std::vector<verb::RunningExport> exports_of(pool::DatasetId id) const override {
    return exports_.running(*this, id);
  }
  bool listening(const std::string& address) const override { return exports_.listening(address); }
  std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(
      std::string_view hash) const override;
  std::optional<pool::MapEntries> map_entries(const verb::MapName& map) const override;
  verb::Gate* gate() const override { return const_cast<Site*>(this); }
  // The programs on `admin`, of the dataset that the verb names and all above it.
  std::optional<verb::Refusal> admit(const Question& question) override;

  // An administrative command under way, or waiting for the pool's turn.
  class Pending {
   public:
    explicit Pending(Site& site) : site_(site) { ++site_.pending_; }
    Pending(const Pending&) = delete;
    ~Pending() { --site_.pending_; }

   private:
    Site& site_;
  };
  u32 pending() const { return pending_; }

 private:
  u32 pending_ = 0;
  std::unique_ptr<pool::Pool> pool_;
  const u64 guid_;
  Exports& exports_;
  Hooks& hooks_;
  Pins& pins_;
  rt::Executor& sync_;
  verb::Admin admin_;
};

// The device below a pool: one view a lane, on one descriptor that is locked for us.
class PoolFile {
 public:
  // Errors: busy, invalid, denied: as io::adopt_disk_file.
  static Result<std::unique_ptr<PoolFile>> adopt(cap::Fd fd, Lanes& lanes);
  std::vector<pool::Lane> pool_lanes();
  pool::Lane sync_lane() { return pool_lanes().front(); }
  Result<u64> size_now() const { return io::size_of_disk_file(fd_.get()); }
  // On the sync lane: all views show the size that the file has now.
  Task<> refresh(Lanes& lanes);

 private:
  struct View {
    io::Reactor* reactor;
    io::FileDisk disk;
  };
  cap::Fd fd_;
  std::vector<std::unique_ptr<View>> views_;  // The sync lane's first.
};

}  // namespace coppice::host
