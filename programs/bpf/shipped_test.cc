// What each shipped eBPF program promises in the comment that it begins with.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <queue>
#include <thread>

#include "base/prng.h"
#include "testing/bed.h"

namespace coppice::shipped {
namespace {

constexpr u64 kSecond = 1'000'000'000;

coppice_submit request_of(coppice_operation operation, u64 offset, u64 length) {
  coppice_submit request{};
  request.request = 7;
  request.volume = 3;
  request.client = 9;
  request.operation = operation;
  request.offset = offset;
  request.length = length;
  request.volume_bytes = 1_GiB;
  return request;
}

// --- rate_limit

// Clients that send their next request as soon as one of theirs is let go, for ten seconds of the
// bed's time. How many requests of each volume and client were.
struct Load {
  u32 volumes = 1;
  u32 clients = 1;  // Of each volume.
  u32 depth = 1;    // Requests of one client at a time.
  u64 bytes = 4096;
};
std::map<u64, u64> let_go_in_ten_seconds(Bed& bed, const Load& load, bool by_client = false) {
  struct Turn {
    u64 at_ns;
    u64 volume, client;
    bool operator<(const Turn& other) const { return at_ns > other.at_ns; }
  };
  const u64 begin = bed.now_ns;
  std::priority_queue<Turn> turns;
  for (u64 i = 0; i < u64{load.volumes} * load.clients * load.depth; ++i)
    turns.push({.at_ns = begin, .volume = i % load.volumes, .client = i / load.depth});
  std::map<u64, u64> let_go;
  while (!turns.empty()) {
    Turn turn = turns.top();
    turns.pop();
    bed.now_ns = turn.at_ns;
    coppice_submit request = request_of(COPPICE_READ, 0, load.bytes);
    request.volume = turn.volume;
    request.client = turn.client;
    const u64 verdict = bed.run(&request, static_cast<u32>(turn.client % Bed::kSlots));
    // What carrying a request out takes, or a client until it tries again.
    turn.at_ns += verdict == COPPICE_DELAY  ? request.delay_ns
                  : verdict == COPPICE_PASS ? 1'000
                                            : 100'000;
    if (turn.at_ns > begin + 10 * kSecond) continue;
    if (verdict != COPPICE_DENY) ++let_go[by_client ? turn.client : turn.volume];
    turns.push(turn);
  }
  return let_go;
}

void expect_rate(u64 let_go, u64 a_second) {
  EXPECT_NEAR(static_cast<double>(let_go), 10.0 * static_cast<double>(a_second),
              0.02 * 10.0 * static_cast<double>(a_second));
}

TEST(RateLimit, LetsGoAtTheRateWhateverTheQueueIs) {
  for (const u32 depth : {1u, 4u, 128u}) {
    SCOPED_TRACE(depth);
    Bed bed("rate_limit", {{"iops", "1000"}});
    const auto let_go = let_go_in_ten_seconds(bed, {.volumes = 2, .clients = 3, .depth = depth});
    for (const u64 volume : {0, 1}) expect_rate(let_go.at(volume), 1000);
  }
}

TEST(RateLimit, CountsBytes) {
  Bed bed("rate_limit", {{"bytes_per_second", "10000000"}});
  const auto let_go = let_go_in_ten_seconds(bed, {.clients = 2, .depth = 8, .bytes = 20'000});
  expect_rate(let_go.at(0), 500);
}

TEST(RateLimit, KeepsBothRates) {
  for (const u64 bytes : {1'000, 100'000}) {
    SCOPED_TRACE(bytes);
    Bed bed("rate_limit", {{"iops", "500"}, {"bytes_per_second", "10000000"}});
    const auto let_go = let_go_in_ten_seconds(bed, {.depth = 16, .bytes = bytes});
    expect_rate(let_go.at(0), bytes == 1'000 ? 500 : 100);
  }
}

TEST(RateLimit, IsOfEachClientOrOfAllIfAsked) {
  Bed each("rate_limit", {{"iops", "200"}, {"by_client", "1"}});
  const auto of_each = let_go_in_ten_seconds(each, {.clients = 3, .depth = 4}, true);
  for (const u64 client : {0, 1, 2}) expect_rate(of_each.at(client), 200);
  Bed all("rate_limit", {{"iops", "200"}, {"together", "1"}});
  u64 sum = 0;
  for (const auto& [volume, count] : let_go_in_ten_seconds(all, {.volumes = 5, .depth = 4}))
    sum += count;
  expect_rate(sum, 200);
}

TEST(RateLimit, DeniesWhatExceedsTheRateIfAsked) {
  Bed bed("rate_limit", {{"iops", "1000"}, {"bytes_per_second", "1000000000"}, {"deny", "1"}});
  const auto let_go = let_go_in_ten_seconds(bed, {.depth = 2});
  expect_rate(let_go.at(0), 1000);
  coppice_submit request = request_of(COPPICE_READ, 0, 4096);
  while (bed.run(&request) == COPPICE_PASS) {}
  EXPECT_EQ(request.error, static_cast<u32>(EAGAIN));
}

// What was let go at a time was never more than the rate and the burst allow.
TEST(RateLimit, MakesUpForSilenceNoMoreThanTheBurst) {
  Bed bed("rate_limit", {{"iops", "1000"}, {"burst_ms", "50"}});
  for (int round = 0; round < 3; ++round) {
    bed.now_ns += 5 * kSecond;
    u64 at_once = 0;
    coppice_submit request = request_of(COPPICE_READ, 0, 4096);
    while (bed.run(&request) == COPPICE_PASS) ++at_once;
    EXPECT_EQ(at_once, 50u);
  }
}

// However many threads take from one bucket, each request counts once: the last waits for all.
TEST(RateLimit, ForgetsNothingBetweenThreads) {
  constexpr u64 kEach = 20'000;
  Bed bed("rate_limit", {{"iops", "1000000"}, {"burst_ms", "0"}});
  std::array<u64, Bed::kSlots> longest{};
  {
    std::vector<std::jthread> threads;
    for (u32 slot = 0; slot < Bed::kSlots; ++slot) {
      threads.emplace_back([&, slot] {
        for (u64 i = 0; i < kEach; ++i) {
          coppice_submit request = request_of(COPPICE_WRITE, 0, 4096);
          EXPECT_EQ(bed.run(&request, slot), u64{COPPICE_DELAY});
          longest[slot] = std::max<u64>(longest[slot], request.delay_ns);
        }
      });
    }
  }
  EXPECT_EQ(*std::ranges::max_element(longest), kEach * Bed::kSlots * 1000);
}

TEST(RateLimit, WithoutARateLetsEverythingPass) {
  Bed bed("rate_limit", {});
  coppice_submit request = request_of(COPPICE_WRITE, 0, 32_MiB);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(bed.run(&request), u64{COPPICE_PASS});
}

// --- latency

struct LatencyKey {
  u64 volume;
  u32 operation, reserved;
};
struct Latency {
  u64 requests, errors, total_ns, log2_ns[40];
};

TEST(LatencyHistogram, CountsEveryRequestInTheBucketOfItsTime) {
  const u64 seed = 1;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  Bed bed("latency", {});
  std::map<std::pair<u64, u32>, Latency> model;
  for (int i = 0; i < 5'000; ++i) {
    coppice_complete request{};
    request.volume = prng.below(3);
    request.operation = static_cast<u32>(prng.below(5));
    request.latency_ns = prng.next() >> prng.below(64);
    request.error = prng.below(10) == 0 ? EIO : 0;
    bed.run(&request, static_cast<u32>(prng.below(Bed::kSlots)));
    Latency& expected = model[{request.volume, request.operation}];
    expected.requests += 1;
    expected.errors += request.error != 0;
    expected.total_ns += request.latency_ns;
    const int log = request.latency_ns == 0 ? 0 : std::bit_width(request.latency_ns) - 1;
    expected.log2_ns[std::min(log, 39)] += 1;
  }
  for (const auto& [key, expected] : model) {
    Latency sum{};
    const LatencyKey sought{.volume = key.first, .operation = key.second, .reserved = 0};
    for (const Latency& slot : bed.values<Latency>("latencies", sought)) {
      sum.requests += slot.requests;
      sum.errors += slot.errors;
      sum.total_ns += slot.total_ns;
      for (size_t i = 0; i < std::size(sum.log2_ns); ++i) sum.log2_ns[i] += slot.log2_ns[i];
    }
    EXPECT_EQ(std::memcmp(&sum, &expected, sizeof sum), 0) << key.first << " " << key.second;
  }
  EXPECT_EQ(bed.counter("uncounted"), 0u);
}

// --- write_guard

TEST(WriteGuard, DeniesWhatTouchesARangeAndNothingElse) {
  constexpr u64 kUnit = 4096, kVolume = 256 * kUnit;
  Bed bed("write_guard", {{"begin", "0,409600"}, {"bytes", "8192,4096"}, {"end_bytes", "20480"}});
  const auto is_guarded = [](u64 at) {
    return at < 8192 || (at >= 409'600 && at < 413'696) || at >= kVolume - 20'480;
  };
  const u64 seed = 2;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  u64 denied = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto operation = static_cast<coppice_operation>(prng.below(5));
    const u64 offset = prng.below(kVolume / 512) * 512;
    const u64 length = std::min((1 + prng.below(20)) * 512, kVolume - offset);
    bool touches = false;
    for (u64 at = offset; at < offset + length; at += 512) touches |= is_guarded(at);
    const bool writes = operation != COPPICE_READ && operation != COPPICE_FLUSH;
    coppice_submit request = request_of(operation, offset, length);
    request.volume_bytes = kVolume;
    const u64 verdict = bed.run(&request);
    ASSERT_EQ(verdict, writes && touches ? COPPICE_DENY : COPPICE_PASS)
        << operation << " " << offset << " " << length;
    if (verdict == COPPICE_DENY) {
      ++denied;
      EXPECT_EQ(request.error, static_cast<u32>(EPERM));
    }
  }
  const auto counts = bed.values<u64>(".bss", u32{0});
  EXPECT_EQ(counts[0] + counts[1] + counts[8], denied);
}

TEST(WriteGuard, ProtectsNothingUnlessAsked) {
  Bed bed("write_guard", {});
  coppice_submit request = request_of(COPPICE_WRITE, 0, 4096);
  EXPECT_EQ(bed.run(&request), u64{COPPICE_PASS});
}

// --- mirror

struct WritesRecord {
  u64 time_ns, request, pool, volume, client, offset, length, dropped;
  u32 operation, flags, piece, bytes;
};

TEST(Mirror, HoldsEveryByteOfEveryWrite) {
  const u64 seed = 3;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  Bed bed("mirror", {});
  for (const u64 length :
       {u64{1}, u64{4095}, u64{4096}, u64{4097}, 64_KiB, 64_KiB + 1, 1_MiB + 77}) {
    SCOPED_TRACE(length);
    std::vector<std::byte> payload(length);
    for (std::byte& each : payload) each = static_cast<std::byte>(prng.next());
    coppice_submit request = request_of(COPPICE_WRITE, 512, length);
    EXPECT_EQ(bed.run(&request, 0, payload), u64{COPPICE_PASS});
    std::vector<std::byte> seen;
    u32 piece = 0;
    for (const auto& record : bed.records("writes")) {
      WritesRecord header;
      ASSERT_GE(record.size(), sizeof header);
      std::memcpy(&header, record.data(), sizeof header);
      EXPECT_EQ(header.offset, 512 + seen.size());
      EXPECT_EQ(header.length, length);
      EXPECT_EQ(header.piece, piece++);
      EXPECT_EQ(header.dropped, 0u);
      ASSERT_LE(sizeof header + header.bytes, record.size());
      seen.insert(seen.end(), record.begin() + sizeof header,
                  record.begin() + sizeof header + header.bytes);
    }
    EXPECT_TRUE(seen == payload);
  }
}

TEST(Mirror, TellsOfZeroesAndDiscardsAndNotOfReads) {
  Bed bed("mirror", {});
  for (u32 operation = 0; operation < 5; ++operation) {
    coppice_submit request = request_of(static_cast<coppice_operation>(operation), 0, 4096);
    if (operation != COPPICE_WRITE) bed.run(&request);
  }
  std::vector<u32> seen;
  for (const auto& record : bed.records("writes")) {
    EXPECT_EQ(record.size(), sizeof(WritesRecord));
    seen.push_back(reinterpret_cast<const WritesRecord*>(record.data())->operation);
  }
  EXPECT_EQ(seen, (std::vector<u32>{COPPICE_ZERO, COPPICE_DISCARD}));
}

TEST(Mirror, CountsWhatTheRingHadNoRoomFor) {
  Bed bed("mirror", {});
  const std::vector<std::byte> payload(64_KiB);
  coppice_submit request = request_of(COPPICE_WRITE, 0, payload.size());
  u64 pieces = 0;
  for (int i = 0; i < 100; ++i, pieces += 16) bed.run(&request, 0, payload);
  const u64 dropped = bed.counter("dropped");
  EXPECT_GT(dropped, 0u);
  EXPECT_EQ(bed.records("writes").size(), pieces - dropped);
  bed.run(&request, 0, payload);
  const auto after = bed.records("writes");
  ASSERT_FALSE(after.empty());
  EXPECT_EQ(reinterpret_cast<const WritesRecord*>(after[0].data())->dropped, dropped);
}

TEST(Mirror, LeavesPayloadsOutIfAsked) {
  Bed bed("mirror", {{"payload", "0"}});
  coppice_submit request = request_of(COPPICE_WRITE, 0, 1_MiB);
  bed.run(&request, 0, std::vector<std::byte>(1_MiB));
  const auto records = bed.records("writes");
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].size(), sizeof(WritesRecord));
}

// --- admin_window

TEST(AdminWindow, AllowsInTheWindowOfTheDayOnly) {
  constexpr u64 kMinute = 60 * kSecond, kDay = 1440;
  struct Window {
    u64 from, to;
  };
  for (const Window window :
       {Window{0, 1440}, Window{480, 1020}, Window{1320, 360}, Window{5, 5}}) {
    SCOPED_TRACE(window.from);
    Bed bed("admin_window", {{"from_minute", std::to_string(window.from)},
                             {"to_minute", std::to_string(window.to)},
                             {"exempt_uid", "0"}});
    for (u64 minute = 0; minute < kDay; ++minute) {
      const bool inside = window.from <= window.to ? minute >= window.from && minute < window.to
                                                   : minute >= window.from || minute < window.to;
      coppice_admin verb{};
      verb.uid = 1000;
      verb.wall_ns = (20'000 * kDay + minute) * kMinute + 59 * kSecond;
      ASSERT_EQ(bed.run(&verb), inside ? COPPICE_ALLOW : COPPICE_REFUSE) << minute;
      if (!inside) {
        EXPECT_EQ(verb.error, static_cast<u32>(EACCES));
      }
      verb.uid = 0;
      ASSERT_EQ(bed.run(&verb), u64{COPPICE_ALLOW});
    }
  }
}

TEST(AdminWindow, SaysWhenTheWindowIs) {
  Bed bed("admin_window", {{"from_minute", "1325"}, {"to_minute", "360"}});
  coppice_admin verb{};
  verb.wall_ns = 12 * 3600 * kSecond;
  EXPECT_EQ(bed.run(&verb), u64{COPPICE_REFUSE});
  EXPECT_EQ(bed.refusal, "administration is possible from 22:05 to 06:00 UTC");
}

// --- slow_log

struct SlowRecord {
  u64 request, time_ns, latency_ns, pool, volume, client, offset, length;
  u32 operation, flags;
  i32 error;
  u32 verdict;
};

TEST(SlowLog, HoldsWhatTookLongAndNothingElse) {
  const u64 seed = 4;
  SCOPED_TRACE(seed);
  Prng prng(seed);
  Bed bed("slow_log", {{"slower_ms", "5"}});
  std::vector<u64> expected;
  for (u64 i = 0; i < 1000; ++i) {
    coppice_complete request{};
    request.request = i;
    request.latency_ns = 4'990'000 + prng.below(20'000);
    request.error = -5;
    if (request.latency_ns >= 5'000'000) expected.push_back(i);
    bed.run(&request);
  }
  std::vector<u64> seen;
  for (const auto& record : bed.records("slow")) {
    ASSERT_EQ(record.size(), sizeof(SlowRecord));
    const auto& slow = *reinterpret_cast<const SlowRecord*>(record.data());
    EXPECT_EQ(slow.error, -5);
    seen.push_back(slow.request);
  }
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(bed.counter("dropped"), 0u);
}

// --- fault

TEST(Fault, HappensAsOftenAsAsked) {
  constexpr u64 kRequests = 20'000;
  for (const u64 per_million : {u64{0}, u64{100'000}, u64{1'000'000}}) {
    SCOPED_TRACE(per_million);
    Bed bed("fault", {{"error_per_million", std::to_string(per_million)},
                      {"delay_per_million", "500000"},
                      {"delay_ms", "7"}});
    u64 denied = 0, delayed = 0;
    for (u64 i = 0; i < kRequests; ++i) {
      coppice_submit request = request_of(COPPICE_READ, 0, 4096);
      const u64 verdict = bed.run(&request);
      denied += verdict == COPPICE_DENY;
      delayed += verdict == COPPICE_DELAY;
      if (verdict == COPPICE_DENY) {
        EXPECT_EQ(request.error, static_cast<u32>(EIO));
      }
      if (verdict == COPPICE_DELAY) {
        EXPECT_EQ(request.delay_ns, 7'000'000u);
      }
    }
    const auto near = [&](u64 count, double chance) {
      const double deviation = std::sqrt(static_cast<double>(kRequests) * chance * (1 - chance));
      EXPECT_NEAR(static_cast<double>(count), chance * kRequests, 6 * deviation);
    };
    const double chance = static_cast<double>(per_million) / 1e6;
    near(denied, chance);
    near(delayed, (1 - chance) / 2);
    EXPECT_EQ(bed.counter("failed"), denied);
    EXPECT_EQ(bed.counter("delayed"), delayed);
  }
}

TEST(Fault, HappensToTheOperationsAndTheRangeOnly) {
  Bed bed("fault", {{"error_per_million", "1000000"},
                    {"error", "28"},
                    {"on_read", "0"},
                    {"begin", "8192"},
                    {"bytes", "4096"}});
  const auto denies = [&](coppice_operation operation, u64 offset, u64 length) {
    coppice_submit request = request_of(operation, offset, length);
    const bool denied = bed.run(&request) == COPPICE_DENY;
    if (denied) {
      EXPECT_EQ(request.error, static_cast<u32>(ENOSPC));
    }
    return denied;
  };
  EXPECT_FALSE(denies(COPPICE_READ, 8192, 4096));
  EXPECT_TRUE(denies(COPPICE_WRITE, 8192, 4096));
  EXPECT_TRUE(denies(COPPICE_DISCARD, 0, 8193));
  EXPECT_FALSE(denies(COPPICE_ZERO, 0, 8192));
  EXPECT_FALSE(denies(COPPICE_WRITE, 12'288, 4096));
  EXPECT_TRUE(denies(COPPICE_FLUSH, 0, 0));
}

}  // namespace
}  // namespace coppice::shipped
