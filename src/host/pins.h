// host/pins.h — Pins: the links that catalogs keep, brought to the table of those that run.
//
// Theory. The catalog is what is wanted. reconcile() looks at it, loads what nobody has loaded yet,
// and then, in one step without waiting, drafts and publishes the table's half: however many links
// a transaction has changed, there is one swap. Reconciling twice, or late, comes to the same: it
// is always the catalog of now that is brought about. A link that cannot be loaded here (another
// version of the daemon may verify otherwise) stays, broken, and says why.
//
// Links keep their identity: a link of the catalog is known in the table by its number there. Two
// that are changed from the table's side, pinning and unpinning, tell reconcile() beforehand which
// link they mean. Everything on the sync lane.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "host/apply.h"
#include "host/hooks.h"

namespace coppice::host {

// One point of a set, as it shall be.
struct PointOrder {
  std::string target;  // Full name.
  std::string hook;
  struct Entry {
    std::string name;
    size_t object = 0;  // In SetOrder::objects.
    AttachOrder::Program program;
  };
  std::vector<Entry> links;
};
struct SetOrder {
  std::vector<std::shared_ptr<const hook::Instance>> objects;
  std::vector<PointOrder> points;
  u64 revision = 0;  // Not 0: links were not changed since.
  bool dry_run = false;
  std::string caller;
};
struct SetReport {
  u64 revision = 0;
  std::vector<std::string> attached, replaced, detached, kept;
};

class Pins {
 public:
  explicit Pins(Hooks& hooks, rt::Executor& sync);

  // Of these datasets; those that are gone have none.
  Task<> reconcile(Site& site, std::vector<pool::DatasetId> datasets);
  Task<> restore(Site& site);  // Of all datasets.

  // Objects that are loaded and may be linked without being in the catalog.
  class Offer {
   public:
    Offer(Pins& pins, std::shared_ptr<const hook::Instance> instance);
    Offer(const Offer&) = delete;
    ~Offer();

   private:
    Pins& pins_;
    std::string hash_;
  };
  std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(std::string_view hash) const;
  std::optional<pool::MapEntries> map_entries(const Site& site, const verb::MapName& map) const;

  Task<Attempt<std::vector<hook::LinkId>>> attach(Site& site, pool::DatasetId dataset,
                                                  AttachOrder order, std::string name);
  Task<Attempt<>> pin(hook::LinkId id, std::string name, std::string caller);
  Task<Attempt<>> unpin(hook::LinkId id, std::string caller);
  Task<Attempt<>> update(hook::LinkId id, std::shared_ptr<const hook::Instance> instance,
                         std::string program, std::string expected, std::string caller);
  // Pinned or not.
  Task<Attempt<>> detach(hook::LinkId id, std::string caller);
  Task<Attempt<>> keep_map(u64 map, std::string caller);
  Task<Attempt<>> load(Site& site, std::shared_ptr<const hook::Instance> instance, std::string name,
                       std::string caller);
  Task<Attempt<SetReport>> apply_set(Site& site, SetOrder order);

 private:
  struct Key {  // Of an instance.
    u64 pool = 0;
    std::string object, instance;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Ready;  // What a pass of reconcile() has at hand.
  // With the turn held. `emptied`: at these points no link stays that is not pinned.
  Task<> reconcile_held(Site& site, std::vector<pool::DatasetId> datasets,
                        std::vector<hook::Point> emptied);
  static Key key_of(const Site& site, const pool::PinnedLink& link);
  Task<bool> make_ready(Site& site, const std::vector<pool::DatasetId>& datasets, Ready& ready);
  // The link that this one replaces a function of.
  static const pool::PinnedLink* find_target(const Site& site, const pool::PinnedLink& link);
  Task<std::shared_ptr<const hook::Instance>> load_stored(Site& site, const pool::PinnedLink& link,
                                                          const Ready& ready, std::string& problem);
  void draft_dataset(Site& site, pool::DatasetId id, Ready& ready, hook::Draft& draft);
  hook::Link link_of(Site& site, pool::DatasetId id, const pool::PinnedLink& pinned, Ready& ready,
                     const hook::Link* before) const;
  std::shared_ptr<const hook::Link> find_pinned(const Site& site, u64 pin) const;
  bool matches_table(const Site& site) const;
  Attempt<std::vector<verb::Invocation>> plan_set(Site& site, const SetOrder& order,
                                                  SetReport& report) const;
  Attempt<std::vector<hook::Point>> points_of(Site& site, const SetOrder& order) const;

  Hooks& hooks_;
  rt::Executor& sync_;
  rt::Mutex turn_;
  std::map<Key, std::weak_ptr<const hook::Instance>> instances_;
  struct Offered {
    std::shared_ptr<const hook::Instance> instance;
    pool::SharedValue<pool::StoredObject> stored;
    u32 count = 0;
  };
  std::map<std::string, Offered, std::less<>> offered_;
  std::map<std::pair<u64, std::string>, hook::LinkId> being_pinned_;  // By pool and name.
  std::set<hook::LinkId> being_unpinned_;
};

}  // namespace coppice::host
