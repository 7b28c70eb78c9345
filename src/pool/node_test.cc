#include "pool/node.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/crc32c.h"
#include "base/prng.h"
#include "pool/tree_bed.h"
#include "rt/scope.h"

namespace coppice::pool {
namespace {

AlignedBuffer encoded(const std::vector<NodeItem>& items, u8 level = 0) {
  AlignedBuffer scratch(kNodeBytesMax);
  const size_t size = encode_node(level, items, scratch.span());
  AlignedBuffer bytes(size);
  std::memcpy(bytes.data(), scratch.data(), size);
  stamp_birth(bytes.span(), Txg(7));
  return bytes;
}

AlignedBuffer copy_of(const AlignedBuffer& from) {
  AlignedBuffer to(from.size());
  std::memcpy(to.data(), from.data(), from.size());
  return to;
}

std::vector<NodeItem> items_of(const std::set<std::string>& keys, std::string_view value) {
  std::vector<NodeItem> items;
  NodeMeasure measure;
  for (const std::string& key : keys)
    if (measure.add({key, value})) items.push_back({key, value});
  return items;
}

void expect_searches(const Node& node, const std::vector<NodeItem>& items, std::string_view key) {
  const auto less = [](const NodeItem& item, std::string_view k) { return item.key < k; };
  const auto more = [](std::string_view k, const NodeItem& item) { return k < item.key; };
  const size_t lower = std::lower_bound(items.begin(), items.end(), key, less) - items.begin();
  const size_t upper = std::upper_bound(items.begin(), items.end(), key, more) - items.begin();
  ASSERT_EQ(node.lower_bound(key), lower);
  ASSERT_EQ(node.upper_bound(key), upper);
  ASSERT_EQ(node.floor(key), upper == 0 ? 0 : upper - 1);
  for (const size_t i : {size_t{0}, items.size() / 2, items.size() - 1}) {
    const int order = node.compare_key(i, key), expected = items[i].key.compare(key);
    ASSERT_EQ(order < 0, expected < 0);
    ASSERT_EQ(order > 0, expected > 0);
  }
}

std::string odd_key(Prng& prng, std::string_view prefix) {
  std::string key(prefix);
  for (u64 left = prng.below(10); left > 0; --left)
    key.push_back(static_cast<char>(prng.chance(1, 2) ? 0 : prng.chance(1, 2) ? 0xff : 'k'));
  return key;
}

// What goes into a node comes out, and its searches agree with those of a sorted array.
TEST(Node, HoldsWhatItWasMadeOf) {
  for (u64 seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Prng prng(seed);
    const std::string prefix(prng.below(4) * prng.below(100), prng.chance(1, 2) ? '\0' : 'p');
    std::set<std::string> keys;
    for (u64 i = prng.between(1, 500); i > 0; --i) keys.insert(odd_key(prng, prefix));
    const std::string value(prng.below(40), 'v');
    const auto items = items_of(keys, value);
    auto node = Node::decode(encoded(items), 1);
    ASSERT_TRUE(node) << describe(node.error());
    ASSERT_EQ((*node)->count(), items.size());
    EXPECT_EQ((*node)->birth(), Txg(7));
    for (size_t i = 0; i < items.size(); ++i) {
      ASSERT_EQ((*node)->key(i), items[i].key);
      ASSERT_EQ((*node)->value(i), items[i].value);
    }
    for (int i = 0; i < 100; ++i) {
      expect_searches(**node, items, items[prng.below(items.size())].key);
      expect_searches(**node, items, odd_key(prng, prefix));
      expect_searches(**node, items, odd_key(prng, ""));
    }
    expect_searches(**node, items, prefix.substr(0, prefix.size() / 2));
  }
}

TEST(Node, HoldsTheEmptyKeyAndTheLargestItems) {
  const std::string long_a(kKeyBytesMax, 'a'), long_b(kKeyBytesMax, 'b'), big(kValueBytesMax, 'v');
  const std::vector<NodeItem> items{{long_a, big}, {long_b, big}};
  NodeMeasure measure;
  for (const NodeItem& item : items) ASSERT_TRUE(measure.add(item));
  auto node = Node::decode(encoded(items), 0);
  ASSERT_TRUE(node);
  EXPECT_EQ((*node)->blocks(), 2u);
  EXPECT_EQ((*node)->key(1), long_b);
  const std::vector<NodeItem> only_empty{{{}, {}}};
  node = Node::decode(encoded(only_empty), 0);
  ASSERT_TRUE(node);
  EXPECT_EQ((*node)->blocks(), 1u);
  EXPECT_EQ((*node)->key(0), "");
  EXPECT_EQ((*node)->lower_bound(""), 0u);
  EXPECT_EQ((*node)->upper_bound(""), 1u);
}

TEST(Node, MeasuresExactly) {
  for (u64 seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Prng prng(seed);
    std::set<std::string> keys;
    for (u64 i = prng.between(1, 400); i > 0; --i) keys.insert(odd_key(prng, "common"));
    NodeMeasure measure;
    std::vector<NodeItem> items;
    for (const std::string& key : keys)
      if (measure.add({key, "0123456789"})) items.push_back({key, "0123456789"});
    const AlignedBuffer bytes = encoded(items);
    EXPECT_EQ(load_le<u32>(bytes.data() + 20), measure.bytes());
  }
}

// Whatever the bytes, decoding ends well or with an error; if well, all of the node can be used.
TEST(Node, SurvivesAnyDamage) {
  for (u64 seed = 0; seed < 4; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Prng prng(seed);
    std::set<std::string> keys;
    for (int i = 0; i < 60; ++i) keys.insert(odd_key(prng, "key"));
    std::byte child[kNodePtrBytes];
    const NodePtr ptr{BlockAddr(9), Txg(3), 0, 1, 0};
    encode(ptr, child);
    const std::string_view value(reinterpret_cast<const char*>(child), sizeof child);
    const AlignedBuffer good = encoded(items_of(keys, value), seed % 2);
    for (size_t at = 0; at < good.size(); ++at) {
      AlignedBuffer bad = copy_of(good);
      bad.data()[at] ^= static_cast<std::byte>(prng.between(1, 255));
      const auto node = Node::decode(std::move(bad), 0);
      if (!node) continue;
      for (size_t i = 0; i < (*node)->count(); ++i) {
        const std::string key = (*node)->key(i);
        ASSERT_EQ((*node)->lower_bound(key), i);
        ASSERT_LE((*node)->value(i).size(), kValueBytesMax);
        if ((*node)->level() > 0) {
          ASSERT_TRUE(well_formed((*node)->child(i)));
        }
      }
    }
  }
}

// Every flipped byte of a node on disk is noticed by whoever loads it.
TEST(NodeStore, RefusesEveryDamagedByte) {
  TreeBed bed(1);
  Batch batch;
  batch.by_key["a"] = "first";
  batch.by_key["b"] = "second";
  const auto merged = bed.merge({}, batch.changes());
  ASSERT_TRUE(merged);
  const u64 at = byte_offset(merged->root.addr);
  std::vector<std::byte> good(kBlock);
  bed.media.peek(at, good);
  for (size_t i = 0; i < good.size(); i += i < 128 ? 1 : 61) {
    std::vector<std::byte> bad = good;
    bad[i] ^= std::byte{0x10};
    bed.media.overwrite(at, bad);
    bed.forget();
    const auto node = bed.run(bed.store->load(merged->root));
    ASSERT_FALSE(node);
    ASSERT_EQ(node.error().code, Errc::corrupt);
  }
  bed.media.overwrite(at, good);
  EXPECT_TRUE(bed.run(bed.store->load(merged->root)));
  NodePtr wrong = merged->root;
  wrong.addr = BlockAddr(~u64{0} - 1);
  EXPECT_EQ(bed.run(bed.store->load(wrong)).error().code, Errc::corrupt);
}

Task<> load_twice(NodeStore& store, NodePtr ptr) {
  rt::Scope scope;
  struct Load {
    static Task<> one(NodeStore& from, NodePtr what) {
      co_await ok(from.load(what));
      co_return {};
    }
  };
  for (int i = 0; i < 3; ++i) scope.spawn(Load::one(store, ptr));
  co_return co_await scope.join();
}

TEST(NodeStore, SharesOneReadAmongConcurrentLoads) {
  TreeBed bed(2);
  Batch batch;
  batch.by_key["a"] = "first";
  const auto merged = bed.merge({}, batch.changes());
  ASSERT_TRUE(merged);
  bed.forget();
  const u64 before = bed.media.counters().reads;
  ASSERT_TRUE(bed.run(load_twice(*bed.store, merged->root)));
  EXPECT_EQ(bed.media.counters().reads, before + 1);
  EXPECT_EQ(bed.store->stats().misses, 1u);
  bed.store->resize(0);
  EXPECT_EQ(bed.store->stats().bytes, 0u);
  EXPECT_TRUE(bed.run(bed.store->load(merged->root)));
}

}  // namespace
}  // namespace coppice::pool
