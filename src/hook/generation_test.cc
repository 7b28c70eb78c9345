#include "hook/generation.h"

#include <gmock/gmock.h>

#include <deque>
#include <thread>

#include "hook/testing/bed.h"
#include "io/block_on.h"
#include "io/reactor.h"

namespace coppice::hook {
namespace {

using testing::Bed;
using testing::dataset;
using testing::Engine;
using testing::MemoryVolume;
using testing::Workshop;

constexpr u64 kMs = 1'000'000;
constexpr u64 kVolumes[] = {10, 11, 12};  // One for each lane.
enum Outcome : u32 { kSame, kOther, kNone };

// --- The end of a generation --------------------------------------------------------------------

class GenerationTest : public ::testing::Test {
 protected:
  GenerationTest() {
    bed_.family().parents = {{1, 0}, {10, 1}};
    bed_.table().watch(dataset(10));
  }
  // Attaches an instance that only the table keeps.
  std::weak_ptr<const Instance> attach(LinkId& link, const std::string& hook = "complete") {
    auto instance = workshop_.get("empty");
    link = bed_.attach({.target = dataset(1),
                        .type = &workshop_.type("volume." + hook),
                        .instance = instance,
                        .program = hook});
    return instance;
  }
  Workshop& workshop_ = Workshop::of(Engine::interpreter);
  Bed bed_{workshop_, 1, 3};
  MemoryVolume below_{bed_.executor(0)}, far_{bed_.executor(2)};
};

// What is detached goes when the last request that began on it ends: not before, and not later.
TEST_F(GenerationTest, EndsWithItsLastRequest) {
  below_.takes_ns_max = 500 * kMs;
  HookedDevice device(bed_.lane(0), below_, {.volume = dataset(10)});
  LinkId link = 0;
  const auto instance = attach(link);
  std::vector<Task<>> requests;
  for (int i = 0; i < 5; ++i) requests.push_back(device.flush());
  for (auto& request : requests) bed_.scheduler().start(bed_.executor(), request);
  bed_.scheduler().run_for(1000);
  bed_.detach(link);
  auto settled = bed_.table().settled();
  bed_.scheduler().start(bed_.executor(), settled);
  const auto running = [&] {
    return std::ranges::count_if(requests, [](const auto& each) { return !each.finished(); });
  };
  ASSERT_EQ(running(), 5);
  while (running() > 0) {
    EXPECT_FALSE(instance.expired());
    EXPECT_FALSE(settled.finished());
    ASSERT_TRUE(bed_.scheduler().step());
  }
  bed_.scheduler().run_for(10'000);  // A few jobs, and nobody waits for a timer.
  EXPECT_TRUE(settled.finished());
  EXPECT_TRUE(instance.expired());
  EXPECT_GT(bed_.table().statistics().quiescence_ns_last, 100 * kMs);
}

// A request whose end nobody wants to know of holds nothing back once it was passed.
TEST_F(GenerationTest, EndsWhenNothingOfItWillRun) {
  below_.takes_ns_max = 500 * kMs;
  HookedDevice device(bed_.lane(0), below_, {.volume = dataset(10)});
  LinkId link = 0;
  const auto instance = attach(link, "submit");
  auto request = device.flush();
  bed_.scheduler().start(bed_.executor(), request);
  bed_.scheduler().run_for(1000);
  EXPECT_EQ(bed_.table().find(link)->counters->sum().runs, 1U);
  bed_.detach(link);
  bed_.settle();
  EXPECT_TRUE(instance.expired());
  EXPECT_FALSE(request.finished());
  bed_.scheduler().run_until_idle();
  EXPECT_TRUE(request.finished());
}

// Devices that nobody uses hold nothing back, on whatever lane they are.
TEST_F(GenerationTest, IdleDevicesHoldNothing) {
  HookedDevice near(bed_.lane(0), below_, {.volume = dataset(10)});
  HookedDevice far(bed_.lane(2), far_, {.volume = dataset(10)});
  LinkId link = 0;
  const auto instance = attach(link);
  EXPECT_TRUE(bed_.run(near.flush()));
  EXPECT_TRUE(bed_.run(far.flush(), 2));
  EXPECT_EQ(bed_.table().find(link)->counters->sum().runs, 2U);
  bed_.detach(link);
  EXPECT_FALSE(instance.expired());  // The lanes were not asked yet.
  bed_.settle();
  EXPECT_TRUE(instance.expired());
}

// A device that goes, with its requests done, lets go of what it began on.
TEST_F(GenerationTest, DevicesThatGoHoldNothing) {
  LinkId link = 0;
  const auto instance = attach(link);
  {
    HookedDevice device(bed_.lane(0), below_, {.volume = dataset(10)});
    EXPECT_TRUE(bed_.run(device.flush()));
    bed_.detach(link);
  }
  bed_.settle();
  EXPECT_TRUE(instance.expired());
}

// Many generations at a time, each held by a request of its own, end each on its own.
TEST_F(GenerationTest, ManyEndEachOnItsOwn) {
  below_.takes_ns_max = 300 * kMs;
  HookedDevice device(bed_.lane(0), below_, {.volume = dataset(10)});
  std::vector<std::weak_ptr<const Instance>> instances;
  std::deque<Task<>> requests;
  for (int i = 0; i < 20; ++i) {
    LinkId link = 0;
    instances.push_back(attach(link));
    requests.push_back(device.flush());
    bed_.scheduler().start(bed_.executor(), requests.back());
    bed_.scheduler().run_for(1000);
    bed_.detach(link);
  }
  for (bool more = true; more;) {
    more = false;
    for (size_t i = 0; i < requests.size(); ++i) {
      if (requests[i].finished()) continue;
      more = true;
      EXPECT_FALSE(instances[i].expired()) << i;
    }
    bed_.scheduler().run_for(kMs);
    for (size_t i = 0; i < requests.size(); ++i)
      EXPECT_EQ(instances[i].expired(), requests[i].finished()) << i;
  }
  bed_.settle();
}

// --- Two versions that no request may both see --------------------------------------------------

// Pairs of programs (testing/programs/pair.c) on the pool's root: version 1 and version 2.
class Pairs {
 public:
  explicit Pairs(Workshop& workshop) : workshop_(workshop) {
    for (u64 version = 0; version < 2; ++version) {
      instances_[version] = workshop.get("pair");
      testing::set_value(*instances_[version], "version", version + 1);
    }
    for (u32 outcome : {kSame, kOther, kNone}) before_[outcome] = count(outcome);
  }
  // Into the draft: the other version in place of the one that is there, or the first.
  void swap(Table& table, Draft& draft) {
    version_ = 1 - version_;
    if (links_[0] == 0) {
      for (const bool submit : {true, false}) {
        Link link = testing::link_of(table, {.target = dataset(1),
                                             .type = type(submit),
                                             .instance = instances_[version_],
                                             .program = submit ? "begin" : "end"});
        links_[submit ? 0 : 1] = link.id;
        CHECK(draft.add(std::move(link), {}).has_value());
      }
      return;
    }
    for (const LinkId id : links_) {
      Link link = *draft.find(id);
      link.instance = instances_[version_];
      draft.replace(std::move(link));
    }
  }
  void remove(Draft& draft) {
    for (LinkId& id : links_) draft.remove(std::exchange(id, 0));
  }
  // How many requests ended so.
  u64 ended(Outcome outcome) const { return count(outcome) - before_[outcome]; }

 private:
  const PointType* type(bool submit) const {
    return &workshop_.type(submit ? "volume.submit" : "volume.complete");
  }
  u64 count(u32 outcome) const { return testing::sum_of(*instances_[0], "outcomes", outcome); }

  Workshop& workshop_;
  std::shared_ptr<const Instance> instances_[2];
  u64 before_[3] = {};
  LinkId links_[2] = {};
  size_t version_ = 0;
};

// Requests on one lane, several at a time, through devices that come and go.
struct Client {
  Lane& lane;
  MemoryVolume& below;
  u64 volume = 0;
  const std::atomic<bool>& done;
  Prng prng;
  u64 requests = 0;
};

Task<> serve_some(Client& client, u64 rounds) {
  HookedDevice device(client.lane, client.below, {.volume = dataset(client.volume)});
  std::vector<std::byte> bytes(512);
  for (; rounds > 0; --rounds) {
    rt::Scope requests;
    for (u64 count = 1 + client.prng.below(8); count > 0; --count) {
      ++client.requests;
      const u64 offset = client.prng.below(1000) * 512;
      requests.spawn(client.prng.chance(1, 2) ? device.read(offset, bytes) : device.flush());
    }
    co_await ok(requests.join());
    co_await rt::yield(client.lane.executor());
  }
  co_return {};
}

Task<> serve(Client& client) {
  while (!client.done) co_await ok(serve_some(client, 1 + client.prng.below(20)));
  co_return {};
}

struct Swaps {
  Table& table;
  Workshop& workshop;
  Pairs& pairs;
  Prng prng;
  std::shared_ptr<const Instance> watcher;
  std::map<u64, bool> watched = {};
  LinkId tracing = 0;
};

// Tracepoints come and go in the same drafts.
void switch_tracing(Swaps& swaps, Draft& draft) {
  if (swaps.tracing != 0) return draft.remove(std::exchange(swaps.tracing, 0));
  Link link = testing::link_of(swaps.table, {.target = {},
                                             .type = &swaps.workshop.type("tracepoint/io_submit"),
                                             .instance = swaps.watcher,
                                             .program = "submitted"});
  swaps.tracing = link.id;
  CHECK(draft.add(std::move(link), {}).has_value());
}

// An instance that only the table has is gone once it is detached and the table has settled.
Task<> come_and_go(Swaps& swaps) {
  auto instance = swaps.workshop.get("empty");
  const std::weak_ptr<const Instance> seen = instance;
  Link link = testing::link_of(swaps.table, {.target = dataset(1),
                                             .type = &swaps.workshop.type("volume.submit"),
                                             .instance = std::move(instance),
                                             .program = "submit"});
  const LinkId id = link.id;
  Draft coming = swaps.table.draft();
  CHECK(coming.add(std::move(link), {.where = Place::Where::first}).has_value());
  CHECK(swaps.table.publish(std::move(coming)).has_value());
  co_await rt::yield(swaps.table.home().executor());
  Draft going = swaps.table.draft();
  going.remove(id);
  CHECK(swaps.table.publish(std::move(going)).has_value());
  co_await ok(swaps.table.settled());
  EXPECT_TRUE(seen.expired());
  co_return {};
}

Task<> swap_often(Swaps& swaps, u64 count, std::atomic<bool>& done) {
  for (const u64 volume : kVolumes) swaps.watched[volume] = false;
  for (u64 i = 0; i < count; ++i) {
    const u64 volume = kVolumes[swaps.prng.below(std::size(kVolumes))];
    bool& watched = swaps.watched[volume];
    if (!watched) swaps.table.watch(dataset(volume));
    if (watched && swaps.prng.chance(1, 20)) {
      swaps.table.unwatch(dataset(volume));
      watched = false;
    } else {
      watched = true;
    }
    Draft draft = swaps.table.draft();
    if (swaps.prng.chance(1, 20)) {
      swaps.pairs.remove(draft);
    } else {
      swaps.pairs.swap(swaps.table, draft);
    }
    if (swaps.prng.chance(1, 5)) switch_tracing(swaps, draft);
    CHECK(swaps.table.publish(std::move(draft)).has_value());
    if (i % 500 == 77) co_await ok(come_and_go(swaps));
    if (swaps.prng.chance(1, 16)) co_await ok(swaps.table.settled());
    co_await rt::yield(swaps.table.home().executor());
  }
  for (const auto& [volume, watched] : swaps.watched)
    if (watched) swaps.table.unwatch(dataset(volume));
  done = true;
  co_return {};
}

// In any interleaving of three lanes: each request is seen by one version, from its beginning to
// its end, or by none.
TEST(Swaps, NoRequestSeesTwoVersionsInTheSimulator) {
  Workshop& workshop = Workshop::of(Engine::interpreter);
  for (u64 seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Bed bed(workshop, seed, 3);
    bed.family().parents = {{1, 0}, {10, 1}, {11, 1}, {12, 1}};
    Pairs pairs(workshop);
    std::atomic<bool> done = false;
    std::deque<MemoryVolume> volumes;
    std::deque<Client> clients;
    std::deque<Task<>> serving;
    for (size_t i = 0; i < 3; ++i) {
      volumes.emplace_back(bed.executor(i)).takes_ns_max = 5000;
      clients.push_back({bed.lane(i), volumes.back(), kVolumes[i], done, Prng(seed * 3 + i)});
      serving.push_back(serve(clients.back()));
      bed.scheduler().start(bed.executor(i), serving.back());
    }
    Swaps swaps{bed.table(), workshop, pairs, Prng(seed), workshop.get("watcher")};
    ASSERT_TRUE(bed.run(swap_often(swaps, 500, done)));
    bed.scheduler().run_until_idle();
    for (const auto& each : serving) ASSERT_TRUE(each.finished());
    EXPECT_EQ(pairs.ended(kOther), 0U);
    EXPECT_EQ(pairs.ended(kNone), 0U);
    EXPECT_GT(pairs.ended(kSame), 100U);
  }
}

// --- On threads ---------------------------------------------------------------------------------

Task<> bind(Lane& lane) {
  lane.bind_thread();
  co_return {};
}

struct Site {
  Site() {
    for (u32 i = 0; i < 3; ++i) {
      reactors.push_back(*io::Reactor::create({.name = "lane"}));
      lanes.push_back(
          std::make_unique<Lane>(*reactors.back(), dispatch, i, [](std::string_view) {}));
      pointers.push_back(lanes.back().get());
      reactors.back()->start();
      CHECK(io::block_on(*reactors.back(), bind(*lanes.back())).has_value());
    }
    family.parents = {{1, 0}, {10, 1}, {11, 1}, {12, 1}};
    table = std::make_unique<Table>(pointers, dispatch, family, 1);
    trace::set_sink(&sink);
  }
  ~Site() {
    CHECK(io::block_on(*reactors.front(), table->close()).has_value());
    for (const auto& each : reactors) each->stop();
    for (const auto& each : reactors) each->join();
    trace::set_sink(nullptr);
  }
  std::vector<std::unique_ptr<io::Reactor>> reactors;
  Dispatch dispatch;
  testing::Family family;
  std::vector<std::unique_ptr<Lane>> lanes;
  std::vector<Lane*> pointers;
  std::unique_ptr<Table> table;
  Sink sink;
};

class SwapsOnThreads : public ::testing::TestWithParam<Engine> {};

// The same on three threads while they serve as fast as they can; 10,000 times in machine code.
TEST_P(SwapsOnThreads, NoRequestSeesTwoVersions) {
  const u64 swap_count = GetParam() == Engine::machine_code ? 10'000 : 1000;
  Workshop& workshop = Workshop::of(GetParam());
  Site site;
  Pairs pairs(workshop);
  std::atomic<bool> done = false;
  std::deque<MemoryVolume> volumes;
  std::deque<Client> clients;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 3; ++i) {
    volumes.emplace_back(*site.reactors[i]).takes_ns_max = i == 0 ? 0 : 50'000;
    clients.push_back({*site.lanes[i], volumes.back(), kVolumes[i], done, Prng(i)});
    threads.emplace_back([&site, &client = clients.back(), i] {
      EXPECT_TRUE(io::block_on(*site.reactors[i], serve(client)));
    });
  }
  Swaps swaps{*site.table, workshop, pairs, Prng(1), workshop.get("watcher")};
  EXPECT_TRUE(io::block_on(*site.reactors[0], swap_often(swaps, swap_count, done)));
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(pairs.ended(kOther), 0U);
  EXPECT_EQ(pairs.ended(kNone), 0U);
  EXPECT_GT(pairs.ended(kSame), 1000U);
  EXPECT_GE(site.table->statistics().swaps, swap_count);
  u64 requests = 0;
  for (const Client& client : clients) requests += client.requests;
  EXPECT_LE(pairs.ended(kSame), requests);
  EXPECT_GT(testing::sum_of(*swaps.watcher, "hits", 0), 0U);
}

INSTANTIATE_TEST_SUITE_P(Engines, SwapsOnThreads,
                         ::testing::Values(Engine::interpreter, Engine::machine_code),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace coppice::hook
