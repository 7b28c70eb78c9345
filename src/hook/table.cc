#include "hook/table.h"

#include <fmt/format.h>

#include <algorithm>

namespace coppice::hook {
namespace {

std::unexpected<Refused> refuse(int error, std::string message) {
  return std::unexpected(Refused{error, std::move(message)});
}

// Switches tracepoints on or off, once for each program.
void count_tracepoints(const PointLists& points, int by) {
  for (const auto& [point, list] : points)
    if (point.type->hook == Hook::tracepoint)
      trace::enable(point.type->tracepoint, by * static_cast<int>(list->size()));
}

// The programs of a list that run by themselves.
void append(Chain& chain, const LinkList& list) {
  chain.reserve(chain.size() + list.size());
  for (const auto& link : list)
    if (link.bound != nullptr) chain.push_back(link.bound);
}

auto place_of(auto& list, LinkId id) { return std::ranges::find(list, id, &Listed::id); }

}  // namespace

// --- Draft --------------------------------------------------------------------------------------

const LinkList& Draft::at(const Point& point) const {
  static const LinkList kNone;
  if (const auto changed = changed_.find(point); changed != changed_.end()) return changed->second;
  const auto found = points_.find(point);
  return found == points_.end() ? kNone : *found->second;
}

LinkList& Draft::edit(const Point& point) {
  return changed_.try_emplace(point, at(point)).first->second;
}

std::shared_ptr<const Link> Draft::find(LinkId id) const {
  const auto added = added_.find(id);
  const auto known = table_->places_.find(id);
  if (added == added_.end() && known == table_->places_.end()) return nullptr;
  const LinkList& list = at(added != added_.end() ? added->second : known->second);
  const auto place = place_of(list, id);
  if (place == list.end()) return nullptr;
  return *place;
}

Attempt<> Draft::add(Link link, Place place) {
  LinkList& list = edit(link.point);
  if (list.size() >= kLinksPerPointMax)
    return refuse(E2BIG, fmt::format("{} has {} programs already: detach one first",
                                     link.point.type->name, kLinksPerPointMax));
  auto where = list.end();
  if (place.where == Place::Where::first) where = list.begin();
  if (place.where == Place::Where::before || place.where == Place::Where::after) {
    where = place_of(list, place.link);
    if (where == list.end())
      return refuse(EINVAL, fmt::format("link {} is not at this point of {}", place.link,
                                        link.point.type->name));
    if (place.where == Place::Where::after) ++where;
  }
  added_.insert_or_assign(link.id, link.point);
  link.bound = bind(link);
  list.insert(where, std::make_shared<const Link>(std::move(link)));
  return {};
}

void Draft::replace(Link link) {
  LinkList& list = edit(link.point);
  const auto place = place_of(list, link.id);
  CHECK(place != list.end());
  link.bound = bind(link);
  *place = std::make_shared<const Link>(std::move(link));
}

void Draft::remove(LinkId id) {
  const auto link = find(id);
  if (!link) return;
  LinkList& list = edit(link->point);
  list.erase(place_of(list, id));
  added_.erase(id);
  removed_.insert(id);
  if (link->options.replaces != 0) {
    if (const auto target = find(link->options.replaces)) {
      Link whole = *target;
      whole.patched = nullptr;
      replace(std::move(whole));
    }
  }
  for (const auto& other : LinkList(at(link->point)))
    if (other->options.replaces == id) remove(other->id);
}

Attempt<> Draft::arrange(const Point& point, const std::vector<LinkId>& order) {
  LinkList rest = at(point), arranged;
  for (const LinkId id : order) {
    const auto place = place_of(rest, id);
    if (place == rest.end())
      return refuse(EINVAL,
                    fmt::format("link {} is not at this point of {}", id, point.type->name));
    if (place_of(arranged, id) != arranged.end())
      return refuse(EINVAL, fmt::format("link {} is named twice", id));
    arranged.push_back(*place);
  }
  LinkId before = 0;  // Of each of the others: whom it stood behind.
  for (const auto& link : rest) {
    if (place_of(arranged, link->id) == arranged.end()) {
      auto where = before == 0 ? arranged.begin() : place_of(arranged, before) + 1;
      arranged.insert(where, link);
    }
    before = link->id;
  }
  changed_.insert_or_assign(point, std::move(arranged));
  return {};
}

std::vector<Point> Draft::changed_points() const {
  std::vector<Point> points;
  for (const auto& [point, list] : changed_) points.push_back(point);
  return points;
}

// --- Table --------------------------------------------------------------------------------------

// Hears that a generation has ended.
struct Table::Retiring : rt::Job {
  std::unique_ptr<const Generation> generation;
  rt::Event ended;
  bool over = false;
  Retiring() {
    run = [](rt::Job& job) {
      auto& self = static_cast<Retiring&>(job);
      self.generation.reset();
      self.over = true;
      self.ended.pulse();
    };
  }
};

Table::Table(std::vector<Lane*> lanes, Dispatch& dispatch, const Datasets& datasets, u64 revision)
    : lanes_(std::move(lanes)), dispatch_(dispatch), datasets_(datasets), revision_(revision) {
  CHECK(!lanes_.empty());
  newest_ = std::make_unique<Retiring>();
  newest_->generation =
      std::make_unique<Generation>(revision_, Generation::Content{}, home().executor(), *newest_);
  dispatch_.current.store(newest_->generation.get(), std::memory_order_release);
}

Table::~Table() { CHECK(newest_ == nullptr && retiring_ == 0); }

Task<> Table::close() {
  count_tracepoints(points_, -1);
  points_.clear();
  places_.clear();
  while (retiring_ > 0) co_await retired_.wait();
  auto joined = co_await retirements_.join();
  CHECK(joined.has_value());
  dispatch_.current.store(nullptr, std::memory_order_release);
  newest_.reset();  // Of its users only the publisher is left.
  co_return {};
}

Draft Table::draft() const {
  Draft draft(revision_, points_);
  draft.table_ = this;
  return draft;
}

std::shared_ptr<const Link> Table::find(LinkId id) const {
  const auto found = places_.find(id);
  if (found == places_.end()) return nullptr;
  const LinkList& list = *points_.at(found->second);
  return *place_of(list, id);
}

Attempt<> Table::publish(Draft draft) {
  if (draft.revision_ != revision_)
    return refuse(ESTALE, fmt::format("links were changed meanwhile (revision {}, not {}): look "
                                      "again and repeat",
                                      revision_, draft.revision_));
  const auto known = [&](LinkId id) { return places_.contains(id); };
  const auto gone = static_cast<size_t>(std::ranges::count_if(draft.removed_, known));
  if (places_.size() - gone + draft.added_.size() > kLinksMax)
    return refuse(E2BIG, fmt::format("there are at most {} links", kLinksMax));
  for (const LinkId id : draft.removed_) places_.erase(id);
  for (const auto& [id, point] : draft.added_) places_.emplace(id, point);
  const PointLists old = points_;
  for (auto& [point, list] : draft.changed_) {
    if (list.empty()) {
      points_.erase(point);
    } else {
      points_.insert_or_assign(point, std::make_shared<const LinkList>(std::move(list)));
    }
  }
  count_tracepoints(points_, 1);  // Before anybody could miss one.
  swap();
  count_tracepoints(old, -1);
  return {};
}

void Table::renew() { swap(); }

Generation::Content Table::lay_out() const {
  Generation::Content content;
  std::map<std::pair<Target, Hook>, const LinkList*> of_volumes;
  for (const auto& [point, list] : points_) {
    content.kept.push_back(list);
    if (point.type->on_volumes())
      of_volumes.emplace(std::pair(point.target, point.type->hook), list.get());
    if (point.type->hook == Hook::tracepoint)
      append(content.tracepoints[static_cast<size_t>(point.type->tracepoint)], *list);
  }
  if (of_volumes.empty()) return content;
  for (const auto& [volume, count] : watched_) {
    VolumeChains chains;
    for (const Target& target : datasets_.path_of(volume)) {
      if (const auto at = of_volumes.find({target, Hook::submit}); at != of_volumes.end())
        append(chains.submit, *at->second);
      if (const auto at = of_volumes.find({target, Hook::complete}); at != of_volumes.end())
        append(chains.complete, *at->second);
    }
    if (!chains.empty()) content.volumes.emplace(volume, std::move(chains));
  }
  return content;
}

void Table::swap() {
  const u64 began = home().executor().now_ns();
  ++revision_;
  auto next = std::make_unique<Retiring>();
  next->generation = std::make_unique<Generation>(revision_, lay_out(), home().executor(), *next);
  dispatch_.current.store(next->generation.get(), std::memory_order_release);
  Retiring* old = newest_.release();
  newest_ = std::move(next);
  ++statistics_.swaps;
  statistics_.publish_ns_last = home().executor().now_ns() - began;
  ++retiring_;
  retirements_.spawn(retire(std::unique_ptr<Retiring>(old)));
}

namespace {
Task<> refresh(Lane& lane) {
  lane.refresh();
  co_return {};
}
}  // namespace

Task<> Table::retire(std::unique_ptr<Retiring> old) {
  rt::Executor& executor = home().executor();
  const u64 began = executor.now_ns();
  for (Lane* lane : lanes_) {
    auto refreshing = refresh(*lane);
    if (&lane->executor() == &executor) {
      co_await ok(std::move(refreshing));
    } else {
      co_await ok(rt::call(executor, lane->executor(), std::move(refreshing)));
    }
  }
  old->generation->let_go();
  while (!old->over) co_await old->ended.wait();
  statistics_.quiescence_ns_last = executor.now_ns() - began;
  statistics_.quiescence_ns_max =
      std::max(statistics_.quiescence_ns_max, statistics_.quiescence_ns_last);
  --retiring_;
  retired_.pulse();
  co_return {};
}

Task<> Table::settled() {
  while (retiring_ > 0) co_await retired_.wait();
  co_return {};
}

void Table::watch(const Target& volume) {
  if (watched_[volume]++ > 0 || dispatch_.current.load()->chains_of(volume) != nullptr) return;
  const bool covered = std::ranges::any_of(datasets_.path_of(volume), [&](const Target& target) {
    return std::ranges::any_of(points_, [&](const auto& each) {
      return each.first.target == target && each.first.type->on_volumes();
    });
  });
  if (covered) renew();
}

void Table::unwatch(const Target& volume) {
  const auto found = watched_.find(volume);
  CHECK(found != watched_.end() && found->second > 0);
  if (--found->second == 0) watched_.erase(found);
}

Chain Table::chain_of(const PointType& type, const Target& dataset) const {
  Chain chain;
  for (const Target& target : datasets_.path_of(dataset)) {
    const auto found = points_.find({target, &type});
    if (found != points_.end()) append(chain, *found->second);
  }
  return chain;
}

bool Table::any(const PointType& type) const {
  return std::ranges::any_of(points_, [&](const auto& each) { return each.first.type == &type; });
}

}  // namespace coppice::hook
