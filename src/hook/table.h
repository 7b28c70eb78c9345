// hook/table.h — Table: which links there are, at which points and in which order; how they change.
//
// Theory. The table lives on one executor, its home. A change of any size is drafted beside it and
// published in one step: a draft has the revision it was made of, and is refused if there is
// another one by then; so two changes never mix. Publishing builds the next generation and stores
// it. Then the old one is retired in the background: every lane refreshes, requests under way end,
// and the generation dies; how long that took is kept (quiescence).
//
// Chains of volumes are laid out for volumes that somebody serves (watch()), from the pool down: a
// volume's path of targets is its host's to say, and asked anew for every generation.
#pragma once

#include <map>
#include <set>
#include <unordered_map>

#include "hook/lane.h"
#include "rt/scope.h"

namespace coppice::hook {

using PointLists = std::map<Point, std::shared_ptr<const LinkList>>;

// Where a link goes among those of its point.
struct Place {
  enum class Where : u8 { last, first, before, after } where = Where::last;
  LinkId link = 0;
};

struct Refused {
  int error = 0;
  std::string message;
};
template <class T = void>
using Attempt = std::expected<T, Refused>;

class Draft {
 public:
  const LinkList& at(const Point& point) const;
  std::shared_ptr<const Link> find(LinkId id) const;  // Null: none.
  // E2BIG: the point is full. EINVAL: the place's link is not at the point.
  Attempt<> add(Link link, Place place);
  void replace(Link link);  // That of the same id, in its place.
  void remove(LinkId id);   // And what replaces a function of it. Nothing if there is none.
  // These links in this order; others of the point follow the one they stood behind.
  Attempt<> arrange(const Point& point, const std::vector<LinkId>& order);
  u64 revision() const { return revision_; }
  std::vector<Point> changed_points() const;

 private:
  friend class Table;
  Draft(u64 revision, PointLists points) : revision_(revision), points_(std::move(points)) {}
  LinkList& edit(const Point& point);

  u64 revision_;
  PointLists points_;
  std::map<Point, LinkList> changed_;
  std::unordered_map<LinkId, Point> added_;
  std::set<LinkId> removed_;  // They may have been added again, elsewhere.
  const class Table* table_ = nullptr;
};

class Table {
 public:
  // What the table asks of whoever knows the datasets.
  class Datasets {
   public:
    virtual ~Datasets() = default;
    // From the pool's root to the dataset itself; empty: it is gone.
    virtual std::vector<Target> path_of(const Target& dataset) const = 0;
  };
  struct Statistics {
    u64 swaps = 0, quiescence_ns_last = 0, quiescence_ns_max = 0, publish_ns_last = 0;
  };

  // `lanes`: of every thread that runs programs, the home's first. `revision`: to begin with;
  // larger than that of any earlier process.
  Table(std::vector<Lane*> lanes, Dispatch& dispatch, const Datasets& datasets, u64 revision);
  Table(const Table&) = delete;
  ~Table();
  // No device is left. Then it may be destroyed.
  Task<> close();

  Lane& home() { return *lanes_.front(); }
  u32 slots() const { return static_cast<u32>(lanes_.size()); }
  LinkId next_id() { return next_id_++; }

  u64 revision() const { return revision_; }
  Draft draft() const;
  // ESTALE: something else was published since the draft was begun.
  Attempt<> publish(Draft draft);
  Task<> settled();  // Nothing runs on an older generation any more.

  std::shared_ptr<const Link> find(LinkId id) const;  // Null: none, or none any more.
  const PointLists& points() const { return points_; }
  size_t count() const { return places_.size(); }
  const Statistics& statistics() const { return statistics_; }

  // Somebody begins or ceases to serve the volume. Counted.
  void watch(const Target& volume);
  void unwatch(const Target& volume);
  // The datasets' paths have changed: as publish(), with the same links.
  void renew();

  // The programs of a hook on the dataset and all above it, from the pool down.
  Chain chain_of(const PointType& type, const Target& dataset) const;
  bool any(const PointType& type) const;

 private:
  friend class Draft;
  struct Retiring;
  Generation::Content lay_out() const;
  void swap();
  Task<> retire(std::unique_ptr<Retiring> old);

  std::vector<Lane*> lanes_;
  Dispatch& dispatch_;
  const Datasets& datasets_;
  u64 revision_;
  LinkId next_id_ = 1;
  PointLists points_;
  std::unordered_map<LinkId, Point> places_;  // Of each link.
  std::map<Target, u32> watched_;
  Statistics statistics_;
  std::unique_ptr<Retiring> newest_;
  rt::Scope retirements_;
  u32 retiring_ = 0;
  rt::Event retired_;
};

}  // namespace coppice::hook
