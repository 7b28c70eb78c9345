#include "pool/tree.h"

#include <gtest/gtest.h>

#include <set>

#include "pool/tree_bed.h"

namespace coppice::pool {
namespace {

std::string be_key(u64 number) {
  std::string key(8, '\0');
  store_be(reinterpret_cast<std::byte*>(key.data()), number);
  return key;
}

// Four kinds of keys: dense numbers, sparse numbers, short strings of few letters, long ones.
std::string random_key(Prng& prng, u64 kind) {
  if (kind == 0) return be_key(prng.below(5000));
  if (kind == 1) return be_key(prng.chance(1, 2) ? prng.next() : prng.below(1000));
  std::string key = kind == 3 ? std::string(prng.chance(1, 4) ? 500 : 40, 'p') : "";
  for (u64 left = prng.below(12); left > 0; --left)
    key.push_back(prng.chance(1, 3) ? '\0' : static_cast<char>(prng.chance(1, 2) ? 'a' : 0xff));
  return key;
}

std::string random_value(Prng& prng, u64 kind) {
  const u64 size = kind < 2              ? prng.between(20, 24)
                   : prng.chance(1, 200) ? kValueBytesMax
                                         : prng.below(100);
  return std::string(size, static_cast<char>(prng.next()));
}

Batch random_batch(Prng& prng, u64 kind, const Model& model) {
  Batch batch;
  const u64 count = prng.chance(1, 3) ? prng.between(1, 4) : prng.between(1, 800);
  const bool shrink = prng.chance(1, 3);
  for (u64 i = 0; i < count; ++i) {
    std::string key = random_key(prng, kind);
    if (shrink || prng.chance(1, 4)) {  // Erase or rewrite what is there.
      const auto near = model.lower_bound(key);
      if (near != model.end()) key = near->first;
    }
    if (shrink ? prng.chance(9, 10) : prng.chance(1, 5))
      batch.by_key[key] = std::nullopt;
    else if (const auto there = model.find(key); there != model.end() && prng.chance(1, 4))
      batch.by_key[key] = there->second;
    else
      batch.by_key[key] = random_value(prng, kind);
  }
  if (shrink && prng.chance(1, 3)) {  // A whole range goes.
    auto from = model.lower_bound(random_key(prng, kind));
    for (u64 left = prng.below(3000); left > 0 && from != model.end(); --left, ++from)
      batch.by_key[from->first] = std::nullopt;
  }
  return batch;
}

// Sees every node, and checks how it hangs in the tree.
class Survey final : public Walk {
 public:
  std::map<u64, NodePtr> nodes;
  std::vector<NodePtr> above;
  Model items;
  int bad_ones = 0;

  bool enter(const NodePtr&) override { return true; }
  Task<> node(const NodePtr& ptr, const Node& node) override {
    EXPECT_TRUE(nodes.emplace(raw(ptr.addr), ptr).second) << "a node is named twice";
    if (!above.empty()) {
      EXPECT_EQ(ptr.level + 1, above.back().level);
      EXPECT_LE(raw(ptr.birth), raw(above.back().birth));
    } else {
      EXPECT_TRUE(node.level() == 0 || node.count() > 1) << "a root with a single child";
    }
    above.push_back(ptr);
    if (node.level() == 0) {
      for (size_t i = 0; i < node.count(); ++i) {
        const std::string key = node.key(i);
        EXPECT_TRUE(items.empty() || items.rbegin()->first < key);
        items.emplace(key, node.value(i));
      }
    }
    co_return {};
  }
  Result<> bad(const NodePtr&, const Error&) override {
    ++bad_ones;
    return {};
  }
  Task<> leave(const NodePtr& ptr) override {
    EXPECT_EQ(above.back(), ptr);
    above.pop_back();
    co_return {};
  }
};

Survey survey(TreeBed& bed, NodePtr root, std::string_view from = {}) {
  Survey all;
  EXPECT_TRUE(bed.run(walk(*bed.store, root, from, all)));
  EXPECT_EQ(all.bad_ones, 0);
  return all;
}

std::set<u64> addresses(const std::vector<NodePtr>& nodes) {
  std::set<u64> out;
  for (const NodePtr& ptr : nodes)
    EXPECT_TRUE(out.insert(raw(ptr.addr)).second) << "reported twice";
  return out;
}

// dropped is what the old tree has and the new one has not; written is the opposite.
void expect_exact(const Survey& before, const Survey& after, const TreeBed::Merged& merged) {
  std::set<u64> gone, made;
  for (const auto& [addr, ptr] : before.nodes)
    if (!after.nodes.contains(addr)) gone.insert(addr);
  for (const auto& [addr, ptr] : after.nodes)
    if (!before.nodes.contains(addr)) made.insert(addr);
  EXPECT_EQ(addresses(merged.dropped), gone);
  EXPECT_EQ(addresses(merged.written), made);
}

void expect_found(TreeBed& bed, NodePtr root, const Model& model, Prng& prng, u64 kind) {
  Cursor cursor(*bed.store, root);
  for (int i = 0; i < 30; ++i) {
    const std::string key = random_key(prng, kind);
    const auto there = model.find(key);
    const auto value = bed.run(find(*bed.store, root, key));
    ASSERT_TRUE(value);
    ASSERT_EQ(value->has_value(), there != model.end());
    if (*value) {
      ASSERT_EQ(**value, there->second);
    }

    ASSERT_TRUE(bed.run(cursor.seek(key)));
    auto place = model.lower_bound(key);
    ASSERT_EQ(cursor.at_end(), place == model.end());
    if (!cursor.at_end()) {
      ASSERT_EQ(cursor.key(), place->first);
    }

    const bool tried = cursor.try_seek_floor(key);
    if (!tried) {
      ASSERT_TRUE(cursor.at_end());
      ASSERT_TRUE(bed.run(cursor.seek_floor(key)));
    }
    place = model.upper_bound(key);
    if (place != model.begin()) --place;
    for (int step = 0; step < 5 && place != model.end(); ++step, ++place) {
      ASSERT_FALSE(cursor.at_end());
      ASSERT_EQ(cursor.key(), place->first);
      ASSERT_EQ(cursor.value(), place->second);
      if (!cursor.try_next()) {
        ASSERT_TRUE(bed.run(cursor.next()));
      }
    }
    ASSERT_EQ(place == model.end(), cursor.at_end());
  }
}

// A tree after any batches holds what a map would, is well built, and reports its nodes exactly.
TEST(Tree, AgreesWithAMapAfterRandomBatches) {
  for (u64 seed = 0; seed < 24; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Prng prng(seed);
    const u64 kind = seed % 4, cache = seed % 3 == 0 ? 16_KiB : 64_MiB;
    TreeBed bed(seed, cache);
    Model model;
    NodePtr root;
    Survey before;
    for (int round = 0; round < 24; ++round) {
      const Batch batch = random_batch(prng, kind, model);
      const std::vector<Change> changes = batch.changes();
      auto merged = bed.merge(root, changes);
      ASSERT_TRUE(merged) << describe(merged.error());
      batch.apply_to(model);
      root = merged->root;
      if (prng.chance(1, 3)) bed.forget(cache);
      Survey after = survey(bed, root);
      ASSERT_EQ(after.items, model);
      expect_exact(before, after, *merged);
      ASSERT_EQ(root.empty(), model.empty());
      expect_found(bed, root, model, prng, kind);
      if (HasFailure()) return;
      before = std::move(after);
    }
    u64 blocks = 0;  // Nothing stays taken but the nodes that were written.
    for (const auto& [addr, ptr] : before.nodes) blocks += ptr.blocks;
    ASSERT_LE(blocks, bed.allocator.taken);
  }
}

TEST(Tree, KeepsItsRootIfNothingChanges) {
  TreeBed bed(1);
  Batch batch;
  for (u64 i = 0; i < 3000; ++i) batch.by_key[be_key(2 * i)] = "value";
  const auto first = bed.merge({}, batch.changes());
  ASSERT_TRUE(first);
  for (u64 i = 0; i < 3000; ++i) batch.by_key[be_key(2 * i + 1)] = std::nullopt;
  const auto second = bed.merge(first->root, batch.changes());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->root, first->root);
  EXPECT_TRUE(second->dropped.empty() && second->written.empty());
}

TEST(Tree, ErasedWhollyIsEmptyAndErasedToOneItemIsOneLeaf) {
  TreeBed bed(2);
  Batch all, all_but_one;
  for (u64 i = 0; i < 200'000; ++i) all.by_key[be_key(i)] = "a value of some length";
  const auto made = bed.merge({}, all.changes());
  ASSERT_TRUE(made);
  EXPECT_GE(made->root.level, 2);
  for (auto& [key, value] : all.by_key) value = std::nullopt;
  all_but_one = all;
  all_but_one.by_key.erase(be_key(77'777));
  const auto one = bed.merge(made->root, all_but_one.changes());
  ASSERT_TRUE(one);
  EXPECT_EQ(one->root.level, 0);
  EXPECT_EQ(one->root.blocks, 1);
  EXPECT_EQ(one->written.size(), 1u);
  EXPECT_EQ(one->dropped.size(), made->written.size());
  const auto none = bed.merge(one->root, all.changes());
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->root.empty());
}

// Appending a little at a time leaves full leaves behind, as filling in one go does.
TEST(Tree, AppendsFillLeaves) {
  TreeBed bed(3);
  NodePtr root;
  for (u64 i = 0; i < 20'000; i += 50) {
    Batch batch;
    for (u64 k = i; k < i + 50; ++k) batch.by_key[be_key(k)] = std::string(20, 'v');
    const auto merged = bed.merge(root, batch.changes());
    ASSERT_TRUE(merged);
    root = merged->root;
  }
  u64 blocks = 0;
  const Survey all = survey(bed, root);
  for (const auto& [addr, ptr] : all.nodes) blocks += ptr.blocks;
  const u64 bytes = 20'000 * (20 + 4 + 2);
  EXPECT_LT(blocks * kBlock, bytes * 11 / 10);
}

TEST(Tree, WalkStartsWhereItIsTold) {
  TreeBed bed(4);
  Batch batch;
  for (u64 i = 0; i < 20'000; ++i) batch.by_key[be_key(i)] = std::string(20, 'v');
  const auto merged = bed.merge({}, batch.changes());
  ASSERT_TRUE(merged);
  const Survey part = survey(bed, merged->root, be_key(15'000));
  EXPECT_LE(part.items.begin()->first, be_key(15'000));
  EXPECT_GT(part.items.begin()->first, be_key(14'500));
  EXPECT_EQ(part.items.rbegin()->first, be_key(19'999));
}

// A damaged node on disk is `corrupt` to every reader, and a walk goes on past it.
TEST(Tree, ReportsADamagedNode) {
  TreeBed bed(5);
  Batch batch;
  for (u64 i = 0; i < 20'000; ++i) batch.by_key[be_key(i)] = std::string(20, 'v');
  const auto merged = bed.merge({}, batch.changes());
  ASSERT_TRUE(merged);
  const NodePtr leaf = merged->written.front();
  ASSERT_EQ(leaf.level, 0);
  bed.media.corrupt(byte_offset(leaf.addr), 1);
  bed.forget();
  const auto found = bed.run(find(*bed.store, merged->root, be_key(0)));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Errc::corrupt);
  EXPECT_EQ(bed.store->stats().corrupt, 1u);
  Survey all;
  ASSERT_TRUE(bed.run(walk(*bed.store, merged->root, {}, all)));
  EXPECT_EQ(all.bad_ones, 1);
  EXPECT_GT(all.items.size(), 19'000u);
  batch.by_key[be_key(0)] = "new";
  EXPECT_EQ(bed.merge(merged->root, batch.changes()).error().code, Errc::corrupt);
}

}  // namespace
}  // namespace coppice::pool
