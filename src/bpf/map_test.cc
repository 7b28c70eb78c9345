// Each kind of map does what a plain model does, over random histories; refuses as the kernel does.
#include "bpf/map.h"

#include <gmock/gmock.h>

#include <array>
#include <cerrno>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "base/endian.h"
#include "base/prng.h"
#include "bpf/testing/maps.h"

namespace coppice::bpf {
namespace {

std::optional<u64> value_at(Map& map, u64 key, u32 slot = 0) {
  const std::byte* found = map.lookup(bytes(key), slot);
  if (found == nullptr) return std::nullopt;
  EXPECT_TRUE(map.reaches(reinterpret_cast<u64>(found), map.spec().value_size));
  EXPECT_FALSE(map.reaches(reinterpret_cast<u64>(found), map.spec().value_size + 1));
  return load_le<u64>(found);
}

TEST(Map, RefusesSizesThatMakeNoSense) {
  const MapSpec bad[] = {
      {.kind = MapKind::array, .key_size = 8, .value_size = 8, .max_entries = 1},
      {.kind = MapKind::array, .key_size = 4, .value_size = 0, .max_entries = 1},
      {.kind = MapKind::array, .key_size = 4, .value_size = 8, .max_entries = 0},
      {.kind = MapKind::hash, .key_size = 0, .value_size = 8, .max_entries = 1},
      {.kind = MapKind::hash, .key_size = kKeySizeMax + 1, .value_size = 8, .max_entries = 1},
      {.kind = MapKind::hash, .key_size = 8, .value_size = 8, .max_entries = ~u32{0}},
      {.kind = MapKind::hash, .key_size = 8, .value_size = 1 << 20, .max_entries = 1 << 20},
      {.kind = MapKind::percpu_array, .key_size = 4, .value_size = 8, .max_entries = 1, .slots = 0},
      {.kind = MapKind::lpm_trie, .key_size = 4, .value_size = 8, .max_entries = 1},
      {.kind = MapKind::queue, .key_size = 4, .value_size = 8, .max_entries = 1},
      {.kind = MapKind::ringbuf, .max_entries = 4095},
      {.kind = MapKind::ringbuf, .max_entries = 2048},
      {.kind = MapKind::ringbuf, .value_size = 8, .max_entries = 4096},
      {.kind = static_cast<MapKind>(99), .key_size = 4, .value_size = 8, .max_entries = 1},
  };
  for (const MapSpec& spec : bad) EXPECT_FALSE(make_map(spec)) << name_of(spec.kind);
}

TEST(ArrayMap, BehavesAsTheKernels) {
  auto map = make({.kind = MapKind::array, .key_size = 4, .value_size = 12, .max_entries = 5});
  std::array<std::byte, 12> value{std::byte{7}}, read{};
  const u32 last = 4, behind = 5;
  EXPECT_EQ(map->update(bytes(last), value.data(), kAny, 0), 0);
  EXPECT_EQ(map->update(bytes(last), value.data(), kExist, 0), 0);
  EXPECT_EQ(map->update(bytes(last), value.data(), kNoExist, 0), -EEXIST);
  EXPECT_EQ(map->update(bytes(last), value.data(), 3, 0), -EINVAL);
  EXPECT_EQ(map->update(bytes(behind), value.data(), kAny, 0), -E2BIG);
  EXPECT_EQ(map->lookup(bytes(behind), 0), nullptr);
  EXPECT_EQ(map->remove(bytes(last)), -EINVAL);
  EXPECT_EQ(map->read(bytes(last), read), 0);
  EXPECT_EQ(read, value);
  u32 key = 77, next = 0;
  std::vector<u32> order;
  for (int done = map->next_key(nullptr, bytes(next)); done == 0;
       done = map->next_key(bytes(key), bytes(next)))
    order.push_back(key = next);
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3, 4));
  const u32 unknown = 99;
  EXPECT_EQ(map->next_key(bytes(unknown), bytes(next)), 0);
  EXPECT_EQ(next, 0u);
  EXPECT_EQ(map->for_each(0, [](const std::byte*, std::byte*) { return true; }), 5);
  EXPECT_EQ(map->for_each(0, [](const std::byte*, std::byte*) { return false; }), 1);
}

TEST(PerCpuMaps, KeepAValueForEachSlot) {
  for (const MapKind kind : {MapKind::percpu_array, MapKind::percpu_hash}) {
    SCOPED_TRACE(name_of(kind));
    auto map = make({.kind = kind, .key_size = 4, .value_size = 8, .max_entries = 3, .slots = 4});
    const u32 key = 2;
    for (u32 slot = 0; slot < 3; ++slot) {
      const u64 value = 10 + slot;
      EXPECT_EQ(map->update(bytes(key), bytes(value), kAny, slot), 0);
    }
    std::array<u64, 4> all{};
    ASSERT_EQ(map->value_bytes(), sizeof all);
    EXPECT_EQ(map->read(bytes(key), std::as_writable_bytes(std::span(all))), 0);
    EXPECT_EQ(all, (std::array<u64, 4>{10, 11, 12, 0}));
    all = {1, 2, 3, 4};
    EXPECT_EQ(map->write(bytes(key), std::as_bytes(std::span(all)), kAny), 0);
    for (u32 slot = 0; slot < 4; ++slot) EXPECT_EQ(value_at(*map, key, slot), slot + 1);
  }
}

// Updates with each flag, deletions, lookups and walks over few keys, beside a std::map.
TEST(HashMap, AgreesWithAModel) {
  for (u64 seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    constexpr u32 kEntries = 16;
    auto map =
        make({.kind = MapKind::hash, .key_size = 8, .value_size = 8, .max_entries = kEntries});
    std::map<u64, u64> model;
    for (int step = 0; step < 3000; ++step) {
      const u64 key = prng.below(24), value = prng.next();
      const bool there = model.contains(key);
      switch (prng.below(4)) {
        case 0: {
          const u64 flags = prng.below(4);
          int wanted = 0;
          if (flags > kExist)
            wanted = -EINVAL;
          else if (there && flags == kNoExist)
            wanted = -EEXIST;
          else if (!there && flags == kExist)
            wanted = -ENOENT;
          else if (!there && model.size() == kEntries)
            wanted = -E2BIG;
          ASSERT_EQ(map->update(bytes(key), bytes(value), flags, 0), wanted);
          if (wanted == 0) model[key] = value;
          break;
        }
        case 1:
          ASSERT_EQ(map->remove(bytes(key)), there ? 0 : -ENOENT);
          model.erase(key);
          break;
        default: {
          const auto found = value_at(*map, key);
          ASSERT_EQ(found.has_value(), there);
          if (there) {
            ASSERT_EQ(*found, model[key]);
          }
        }
      }
      if (step % 100 != 0) continue;
      std::map<u64, u64> walked, visited;
      u64 next = 0, at = 0;
      for (int done = map->next_key(nullptr, bytes(next)); done == 0;
           done = map->next_key(bytes(at), bytes(next))) {
        at = next;
        ASSERT_TRUE(walked.emplace(at, value_at(*map, at).value()).second);
      }
      ASSERT_EQ(walked, model);
      map->for_each(0, [&](const std::byte* k, std::byte* v) {
        return visited.emplace(load_le<u64>(k), load_le<u64>(v)).second;
      });
      ASSERT_EQ(visited, model);
    }
  }
}

TEST(HashMap, KeysOfEverySizeAreCompareWhole) {
  for (u32 size = 1; size <= 33; ++size) {
    auto map = make({.kind = MapKind::hash, .key_size = size, .value_size = 1, .max_entries = 600});
    std::vector<std::byte> key(size);
    for (u32 i = 0; i < size; ++i) {  // Keys that differ in one byte.
      key.assign(size, std::byte{0});
      key[i] = std::byte{1};
      const u8 value = static_cast<u8>(i);
      ASSERT_EQ(map->update(key.data(), bytes(value), kNoExist, 0), 0) << size << " " << i;
    }
    for (u32 i = 0; i < size; ++i) {
      key.assign(size, std::byte{0});
      key[i] = std::byte{1};
      const std::byte* found = map->lookup(key.data(), 0);
      ASSERT_NE(found, nullptr);
      EXPECT_EQ(*found, static_cast<std::byte>(i));
    }
  }
}

TEST(LruHash, ForgetsWhatNobodyUsesAndKeepsWhatIsUsed) {
  constexpr u32 kEntries = 100;
  auto map =
      make({.kind = MapKind::lru_hash, .key_size = 8, .value_size = 8, .max_entries = kEntries});
  for (u64 key = 0; key < 10'000; ++key) {
    ASSERT_EQ(map->update(bytes(key), bytes(key), kAny, 0), 0);
    u64 newest = 0;  // read() from outside is no use of it.
    ASSERT_EQ(map->read(bytes(key), std::as_writable_bytes(std::span(&newest, 1))), 0);
    ASSERT_EQ(newest, key);
    for (u64 hot = 0; hot < 10 && hot <= key; ++hot) ASSERT_EQ(value_at(*map, hot), hot) << key;
  }
  u64 count = 0;
  map->for_each(0, [&](const std::byte*, std::byte*) { return ++count > 0; });
  EXPECT_EQ(count, kEntries);
}

TEST(Queues, AgreeWithADeque) {
  for (const MapKind kind : {MapKind::queue, MapKind::stack}) {
    for (u64 seed = 1; seed <= 10; ++seed) {
      SCOPED_TRACE(seed);
      Prng prng(seed);
      auto map = make({.kind = kind, .value_size = 8, .max_entries = 7});
      std::deque<u64> model;
      for (int step = 0; step < 2000; ++step) {
        u64 value = prng.next();
        if (prng.chance(1, 2)) {
          const u64 flags = prng.below(3);
          const bool full = model.size() == 7;
          const int wanted = flags == kNoExist ? -EINVAL : full && flags == kAny ? -E2BIG : 0;
          ASSERT_EQ(map->push(bytes(value), flags), wanted);
          if (wanted != 0) continue;
          if (full) model.pop_front();
          model.push_back(value);
          continue;
        }
        const bool pops = prng.chance(1, 2);
        ASSERT_EQ(pops ? map->pop(bytes(value)) : map->peek(bytes(value)),
                  model.empty() ? -ENOENT : 0);
        const bool queue = kind == MapKind::queue;
        ASSERT_EQ(value, model.empty() ? 0 : queue ? model.front() : model.back());
        if (pops && !model.empty()) queue ? model.pop_front() : model.pop_back();
      }
    }
  }
}

struct Prefix {
  u32 length;
  std::array<u8, 2> bits;
  auto operator<=>(const Prefix&) const = default;
};
static_assert(sizeof(Prefix) == 8);

bool begins_with(const Prefix& key, const Prefix& prefix) {
  if (prefix.length > key.length) return false;
  const auto word = [](const Prefix& p) { return p.bits[0] << 8 | p.bits[1]; };
  return prefix.length == 0 || (word(key) ^ word(prefix)) >> (16 - prefix.length) == 0;
}

// Over all prefixes of two bytes with few distinct bits: so they nest, fork and meet.
TEST(LpmTrie, AgreesWithAListOfPrefixes) {
  for (u64 seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    constexpr u32 kEntries = 20;
    auto map =
        make({.kind = MapKind::lpm_trie, .key_size = 6, .value_size = 8, .max_entries = kEntries});
    std::map<Prefix, u64> model;  // By canonical prefix.
    const auto random_prefix = [&] {
      Prefix prefix{static_cast<u32>(prng.below(17)), {}};
      const u32 word = static_cast<u32>(prng.next() & prng.next() & 0xffff);
      const u32 kept = prefix.length == 0 ? 0 : word & (0xffff << (16 - prefix.length)) & 0xffff;
      prefix.bits = {static_cast<u8>(kept >> 8), static_cast<u8>(kept)};
      return prefix;
    };
    for (int step = 0; step < 2000; ++step) {
      const Prefix key = random_prefix();
      const u64 value = prng.next();
      if (prng.chance(1, 3)) {
        const u64 flags = prng.below(3);
        const bool there = model.contains(key);
        const int wanted = there && flags == kNoExist           ? -EEXIST
                           : !there && flags == kExist          ? -ENOENT
                           : !there && model.size() == kEntries ? -ENOSPC
                                                                : 0;
        ASSERT_EQ(map->update(bytes(key), bytes(value), flags, 0), wanted);
        if (wanted == 0) model[key] = value;
      } else if (prng.chance(1, 2)) {
        const bool there = model.erase(key) == 1;
        ASSERT_EQ(map->remove(bytes(key)), there ? 0 : -ENOENT);
      } else {
        Prefix full = random_prefix();
        full.length = static_cast<u32>(prng.between(8, 16));
        const std::pair<const Prefix, u64>* best = nullptr;
        for (const auto& each : model) {
          if (begins_with(full, each.first) &&
              (best == nullptr || each.first.length > best->first.length))
            best = &each;
        }
        const std::byte* found = map->lookup(bytes(full), 0);
        ASSERT_EQ(found != nullptr, best != nullptr);
        if (found != nullptr) {
          ASSERT_EQ(load_le<u64>(found), best->second);
        }
      }
      if (step % 100 != 0) continue;
      std::set<Prefix> walked;
      Prefix at{}, next{};
      for (int done = map->next_key(nullptr, bytes(next)); done == 0;
           done = map->next_key(bytes(at), bytes(next))) {
        at = {next.length, next.bits};
        for (const Prefix& before : walked)
          ASSERT_FALSE(begins_with(at, before)) << "longer prefixes come first";
        ASSERT_TRUE(walked.insert(at).second && model.contains(at));
      }
      ASSERT_EQ(walked.size(), model.size());
    }
  }
}

TEST(LpmTrie, RefusesLengthsBeyondTheKey) {
  auto map = make({.kind = MapKind::lpm_trie, .key_size = 6, .value_size = 8, .max_entries = 2});
  const Prefix key{17, {}};
  const u64 value = 1;
  EXPECT_EQ(map->update(bytes(key), bytes(value), kAny, 0), -EINVAL);
  EXPECT_EQ(map->remove(bytes(key)), -EINVAL);
  EXPECT_EQ(map->lookup(bytes(key), 0), nullptr);
}

}  // namespace
}  // namespace coppice::bpf
