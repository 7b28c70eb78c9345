// host/hooks.h — Hooks: eBPF programs in the daemon.
//
// Theory. Programs are loaded (verified, compiled) on a thread of their own. Links are the table's
// (hook/table.h), which lives on the sync lane beside the catalogs. There are two kinds. A pinned
// link is in the catalog: verbs change it, in transactions, and reconcile() brings the table to
// what the catalog says, in one swap however much has changed. Any other lives while somebody holds
// it (host/holders.h).
//
// Links of one object and instance share maps. Whoever is about to commit links of an object that
// nobody has loaded offers it for as long: so it is there when the commit has been made, and a
// commit never waits for a compiler.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "bpf/native/compiler.h"
#include "hook/gate.h"
#include "hook/hooked_device.h"
#include "hook/sink.h"
#include "hook/timers.h"
#include "host/lanes.h"
#include "host/refusal.h"

namespace coppice::cap {
class Loop;
}

namespace coppice::host {

class Site;

struct LinkView {
  std::shared_ptr<const hook::Link> link;
  std::string target;                  // Full name; empty: the daemon.
  std::vector<std::string> redirects;  // Full names.
  u32 position = 0;
};

struct MapView {
  std::shared_ptr<hook::SharedMap> map;
  std::vector<hook::LinkId> links;
};

// Where programs go, and how.
struct AttachOrder {
  struct Program {
    std::string name;
    hook::Place place = {};
    hook::Options options = {};
    std::vector<std::string> goes_on = {};    // Results by name; empty: the hook's default.
    std::vector<std::string> redirects = {};  // Full names.
  };
  std::shared_ptr<const hook::Instance> instance;
  std::vector<Program> programs;  // Empty: all, one after the other.
  hook::Tier tier_min = hook::Tier::internal;
  u64 revision = 0;  // Not 0: nothing was changed since.
  std::string author;
};

class Hooks final : public hook::Table::Datasets {
 public:
  Hooks(cap::Loop& loop, Lanes& lanes, std::string jit, std::function<void(std::string)> log);
  ~Hooks() override;  // After close().
  Task<> close();     // Main thread. No device and no pool is left.

  // --- Any lane, which `home` is.
  const hook::Types& types() const { return *types_; }
  Task<Attempt<std::shared_ptr<const hook::Instance>>> load(rt::Executor& home,
                                                            hook::Loader::Order order);
  // The target's program with one function replaced by the order's program.
  struct Replaced {
    std::shared_ptr<const hook::Instance> target;
    std::string program, function;
  };
  Task<Attempt<std::shared_ptr<const hook::Instance>>> load_replacement(rt::Executor& home,
                                                                        hook::Loader::Order order,
                                                                        Replaced replaced);

  // --- Sync lane.
  hook::Table& table() { return *table_; }
  const hook::PointType& admin() const { return *admin_; }
  const hook::PointType& connect() const { return *connect_; }
  std::vector<hook::Target> path_of(const hook::Target& dataset) const override;
  void add(Site& site);
  void remove(Site& site);  // Its links end.
  Site* find_site(u64 guid) const;

  // `site` null: to the daemon. One link for each program, in their order; not pinned.
  Task<Attempt<std::vector<hook::LinkId>>> attach(Site* site, pool::DatasetId dataset,
                                                  AttachOrder order);
  // What the link runs, for load_replacement(). ENOLINK; EBUSY: a function of it is replaced
  // already.
  Attempt<Replaced> replaceable(hook::LinkId id, std::string function) const;
  // `order.instance` is what load_replacement() made for the one program of the order.
  Attempt<hook::LinkId> attach_replacement(const AttachOrder& order);
  // ENOLINK: it is no more. ESTALE: its object is not `expected`.
  Attempt<> update(hook::LinkId id, std::shared_ptr<const hook::Instance> instance,
                   std::string program, const std::string& expected);
  void detach(const std::vector<hook::LinkId>& ids);  // Those that there are.

  // What attach() would publish, but for the rest of its point; and parts of it. EINVAL, ENOENT,
  // EPERM.
  Task<Attempt<hook::Link>> make_link(Site* site, pool::DatasetId dataset, const AttachOrder& order,
                                      const AttachOrder::Program& program);
  Task<Attempt<std::shared_ptr<hook::Redirect>>> open_redirect(Site& site, pool::DatasetId volume);
  // A draft of the table as it is; tells of each link that comes, changes or goes.
  void publish_changes(hook::Draft draft);

  std::vector<LinkView> links() const;
  std::optional<LinkView> view(hook::LinkId id) const;
  std::vector<MapView> maps() const;

 private:
  struct Binding : rt::Job {
    hook::Lane* lane = nullptr;
  };
  class Volume;  // A redirect's.

  Attempt<> publish(hook::Draft draft, std::string_view what);
  void tell(const hook::Link& link, u32 change) const;
  Task<> unbind();

  cap::Loop& loop_;
  Lanes& io_;
  std::function<void(std::string)> log_;
  bpf::Compiler compiler_;
  std::unique_ptr<hook::Types> types_;
  const hook::PointType* admin_ = nullptr;
  const hook::PointType* connect_ = nullptr;
  std::unique_ptr<io::Reactor> loading_;
  std::unique_ptr<hook::Loader> loader_;

  hook::Dispatch dispatch_;
  std::vector<std::unique_ptr<hook::Lane>> lanes_;  // The sync lane's, the I/O lanes', the loop's.
  std::vector<Binding> bindings_;
  std::unique_ptr<hook::Table> table_;
  std::unique_ptr<hook::Timers> timers_;
  hook::Sink sink_;
  std::map<u64, Site*> sites_;
  std::map<hook::Target, std::weak_ptr<hook::Redirect>> redirects_;
};

}  // namespace coppice::host
