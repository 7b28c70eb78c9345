#include "hook/table.h"

#include <gmock/gmock.h>

#include "hook/testing/bed.h"

namespace coppice::hook {
namespace {

using testing::Bed;
using testing::dataset;
using ::testing::ElementsAre;
using testing::Engine;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::link_of;
using testing::Workshop;
using Where = Place::Where;

class TableTest : public ::testing::Test {
 protected:
  Workshop& workshop_ = Workshop::of(Engine::interpreter);
  Bed bed_{workshop_, 1};
  Table& table_ = bed_.table();
  const PointType& submit_ = workshop_.type("volume.submit");
  const PointType& complete_ = workshop_.type("volume.complete");
  std::shared_ptr<const Instance> empty_ = workshop_.get("empty");

  testing::Order order(const PointType& type, u64 target = 1) {
    return {.target = dataset(target),
            .type = &type,
            .instance = empty_,
            .program = &type == &submit_ ? "submit" : "complete"};
  }
  LinkId attach(Place place = {}, u64 target = 1) {
    return bed_.attach(order(submit_, target), place);
  }
  std::vector<LinkId> ids_at(const Point& point) { return ids(table_.draft().at(point)); }
  std::vector<LinkId> ids() { return ids_at({dataset(1), &submit_}); }
  static std::vector<LinkId> ids(const LinkList& list) {
    std::vector<LinkId> ids;
    for (const auto& link : list) ids.push_back(link->id);
    return ids;
  }
};

// Where a link goes is said by first, last, before and after.
TEST_F(TableTest, LinksGoWhereTheyAreTold) {
  const LinkId a = attach(), b = attach(), c = attach({.where = Where::first});
  EXPECT_THAT(ids(), ElementsAre(c, a, b));
  const LinkId d = attach({.where = Where::before, .link = b});
  const LinkId e = attach({.where = Where::after, .link = b});
  const LinkId f = attach({.where = Where::after, .link = c});
  EXPECT_THAT(ids(), ElementsAre(c, f, a, d, b, e));
  const LinkId elsewhere = attach({}, 2);
  Draft draft = table_.draft();
  for (const LinkId wrong : {elsewhere, LinkId{12345}}) {
    const auto refused =
        draft.add(link_of(table_, order(submit_)), {.where = Where::before, .link = wrong});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().error, EINVAL);
    EXPECT_THAT(refused.error().message, HasSubstr("not at this point"));
  }
}

// A draft is published only if nothing was since it was begun; what is refused changes nothing.
TEST_F(TableTest, ADraftOfThePastIsRefused) {
  const LinkId a = attach();
  Draft late = table_.draft();
  late.remove(a);
  ASSERT_TRUE(late.add(link_of(table_, order(submit_)), {}));
  const LinkId b = attach();
  const u64 revision = table_.revision();
  const auto refused = table_.publish(std::move(late));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, ESTALE);
  EXPECT_EQ(table_.revision(), revision);
  EXPECT_THAT(ids(), ElementsAre(a, b));
  EXPECT_NE(table_.find(a), nullptr);
}

// A draft that is dropped leaves no trace.
TEST_F(TableTest, ADraftThatIsDroppedChangesNothing) {
  const LinkId a = attach();
  {
    Draft draft = table_.draft();
    draft.remove(a);
    EXPECT_EQ(draft.find(a), nullptr);
    EXPECT_THAT(draft.at({dataset(1), &submit_}), IsEmpty());
  }
  EXPECT_THAT(ids(), ElementsAre(a));
  EXPECT_EQ(table_.count(), 1U);
}

// A point has room for 64 links, counted by point; one that goes makes room.
TEST_F(TableTest, APointHasRoomForSixtyFour) {
  std::vector<LinkId> all;
  for (size_t i = 0; i < kLinksPerPointMax; ++i) all.push_back(attach());
  Draft draft = table_.draft();
  const auto refused = draft.add(link_of(table_, order(submit_)), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, E2BIG);
  EXPECT_THAT(refused.error().message, HasSubstr("64"));
  EXPECT_TRUE(draft.add(link_of(table_, order(complete_)), {}));
  EXPECT_TRUE(draft.add(link_of(table_, order(submit_, 2)), {}));
  draft.remove(all[7]);
  EXPECT_TRUE(draft.add(link_of(table_, order(submit_)), {.where = Where::first}));
  EXPECT_TRUE(table_.publish(std::move(draft)));
  EXPECT_EQ(ids().size(), kLinksPerPointMax);
}

// Another program in its place: the link keeps its id, its place and its counters.
TEST_F(TableTest, AReplacedLinkKeepsItsPlaceAndCounters) {
  const LinkId a = attach(), b = attach(), c = attach();
  const auto counters = table_.find(b)->counters;
  counters->slot(0).runs = 17;
  Draft draft = table_.draft();
  Link next = *table_.find(b);
  next.instance = workshop_.get("empty");
  const Instance* const fresh = next.instance.get();
  draft.replace(next);
  ASSERT_TRUE(table_.publish(std::move(draft)));
  EXPECT_THAT(ids(), ElementsAre(a, b, c));
  EXPECT_EQ(table_.find(b)->counters, counters);
  EXPECT_EQ(table_.find(b)->counters->sum().runs, 17U);
  EXPECT_EQ(table_.find(b)->instance.get(), fresh);
  EXPECT_EQ(table_.find(b)->bound->instance.get(), fresh);
}

// Those that are named come in the order named; each other one stays behind its predecessor.
TEST_F(TableTest, ArrangeKeepsTheOthersPlaces) {
  std::vector<LinkId> l;
  for (int i = 0; i < 6; ++i) l.push_back(attach());
  const Point point{dataset(1), &submit_};
  const auto arrange = [&](const std::vector<LinkId>& order) {
    Draft draft = table_.draft();
    const auto done = draft.arrange(point, order);
    EXPECT_TRUE(!done || table_.publish(std::move(draft)));
    return done;
  };
  ASSERT_TRUE(arrange({l[4], l[1]}));
  EXPECT_THAT(ids(), ElementsAre(l[0], l[4], l[5], l[1], l[2], l[3]));
  ASSERT_TRUE(arrange({l[3], l[2], l[1], l[5], l[4], l[0]}));
  EXPECT_THAT(ids(), ElementsAre(l[3], l[2], l[1], l[5], l[4], l[0]));
  ASSERT_TRUE(arrange({}));
  EXPECT_THAT(ids(), ElementsAre(l[3], l[2], l[1], l[5], l[4], l[0]));
  const auto unknown = arrange({l[3], 999});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().error, EINVAL);
  const auto twice = arrange({l[3], l[2], l[3]});
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().error, EINVAL);
}

// What replaces a link's function goes with it; a link whose replacement goes is whole again.
TEST_F(TableTest, RemoveTakesReplacementsAlong) {
  const auto with_replacement = [&](LinkId target) {
    Draft draft = table_.draft();
    testing::Order replacement = order(submit_);
    replacement.options = {.replaces = target, .function = "submit"};
    const Link link = link_of(table_, replacement);
    EXPECT_TRUE(draft.add(link, {}));
    Link patched = *draft.find(target);
    patched.patched = workshop_.get("empty");
    draft.replace(patched);
    EXPECT_TRUE(table_.publish(std::move(draft)));
    return link.id;
  };
  const LinkId target = attach(), other = attach();
  const LinkId first = with_replacement(target);
  EXPECT_EQ(table_.find(first)->bound, nullptr);
  EXPECT_EQ(table_.find(target)->bound->instance, table_.find(target)->patched);
  bed_.detach(first);
  EXPECT_EQ(table_.find(first), nullptr);
  EXPECT_EQ(table_.find(target)->patched, nullptr);
  EXPECT_EQ(table_.find(target)->bound->instance, empty_);
  const LinkId second = with_replacement(target);
  bed_.detach(target);
  EXPECT_EQ(table_.find(target), nullptr);
  EXPECT_EQ(table_.find(second), nullptr);
  EXPECT_THAT(ids(), ElementsAre(other));
}

// A chain is that of the dataset and of all above it, the pool's first.
TEST_F(TableTest, ChainsGoFromThePoolDown) {
  bed_.family().parents = {{1, 0}, {2, 1}, {3, 2}, {4, 1}};
  const LinkId volume = attach({}, 3), pool = attach({}, 1), group = attach({}, 2),
               beside = attach({}, 4), pool_too = attach({}, 1);
  const auto chain = [&](u64 of) {
    std::vector<LinkId> ids;
    for (const Bound* bound : table_.chain_of(submit_, dataset(of))) ids.push_back(bound->link);
    return ids;
  };
  EXPECT_THAT(chain(3), ElementsAre(pool, pool_too, group, volume));
  EXPECT_THAT(chain(4), ElementsAre(pool, pool_too, beside));
  EXPECT_THAT(chain(99), IsEmpty());
  EXPECT_TRUE(table_.any(submit_));
  EXPECT_FALSE(table_.any(complete_));
}

// A volume that is served later, or moves, has the chains of where it is then.
TEST_F(TableTest, VolumesAreWatchedAndMove) {
  bed_.family().parents = {{1, 0}, {2, 1}, {3, 1}, {10, 2}};
  const auto submits_of = [&](u64 volume) {
    std::vector<LinkId> found;
    const auto* chains = bed_.dispatch().current.load()->chains_of(dataset(volume));
    if (chains != nullptr)
      for (const Bound* bound : chains->submit) found.push_back(bound->link);
    return found;
  };
  const LinkId two = attach({}, 2), three = attach({}, 3);
  EXPECT_THAT(submits_of(10), IsEmpty());
  table_.watch(dataset(10));
  EXPECT_THAT(submits_of(10), ElementsAre(two));
  bed_.family().parents[10] = 3;
  table_.renew();
  EXPECT_THAT(submits_of(10), ElementsAre(three));
  table_.watch(dataset(10));
  table_.unwatch(dataset(10));
  const LinkId again = attach({}, 3);
  EXPECT_THAT(submits_of(10), ElementsAre(three, again));
  table_.unwatch(dataset(10));
  table_.renew();
  EXPECT_THAT(submits_of(10), IsEmpty());
  const u64 swaps = table_.statistics().swaps;
  bed_.family().parents[11] = 1;
  table_.watch(dataset(11));  // Nobody is attached there: nothing changes.
  EXPECT_EQ(table_.statistics().swaps, swaps);
  table_.unwatch(dataset(11));
}

// A tracepoint is on while a link is attached to it: from before its generation to after it.
TEST_F(TableTest, SwitchesTracepoints) {
  const auto watcher = workshop_.get("watcher");
  const auto point = trace::Point::io_submit;
  const testing::Order order{.target = {},
                             .type = &workshop_.type("tracepoint/io_submit"),
                             .instance = watcher,
                             .program = "submitted"};
  EXPECT_FALSE(trace::on(point));
  const LinkId a = bed_.attach(order), b = bed_.attach(order);
  EXPECT_EQ(trace::programs(point), 2U);
  bed_.detach(a);
  EXPECT_EQ(trace::programs(point), 1U);
  bed_.detach(b);
  EXPECT_FALSE(trace::on(point));
  bed_.attach(order);  // close() counts it down; the next test finds it off.
}

// --- Random drafts against a model --------------------------------------------------------------

// What the table should be: a list of ids for each point.
using Model = std::map<Point, std::vector<LinkId>>;

class Drafting {
 public:
  Drafting(Bed& bed, std::vector<testing::Order> orders, u64 seed)
      : table_(bed.table()), orders_(std::move(orders)), prng_(seed) {}

  void change() {
    Draft draft = table_.draft();
    Model drafted = model_;
    for (u64 steps = prng_.below(12); steps > 0; --steps) step(draft, drafted);
    if (prng_.chance(1, 6)) return;  // Dropped.
    if (prng_.chance(1, 6)) {        // Too late.
      table_.renew();
      const auto refused = table_.publish(std::move(draft));
      ASSERT_FALSE(refused);
      ASSERT_EQ(refused.error().error, ESTALE);
      return;
    }
    ASSERT_TRUE(table_.publish(std::move(draft)));
    model_ = std::move(drafted);
    std::erase_if(model_, [](const auto& each) { return each.second.empty(); });
  }
  void compare() {
    Model found;
    size_t count = 0;
    for (const auto& [point, list] : table_.points()) {
      count += list->size();
      for (const auto& link : *list) {
        found[point].push_back(link->id);
        ASSERT_EQ(table_.find(link->id), link);
        ASSERT_TRUE(link->point == point);
      }
    }
    ASSERT_TRUE(found == model_);
    ASSERT_EQ(table_.count(), count);
    for (const LinkId id : gone_) ASSERT_EQ(table_.find(id) != nullptr, holds(model_, id)) << id;
  }

 private:
  static bool holds(const Model& model, LinkId id) {
    return std::ranges::any_of(
        model, [&](const auto& each) { return std::ranges::count(each.second, id) > 0; });
  }
  LinkId some(const Model& model, const Point& point) {
    const auto found = model.find(point);
    if (found == model.end() || found->second.empty()) return 0;
    return found->second[prng_.below(found->second.size())];
  }
  void add(Draft& draft, Model& model, Link link, const Point& point) {
    auto& list = model[point];
    Place place{.where = static_cast<Where>(prng_.below(4)), .link = some(model, point)};
    const bool beside = place.where == Where::before || place.where == Where::after;
    const bool expected = list.size() < kLinksPerPointMax && (!beside || place.link != 0);
    const LinkId id = link.id;
    link.point = point;
    ASSERT_EQ(draft.add(std::move(link), place).has_value(), expected);
    if (!expected) return;
    auto at = beside ? std::ranges::find(list, place.link) : list.end();
    if (place.where == Where::first) at = list.begin();
    if (place.where == Where::after) ++at;
    list.insert(at, id);
  }
  void step(Draft& draft, Model& model) {
    const testing::Order& order = orders_[prng_.below(orders_.size())];
    const Point point{order.target, order.type};
    const LinkId id = some(model, point);
    switch (prng_.below(6)) {
      case 0:
      case 1: return add(draft, model, link_of(table_, order), point);
      case 2:
        draft.remove(id);
        std::erase(model[point], id);
        if (id != 0) gone_.push_back(id);
        return;
      case 3:
        if (id != 0) draft.replace(*draft.find(id));
        return;
      case 4: {  // Elsewhere, under the same id.
        if (id == 0) return;
        Link link = *draft.find(id);
        draft.remove(id);
        std::erase(model[point], id);
        const testing::Order& other = orders_[prng_.below(orders_.size())];
        gone_.push_back(id);
        if (other.type != order.type) return;
        return add(draft, model, std::move(link), {other.target, other.type});
      }
      default: {
        std::vector<LinkId>& list = model[point];
        for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[prng_.below(i)]);
        ASSERT_TRUE(draft.arrange(point, list));
      }
    }
  }

  Table& table_;
  const std::vector<testing::Order> orders_;
  Prng prng_;
  Model model_;
  std::vector<LinkId> gone_;
};

// Whatever is drafted, published, dropped or refused: the table is what the model is.
TEST(RandomDrafts, AreWhatTheModelIs) {
  for (u64 seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Workshop& workshop = Workshop::of(Engine::interpreter);
    Bed bed(workshop, seed);
    const auto empty = workshop.get("empty");
    std::vector<testing::Order> orders;
    for (const u64 target : {1, 2, 3}) {
      orders.push_back({.target = dataset(target),
                        .type = &workshop.type("volume.submit"),
                        .instance = empty,
                        .program = "submit"});
      orders.push_back({.target = dataset(target),
                        .type = &workshop.type("volume.complete"),
                        .instance = empty,
                        .program = "complete"});
    }
    Drafting drafting(bed, std::move(orders), seed);
    for (int round = 0; round < 60; ++round) {
      drafting.change();
      drafting.compare();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace coppice::hook
