// Many threads on one map: nothing is lost, doubled, torn where it must not be, or seen after it is
// gone for good. The thread sanitizer's preset runs these as well.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>

#include "base/endian.h"
#include "base/prng.h"
#include "bpf/map.h"
#include "bpf/ring_buffer.h"
#include "bpf/testing/maps.h"

namespace coppice::bpf {
namespace {

constexpr u32 kThreads = 4;

template <class Work>
void in_threads(Work work) {
  std::vector<std::thread> threads;
  for (u32 i = 0; i < kThreads; ++i) threads.emplace_back([&work, i] { work(i); });
  for (std::thread& each : threads) each.join();
}

// Values name their key, so that a reader sees whose value it has; both halves are one update's.
struct Value {
  u64 key;
  u64 stamp;
  u64 check;
};

// Each thread owns some keys and shares others; a copy read from outside is never torn.
TEST(Concurrent, HashMapsKeepWhatTheOwnersPut) {
  for (const MapKind kind : {MapKind::hash, MapKind::lru_hash}) {
    constexpr u64 kKeys = 64, kShared = 8;
    auto map = make(
        {.kind = kind, .key_size = 8, .value_size = 24, .max_entries = kThreads * kKeys + kShared});
    in_threads([&](u32 thread) {
      Prng prng(thread + 1);
      std::array<u64, kKeys> stamps{};  // 0: not there.
      for (u64 step = 1; step <= 20'000; ++step) {
        const u64 index = prng.below(kKeys), key = thread * 1000 + index;
        const Value value{key, step, key ^ step};
        if (prng.chance(1, 3)) {
          EXPECT_EQ(map->remove(bytes(key)), stamps[index] == 0 ? -ENOENT : 0);
          stamps[index] = 0;
        } else {
          EXPECT_EQ(map->update(bytes(key), bytes(value), kAny, 0), 0);
          stamps[index] = step;
        }
        Value seen{};
        const int got = map->read(bytes(key), std::as_writable_bytes(std::span(&seen, 1)));
        EXPECT_EQ(got, stamps[index] == 0 ? -ENOENT : 0);
        EXPECT_TRUE(got != 0 || (seen.stamp == stamps[index] && seen.key == key));
        const u64 shared = 1'000'000 + prng.below(kShared);
        const Value mine{shared, step, shared ^ step};
        if (prng.chance(1, 8)) map->remove(bytes(shared));
        map->update(bytes(shared), bytes(mine), kAny, 0);
        const int shared_got =
            map->read(bytes(shared), std::as_writable_bytes(std::span(&seen, 1)));
        EXPECT_TRUE(shared_got != 0 || (seen.key == shared && seen.check == (shared ^ seen.stamp)));
        // What a program does with a pointer: any value, but memory of the map.
        if (const std::byte* found = map->lookup(bytes(shared), 0); found != nullptr)
          load_value(bytes(seen), found, sizeof seen);
      }
    });
    u64 count = 0;
    map->for_each(0, [&](const std::byte*, std::byte*) { return ++count > 0; });
    EXPECT_LE(count, kThreads * kKeys + kShared);
    u64 key = 0, next = 0, walked = 0;
    for (int done = map->next_key(nullptr, bytes(next)); done == 0; ++walked) {
      key = next;
      done = map->next_key(bytes(key), bytes(next));
    }
    EXPECT_EQ(walked, count);
  }
}

TEST(Concurrent, AFullMapCountsExactlyAndAnLruMapAlwaysTakesOneMore) {
  auto map = make({.kind = MapKind::hash, .key_size = 8, .value_size = 8, .max_entries = 1000});
  std::atomic<u64> stored = 0;
  in_threads([&](u32 thread) {
    for (u64 i = 0; i < 1000; ++i) {
      const u64 key = thread * 1000 + i;
      if (map->update(bytes(key), bytes(key), kNoExist, 0) == 0) ++stored;
    }
  });
  EXPECT_EQ(stored, 1000u);
  auto lru = make({.kind = MapKind::lru_hash, .key_size = 8, .value_size = 8, .max_entries = 100});
  in_threads([&](u32 thread) {
    for (u64 i = 0; i < 5000; ++i) {
      const u64 key = thread * 10'000 + i;
      EXPECT_EQ(lru->update(bytes(key), bytes(key), kAny, 0), 0);
    }
  });
  u64 count = 0;
  lru->for_each(0, [&](const std::byte*, std::byte*) { return ++count > 0; });
  EXPECT_EQ(count, 100u);
}

TEST(Concurrent, QueuesLoseAndDoubleNothing) {
  for (const MapKind kind : {MapKind::queue, MapKind::stack}) {
    auto map = make({.kind = kind, .value_size = 8, .max_entries = 50});
    std::atomic<u64> pushed = 0, popped = 0;
    in_threads([&](u32 thread) {
      Prng prng(thread + 1);
      for (int i = 0; i < 20'000; ++i) {
        u64 value = prng.below(1'000'000);
        if (prng.chance(1, 2)) {
          if (map->push(bytes(value), kAny) == 0) pushed += value;
        } else if (map->pop(bytes(value)) == 0) {
          popped += value;
        }
      }
    });
    u64 value = 0;
    while (map->pop(bytes(value)) == 0) popped += value;
    EXPECT_EQ(pushed, popped);
  }
}

// A prefix that stays is found whatever comes and goes around it, and nothing shorter instead.
TEST(Concurrent, TriesAlwaysFindWhatStays) {
  auto map = make({.kind = MapKind::lpm_trie, .key_size = 8, .value_size = 8, .max_entries = 200});
  struct Key {
    u32 length;
    std::array<u8, 4> bits;
  };
  const u64 stays = 16;
  const Key kept{16, {10, 1, 0, 0}}, wide{8, {10, 0, 0, 0}};
  EXPECT_EQ(map->update(bytes(kept), bytes(stays), kAny, 0), 0);
  EXPECT_EQ(map->update(bytes(wide), bytes(stays), kAny, 0), 0);
  in_threads([&](u32 thread) {
    Prng prng(thread + 1);
    for (int i = 0; i < 20'000; ++i) {
      const u32 length = static_cast<u32>(prng.between(9, 32));
      Key key{length, {10, static_cast<u8>(prng.below(2)), static_cast<u8>(thread << 6), 0}};
      const u64 value = length;
      if (thread < 2 && length != 16) {
        if (prng.chance(1, 2))
          map->update(bytes(key), bytes(value), kAny, 0);
        else
          map->remove(bytes(key));
      }
      const Key asked{32, {10, 1, 0xff, 0xff}};
      const std::byte* found = map->lookup(bytes(asked), 0);
      ASSERT_NE(found, nullptr);
    }
  });
}

// Several producers; the consumer gets each record of each producer once, in its order.
void produce_all(RingBuffer& ring, u64 records) {
  in_threads([&](u32 thread) {
    Prng prng(thread + 1);
    for (u64 i = 0; i < records;) {
      const u64 size = 16 + prng.below(50);
      std::byte* record = ring.reserve(size);
      if (record == nullptr) {
        std::this_thread::yield();
        continue;
      }
      if (prng.chance(1, 10)) {
        std::memset(record, 0xff, size);
        RingBuffer::discard(record, kRingNoWakeup);
        continue;
      }
      store_le<u64>(record, thread);
      store_le<u64>(record + 8, i++);
      std::memset(record + 16, static_cast<int>(size), size - 16);
      RingBuffer::submit(record, 0);
    }
  });
}
// False at the first record that is not the next of its producer.
bool consume_all(RingReader& reader, u64 records) {
  std::array<u64, kThreads> next{};
  bool good = true;
  for (u64 seen = 0; seen < kThreads * records && good;) {
    seen += reader.poll([&](std::span<const std::byte> record) {
      const u64 thread = record.size() >= 16 ? load_le<u64>(record.data()) : kThreads;
      good = good && thread < kThreads && load_le<u64>(&record[8]) == next[thread]++;
      for (size_t i = 16; i < record.size(); ++i)
        good = good && record[i] == static_cast<std::byte>(record.size());
    });
    ::sched_yield();
  }
  return good;
}

TEST(Concurrent, RingsHandEachRecordOverOnceInThisProcess) {
  auto map = make({.kind = MapKind::ringbuf, .max_entries = 4096});
  auto& ring = static_cast<RingBuffer&>(*map);
  auto reader = RingReader::open(ring.consumer_fd(), ring.ring_fd(), 4096);
  ASSERT_TRUE(reader) << describe(reader.error());
  std::thread producers([&] { produce_all(ring, 5000); });
  EXPECT_TRUE(consume_all(*reader, 5000));
  producers.join();
}

TEST(Concurrent, RingsAreReadByAnotherProcessThatCannotWriteThem) {
  auto map = make({.kind = MapKind::ringbuf, .max_entries = 8192});
  auto& ring = static_cast<RingBuffer&>(*map);
  constexpr int kGood = 7, kBad = 8, kWritable = 9;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    void* writable =
        ::mmap(nullptr, kRingPage, PROT_READ | PROT_WRITE, MAP_SHARED, ring.ring_fd(), 0);
    if (writable != MAP_FAILED) ::_exit(kWritable);
    auto reader = RingReader::open(ring.consumer_fd(), ring.ring_fd(), 8192);
    ::_exit(reader && consume_all(*reader, 5000) ? kGood : kBad);
  }
  produce_all(ring, 5000);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), kGood);
}

// What a hostile consumer writes into its page makes the ring full, or loses its records; no more.
TEST(Ring, SurvivesAnyConsumerPosition) {
  auto map = make({.kind = MapKind::ringbuf, .max_entries = 4096});
  auto& ring = static_cast<RingBuffer&>(*map);
  void* page =
      ::mmap(nullptr, kRingPage, PROT_READ | PROT_WRITE, MAP_SHARED, ring.consumer_fd(), 0);
  ASSERT_NE(page, MAP_FAILED);
  Prng prng(1);
  for (int i = 0; i < 10'000; ++i) {
    *static_cast<u64*>(page) =
        prng.chance(1, 2) ? prng.next() : ring.query(kRingProducer) - prng.below(5000);
    std::byte* record = ring.reserve(prng.below(5000));
    if (record != nullptr) RingBuffer::submit(record, 0);
  }
  ::munmap(page, kRingPage);
}

TEST(Ring, HasTheKernelsLayoutAndFillsToTheLastRecord) {
  auto map = make({.kind = MapKind::ringbuf, .max_entries = 4096});
  auto& ring = static_cast<RingBuffer&>(*map);
  EXPECT_EQ(ring.reserve(4096 - 7), nullptr);
  std::byte* first = ring.reserve(5);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(load_le<u32>(first - 8), 5 | kRingBusy);
  EXPECT_EQ(load_le<u32>(first - 4), 2u) << "pages from the consumer's";
  EXPECT_EQ(ring.query(kRingProducer), 16u);
  EXPECT_EQ(ring.query(kRingSize), 4096u);
  RingBuffer::discard(first, 0);
  EXPECT_EQ(load_le<u32>(first - 8), 5 | kRingDiscard);
  u64 records = 0;
  while (std::byte* record = ring.reserve(56)) {
    RingBuffer::submit(record, 0);
    ++records;
  }
  EXPECT_EQ(records, (4096u - 1 - 16) / 64);
  const std::array<std::byte, 200> large{};
  EXPECT_EQ(ring.output(large.data(), large.size(), 0), -EAGAIN);
  EXPECT_EQ(ring.output(large.data(), 1, 64), -EINVAL);
}

}  // namespace
}  // namespace coppice::bpf
