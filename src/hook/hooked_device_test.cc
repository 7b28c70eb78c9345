#include "hook/hooked_device.h"

#include <gmock/gmock.h>

#include <numeric>

#include "hook/testing/bed.h"

namespace coppice::hook {
namespace {

using testing::Bed;
using testing::dataset;
using ::testing::ElementsAre;
using testing::Engine;
using ::testing::IsEmpty;
using testing::MemoryVolume;
using testing::Script;
using testing::value_of;
using testing::Workshop;

constexpr u64 kMs = 1'000'000;

class HookedDeviceTest : public ::testing::TestWithParam<Engine> {
 protected:
  HookedDeviceTest() {
    bed_.family().parents = {{1, 0}, {2, 1}, {10, 2}, {11, 2}};
    bed_.table().watch(dataset(10));
    std::iota(reinterpret_cast<u8*>(below_.bytes().data()),
              reinterpret_cast<u8*>(below_.bytes().data()) + below_.size_bytes(), u8{0});
  }
  // The errno, or 0.
  int run(Task<> task) {
    const auto result = bed_.run(std::move(task));
    return result ? 0 : errno_of(result.error().code);
  }
  std::vector<int> read(u64 offset, size_t length) {
    std::vector<u8> bytes(length, 0xee);
    EXPECT_EQ(run(device_.read(offset, std::as_writable_bytes(std::span(bytes)))), 0);
    return {bytes.begin(), bytes.end()};
  }
  int write(u64 offset, const std::vector<u8>& bytes, blk::WriteOptions options = {}) {
    return run(device_.write(offset, std::as_bytes(std::span(bytes)), options));
  }
  // Who ran since the last call, in order.
  std::vector<u64> trail(const std::shared_ptr<const Instance>& instance) {
    std::vector<u64> ids;
    const u64 count = value_of<u64>(*instance, "trail");
    for (u32 i = 1; i <= count; ++i) ids.push_back(value_of<u64>(*instance, "trail", i));
    testing::set_value(*instance, "trail", u64{0});
    return ids;
  }
  Counts counts(LinkId id) { return bed_.table().find(id)->counters->sum(); }
  std::shared_ptr<const Instance> conclude(const Script& script, u64 target = 1,
                                           Options options = {}) {
    auto instance = workshop_.get("scripted");
    testing::set_value(*instance, "script", script);
    bed_.attach({.target = dataset(target),
                 .type = &workshop_.type("volume.complete"),
                 .instance = instance,
                 .program = "conclude",
                 .options = std::move(options)});
    return instance;
  }

  Workshop& workshop_ = Workshop::of(GetParam());
  Bed bed_{workshop_, 1, 2};
  MemoryVolume below_{bed_.executor(0)}, near_{bed_.executor(0)}, far_{bed_.executor(1)};
  HookedDevice device_{bed_.lane(0), below_, {.volume = dataset(10), .client = 77}};
};

// Where nobody is attached the device is the one below.
TEST_P(HookedDeviceTest, IsTheDeviceBelow) {
  EXPECT_EQ(device_.size_bytes(), below_.size_bytes());
  EXPECT_EQ(&device_.executor(), &below_.executor());
  EXPECT_FALSE(device_.read_only());
  EXPECT_THAT(read(3, 4), ElementsAre(3, 4, 5, 6));
  EXPECT_EQ(write(3, {9, 8}, {.fua = true}), 0);
  EXPECT_TRUE(below_.last.fua);
  EXPECT_THAT(read(2, 4), ElementsAre(2, 9, 8, 5));
  EXPECT_EQ(run(device_.flush()), 0);
  below_.fails = true;
  EXPECT_EQ(run(device_.flush()), ENOSPC);
}

// Programs see what is asked and what came of it, under one number.
TEST_P(HookedDeviceTest, ShowsRequestsToPrograms) {
  const auto submit = bed_.decide({.id = 1}, 10).instance;
  const auto complete = conclude({.id = 2}, 10);
  below_.takes_ns_max = kMs;
  EXPECT_EQ(write(4096, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, {.fua = true}), 0);
  const auto asked = value_of<coppice_submit>(*submit, "submitted");
  EXPECT_NE(asked.request, 0U);
  EXPECT_EQ(asked.pool, testing::kPool);
  EXPECT_EQ(asked.volume, 10U);
  EXPECT_EQ(asked.client, 77U);
  EXPECT_EQ(asked.offset, 4096U);
  EXPECT_EQ(asked.length, 16U);
  EXPECT_EQ(asked.volume_bytes, testing::kVolumeBytes);
  EXPECT_EQ(asked.operation, u32{COPPICE_WRITE});
  EXPECT_EQ(asked.flags, u32{COPPICE_FUA});
  const auto written = value_of<std::array<u8, 16>>(*submit, "written");
  EXPECT_THAT(written, ElementsAre(9, 10, 11, 12, 13, 14, 15, 16, 1, 2, 3, 4, 5, 6, 7, 8));
  const auto done = value_of<coppice_complete>(*complete, "completed");
  EXPECT_EQ(done.request, asked.request);
  EXPECT_EQ(done.time_ns, asked.time_ns + done.latency_ns);
  EXPECT_GT(done.latency_ns, 0U);
  EXPECT_EQ(done.volume, 10U);
  EXPECT_EQ(done.client, 77U);
  EXPECT_EQ(done.offset, 4096U);
  EXPECT_EQ(done.length, 16U);
  EXPECT_EQ(done.operation, u32{COPPICE_WRITE});
  EXPECT_EQ(done.flags, u32{COPPICE_FUA});
  EXPECT_EQ(done.error, 0);
  EXPECT_EQ(done.verdict, u32{COPPICE_PASS});
  EXPECT_THAT(trail(submit), ElementsAre(1, 2));

  below_.fails = true;
  EXPECT_EQ(run(device_.discard(8192, 4096, {})), ENOSPC);
  const auto failed = value_of<coppice_complete>(*complete, "completed");
  EXPECT_EQ(failed.operation, u32{COPPICE_DISCARD});
  EXPECT_EQ(failed.error, ENOSPC);
  EXPECT_NE(failed.request, asked.request);
  below_.fails = false;
  EXPECT_EQ(run(device_.flush()), 0);
  EXPECT_EQ(value_of<coppice_submit>(*submit, "submitted").operation, u32{COPPICE_FLUSH});
  EXPECT_EQ(run(device_.zero(0, 4096, {.no_hole = true})), 0);
  EXPECT_EQ(value_of<coppice_submit>(*submit, "submitted").flags, u32{COPPICE_NO_HOLE});
  EXPECT_TRUE(below_.last.no_hole);
}

// A denied request fails with the nearest error there is, and the volume hears nothing of it.
TEST_P(HookedDeviceTest, DeniesWithErrno) {
  const auto complete = conclude({.id = 9});
  const std::vector<std::pair<u32, int>> errors = {
      {0, EPERM},       {EPERM, EPERM}, {EACCES, EPERM}, {ENOSPC, ENOSPC},     {EROFS, EROFS},
      {EINVAL, EINVAL}, {EIO, EIO},     {ENOENT, EIO},   {4'000'000'000, EIO},
  };
  for (const auto& [asked, given] : errors) {
    SCOPED_TRACE(asked);
    const auto link = bed_.decide({.verdict = COPPICE_DENY, .error = asked});
    const u64 before = below_.requests;
    EXPECT_EQ(write(0, {1}), given);
    EXPECT_EQ(below_.requests, before);
    EXPECT_EQ(counts(link.id).denials, 1U);
    const auto done = value_of<coppice_complete>(*complete, "completed");
    EXPECT_EQ(done.error, given);
    EXPECT_EQ(done.verdict, u32{COPPICE_DENY});
    bed_.detach(link.id);
  }
}

// Delays of several programs add up, are part of the latency, and end at a minute.
TEST_P(HookedDeviceTest, DelaysAddUp) {
  const auto complete = conclude({});
  const auto took = [&] {
    const u64 began = bed_.scheduler().now_ns();
    EXPECT_EQ(run(device_.flush()), 0);
    const u64 took_ns = bed_.scheduler().now_ns() - began;
    const auto done = value_of<coppice_complete>(*complete, "completed");
    EXPECT_LE(done.latency_ns, took_ns);
    EXPECT_EQ(done.latency_ns / kMs, took_ns / kMs);
    EXPECT_EQ(done.verdict, u32{COPPICE_DELAY});
    return took_ns / kMs;
  };
  bed_.decide({.verdict = COPPICE_DELAY, .delay_ns = 30 * kMs});
  EXPECT_EQ(took(), 30U);
  bed_.decide({.verdict = COPPICE_DELAY, .delay_ns = 70 * kMs}, 2);
  bed_.decide({.verdict = COPPICE_PASS}, 10);
  EXPECT_EQ(took(), 100U);
  bed_.decide({.verdict = COPPICE_DELAY, .delay_ns = ~u64{0}}, 10);
  EXPECT_EQ(took(), COPPICE_DELAY_NS_MAX / kMs);
}

// A delayed request of a client that is cut off goes on at once.
TEST_P(HookedDeviceTest, DelaysEndWithTheirClient) {
  std::atomic<bool> doomed = false;
  HookedDevice device(bed_.lane(), below_, {.volume = dataset(10), .client = 1, .doomed = &doomed});
  bed_.decide({.verdict = COPPICE_DELAY, .delay_ns = 30'000 * kMs});
  auto flush = device.flush();
  bed_.scheduler().start(bed_.executor(), flush);
  bed_.scheduler().run_for(1000 * kMs);
  EXPECT_FALSE(flush.finished());
  doomed = true;
  bed_.scheduler().run_for(100 * kMs);
  EXPECT_TRUE(flush.finished());
}

// A redirected request goes to the other volume, on its own lane if it has another one, and the
// volume itself hears nothing of it.
TEST_P(HookedDeviceTest, RedirectsToOtherVolumes) {
  const auto complete = conclude({});
  testing::Order order{
      .redirects = {std::make_shared<testing::To>(near_), std::make_shared<testing::To>(far_)}};
  for (u32 target = 0; target < 2; ++target) {
    SCOPED_TRACE(target);
    MemoryVolume& other = target == 0 ? near_ : far_;
    const auto link = bed_.decide({.verdict = COPPICE_REDIRECT, .target = target}, 1, order);
    const u64 before = below_.requests, others = other.requests;
    EXPECT_EQ(write(100, {1, 2, 3}, {.fua = true}), 0);
    EXPECT_TRUE(other.last.fua);
    EXPECT_THAT(read(99, 5), ElementsAre(0, 1, 2, 3, 0));
    EXPECT_EQ(run(device_.zero(101, 1, {})), 0);
    EXPECT_EQ(run(device_.discard(102, 1, {})), 0);
    EXPECT_EQ(run(device_.flush()), 0);
    EXPECT_EQ(below_.requests, before);
    EXPECT_EQ(other.requests, others + 5);
    EXPECT_EQ(value_of<coppice_complete>(*complete, "completed").verdict, u32{COPPICE_REDIRECT});
    other.fails = true;
    EXPECT_EQ(run(device_.flush()), ENOSPC);
    bed_.detach(link.id);
  }
}

// A read is answered from a map, with zeroes around; nobody else is asked.
TEST_P(HookedDeviceTest, AnswersReads) {
  const auto link = bed_.decide({.verdict = COPPICE_COMPLETE,
                                 .replies = 8,
                                 .reply_at = 2,
                                 .answer = {1, 2, 3, 4, 5, 6, 7, 8}});
  EXPECT_THAT(read(1000, 12), ElementsAre(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0));
  EXPECT_THAT(read(1000, 10), ElementsAre(0, 0, 1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(read(1000, 9), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0));  // It does not fit.
  EXPECT_THAT(read(1000, 1), ElementsAre(0));
  EXPECT_EQ(below_.requests, 0U);
  bed_.detach(link.id);
  // What a program put into the answer of a read that goes on is gone.
  bed_.decide({.verdict = COPPICE_PASS, .replies = 8, .answer = {1, 2, 3, 4, 5, 6, 7, 8}});
  EXPECT_THAT(read(16, 4), ElementsAre(16, 17, 18, 19));
}

// Flags are taken away, never added: by no program, and none after it.
TEST_P(HookedDeviceTest, OnlyNarrowsFlags) {
  const u32 both = COPPICE_FUA | COPPICE_NO_HOLE;
  const auto widen = bed_.decide({.set_flags = 1, .flags = ~u32{0}});
  EXPECT_EQ(run(device_.zero(0, 1, {})), 0);
  EXPECT_FALSE(below_.last.fua || below_.last.no_hole);
  EXPECT_EQ(run(device_.zero(0, 1, {.fua = true})), 0);
  EXPECT_TRUE(below_.last.fua && !below_.last.no_hole);
  const auto narrow = bed_.decide({.set_flags = 1, .flags = COPPICE_NO_HOLE});
  const auto widen_again = bed_.decide({.set_flags = 1, .flags = both});
  const auto complete = conclude({});
  EXPECT_EQ(run(device_.zero(0, 1, {.fua = true, .no_hole = true})), 0);
  EXPECT_TRUE(!below_.last.fua && below_.last.no_hole);
  EXPECT_EQ(value_of<coppice_submit>(*narrow.instance, "submitted").flags, both);
  EXPECT_EQ(value_of<coppice_submit>(*widen_again.instance, "submitted").flags,
            u32{COPPICE_NO_HOLE});
  EXPECT_EQ(value_of<coppice_complete>(*complete, "completed").flags, u32{COPPICE_NO_HOLE});
}

// Programs run from the pool down, and at one place in the order of their links.
TEST_P(HookedDeviceTest, AsksFromThePoolDown) {
  const auto volume = bed_.decide({.id = 5}, 10), group = bed_.decide({.id = 3}, 2),
             pool = bed_.decide({.id = 1}, 1);
  bed_.decide({.id = 2}, 1, {}, {.where = Place::Where::after, .link = pool.id});
  bed_.decide({.id = 4}, 2, {}, {.where = Place::Where::last});
  bed_.decide({.id = 9}, 11);  // Another volume's.
  conclude({.id = 7}, 2);
  conclude({.id = 8}, 10);
  conclude({.id = 6}, 1);
  read(0, 1);
  EXPECT_THAT(trail(pool.instance), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  bed_.decide({.id = 10}, 2, {}, {.where = Place::Where::before, .link = group.id});
  bed_.decide({.id = 11}, 10, {}, {.where = Place::Where::first});
  bed_.detach(volume.id);
  read(0, 1);
  EXPECT_THAT(trail(pool.instance), ElementsAre(1, 2, 10, 3, 4, 11, 6, 7, 8));
}

// The chain goes on after the results that the link names; after others it ends.
TEST_P(HookedDeviceTest, GoesOnAsTheLinkSays) {
  const auto first = bed_.decide({.id = 1, .verdict = COPPICE_DENY, .error = EROFS});
  const auto second = bed_.decide({.id = 2}, 10);
  EXPECT_EQ(run(device_.flush()), EROFS);
  EXPECT_THAT(trail(first.instance), ElementsAre(1));
  bed_.detach(first.id);
  testing::Order on;
  on.options.goes_on = 1 << COPPICE_DENY;
  const auto stubborn = bed_.decide({.id = 3, .verdict = COPPICE_DENY, .error = EROFS}, 1, on);
  EXPECT_EQ(run(device_.flush()), EROFS);  // Pass undoes nothing.
  EXPECT_THAT(trail(first.instance), ElementsAre(3, 2));
  bed_.detach(second.id);
  bed_.decide({.id = 4, .verdict = COPPICE_DENY, .error = EINVAL}, 10);
  EXPECT_EQ(run(device_.flush()), EINVAL);  // The last one counts.
  bed_.detach(stubborn.id);
  const auto pass_ends = bed_.decide({.id = 5, .verdict = COPPICE_PASS}, 1, on);
  trail(first.instance);
  EXPECT_EQ(run(device_.flush()), 0);
  EXPECT_THAT(trail(first.instance), ElementsAre(5));
}

// The results of volume.complete say whether the chain goes on, and nothing else.
TEST_P(HookedDeviceTest, CompleteChainsEndWhereTheLinkSays) {
  const auto first = conclude({.id = 1, .verdict = 1}, 1, {.goes_on = 1 << 0});
  conclude({.id = 2, .verdict = 4'000'000'000}, 10);
  EXPECT_EQ(run(device_.flush()), 0);
  EXPECT_THAT(trail(first), ElementsAre(1));
  testing::set_value(*first, "script", Script{.id = 1});
  EXPECT_EQ(run(device_.flush()), 0);
  EXPECT_THAT(trail(first), ElementsAre(1, 2));
}

// What makes no sense here is counted as an error, and the link says whether the request is
// refused for it.
TEST_P(HookedDeviceTest, NonsenseIsTreatedAsTheLinkSays) {
  const auto after = bed_.decide({.id = 2}, 10);
  for (const ErrorPolicy policy : {ErrorPolicy::pass, ErrorPolicy::deny}) {
    const bool denied = policy == ErrorPolicy::deny;
    SCOPED_TRACE(denied);
    testing::Order order;
    order.options = {.goes_on = kAllResults, .on_error = policy};
    order.redirects = {std::make_shared<testing::To>(near_)};
    const std::vector<Script> nonsense = {{.verdict = COPPICE_COMPLETE},  // Of a write.
                                          {.verdict = COPPICE_REDIRECT, .target = 1},
                                          {.verdict = COPPICE_REDIRECT, .target = ~u32{0}}};
    for (const Script& script : nonsense) {
      const auto link = bed_.decide(script, 1, order);
      trail(after.instance);
      EXPECT_EQ(write(0, {1}), denied ? EPERM : 0);
      EXPECT_EQ(counts(link.id).errors, 1U);
      EXPECT_EQ(trail(after.instance).size(), denied ? 0U : 1U);
      bed_.detach(link.id);
    }
    const PointType& submit = workshop_.type("volume.submit");
    const LinkId failing = bed_.attach({.type = &submit,
                                        .instance = testing::failing(submit),
                                        .program = "fail",
                                        .options = {.on_error = policy}});
    EXPECT_EQ(write(0, {1}), denied ? EPERM : 0);
    EXPECT_EQ(counts(failing).errors, 1U);
    bed_.detach(failing);
  }
}

// Where programs may answer otherwise, all is data; where they only look, nothing changes.
TEST_P(HookedDeviceTest, ExtentsWithProgramsAreData) {
  const auto extents = [&] {
    auto task = device_.extents(4096, 8192, 10);
    auto found = bed_.scheduler().run(bed_.executor(), std::move(task));
    EXPECT_TRUE(found);
    return *found;
  };
  const blk::Extent hole{.offset = 4096, .length = 8192, .hole = true, .zero = true};
  EXPECT_THAT(extents(), ElementsAre(hole));
  conclude({}, 2);
  EXPECT_THAT(extents(), ElementsAre(hole));
  const auto link = bed_.decide({}, 2);
  EXPECT_THAT(extents(), ElementsAre(blk::Extent{.offset = 4096, .length = 8192}));
  bed_.detach(link.id);
  EXPECT_THAT(extents(), ElementsAre(hole));
}

// --- Tracepoints --------------------------------------------------------------------------------

class TracingTest : public HookedDeviceTest {
 protected:
  std::shared_ptr<const Instance> watcher_ = workshop_.get("watcher");
  LinkId watch(std::string_view section, std::string program) {
    return bed_.attach({.target = {},
                        .type = &workshop_.type(section),
                        .instance = watcher_,
                        .program = std::move(program)});
  }
};

// Requests are seen by programs of tracepoints where no volume has any.
TEST_P(TracingTest, ShowsRequests) {
  read(0, 1);
  const LinkId link = watch("tracepoint/io_submit", "submitted");
  read(0, 1);
  read(0, 1);
  EXPECT_EQ(testing::sum_of(*watcher_, "hits", 0), 2U);
  bed_.detach(link);
  read(0, 1);
  EXPECT_EQ(testing::sum_of(*watcher_, "hits", 0), 2U);
}

// An internal tracepoint gives its arguments as numbers.
TEST_P(TracingTest, ShowsArguments) {
  watch("tracepoint/node_read", "node_read");
  trace::fire(trace::Point::node_read, {&bed_, u64{1000}, u64{1}});
  trace::fire(trace::Point::node_read, {&bed_, u64{234}, u64{1}});
  EXPECT_EQ(testing::sum_of(*watcher_, "hits", 1), 1234U);
}

// What fires while a program runs on the same thread is dropped, and counted as that.
TEST_P(TracingTest, NestedFiringIsDropped) {
  const LinkId loud = watch("tracepoint/io_submit", "loud");
  const LinkId node = watch("tracepoint/node_read", "node_read");
  bed_.when_logged = [&] { trace::fire(trace::Point::node_read, {&bed_, u64{1}, u64{1}}); };
  for (int i = 0; i < 3; ++i) read(0, 1);
  EXPECT_EQ(counts(loud).runs, 3U);
  EXPECT_EQ(counts(node).drops, 3U);
  EXPECT_EQ(counts(node).runs, 0U);
  EXPECT_EQ(testing::sum_of(*watcher_, "hits", 1), 0U);
  ASSERT_EQ(bed_.logged().size(), 3U);
  EXPECT_THAT(bed_.logged().front(), ::testing::StartsWith("request "));
  trace::fire(trace::Point::node_read, {&bed_, u64{1}, u64{1}});
  EXPECT_EQ(counts(node).runs, 1U);
}

INSTANTIATE_TEST_SUITE_P(Engines, HookedDeviceTest,
                         ::testing::Values(Engine::interpreter, Engine::machine_code),
                         ::testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(Engines, TracingTest,
                         ::testing::Values(Engine::interpreter, Engine::machine_code),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace coppice::hook
