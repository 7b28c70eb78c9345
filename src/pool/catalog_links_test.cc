// Links and objects in the catalog: random transactions against a model, hostile records, and what
// contradicts itself.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/prng.h"
#include "pool/catalog.h"
#include "pool/catalog_codec.h"

namespace coppice::pool {
namespace {

using Store = std::map<std::string, std::string>;

std::string hash_of(u64 number) {
  std::string hash(kObjectHashBytes, '0');
  for (size_t i = kObjectHashBytes; number > 0; number /= 16) {
    hash[--i] = "0123456789abcdef"[number % 16];
  }
  return hash;
}

StoredObject object_of(u64 number) {
  StoredObject object;
  object.hash = hash_of(number);
  object.bytes.assign(1 + number * 777, static_cast<char>(number));
  object.settings = {{"rate", std::to_string(number)}};
  object.programs = {{"limit", "volume.submit", Tier::stable}, {"watch", "timer", Tier::internal}};
  return object;
}

PinnedLink link_of(u64 id, std::string name) {
  PinnedLink link;
  link.id = id;
  link.name = std::move(name);
  link.hook = "volume.submit";
  link.object = hash_of(1);
  link.program = "limit";
  return link;
}

void store(Catalog& catalog, Store& into) {
  for (Catalog::StoredChange& change : catalog.take_changes()) {
    if (change.value) {
      into[change.key] = *std::move(change.value);
    } else {
      into.erase(change.key);
    }
  }
}

std::string load_error(const Store& stored, Catalog& catalog) {
  for (const auto& [key, value] : stored) {
    if (const auto loaded = catalog.load(key, value); !loaded) return describe(loaded.error());
  }
  const auto finished = catalog.finish_load();
  return finished ? "" : describe(finished.error());
}
std::string load_error(const Store& stored) {
  Catalog catalog;
  return load_error(stored, catalog);
}

// What links and objects should be, kept in the plainest way; copied whole for a savepoint.
struct Model {
  std::map<DatasetId, std::vector<PinnedLink>> links;
  std::map<std::string, StoredObject> objects;

  bool linked(const std::string& hash) const {
    for (const auto& [id, each] : links) {
      if (std::ranges::any_of(each, [&](const auto& link) { return link.object == hash; }))
        return true;
    }
    return false;
  }
  DatasetId owner(const std::string& name) const {
    for (const auto& [id, each] : links) {
      if (std::ranges::any_of(each, [&](const auto& link) { return link.name == name; })) return id;
    }
    return {};
  }
};

constexpr u64 kNames = 14;
constexpr u64 kObjects = 5;

void expect_same(const Model& model, const CatalogView& view) {
  for (const auto& [id, links] : model.links) {
    const Dataset* dataset = view.dataset(id);
    ASSERT_NE(dataset, nullptr);
    ASSERT_EQ(dataset->links.size(), links.size());
    for (size_t i = 0; i < links.size(); ++i) ASSERT_EQ(*dataset->links[i], links[i]);
  }
  for (u64 i = 0; i < kNames; ++i) {
    const std::string name = "l" + std::to_string(i);
    ASSERT_EQ(view.link_owner(name), model.owner(name)) << name;
    ASSERT_EQ(find_link(view, name) != nullptr, raw(model.owner(name)) != 0);
  }
  std::vector<std::string> hashes;
  for (u64 i = 1; i <= kObjects; ++i) {
    const auto known = model.objects.find(hash_of(i));
    const StoredObject* found = view.object(hash_of(i));
    ASSERT_EQ(found != nullptr, known != model.objects.end());
    ASSERT_EQ(view.linked(hash_of(i)), model.linked(hash_of(i)));
    if (found == nullptr) continue;
    ASSERT_EQ(*found, known->second);
    hashes.push_back(hash_of(i));
    if (!found->name.empty()) {
      ASSERT_EQ(find_object(view, found->name), found);
    }
  }
  ASSERT_EQ(view.objects(), hashes);
}

class Play {
 public:
  explicit Play(u64 seed) : prng_(seed), catalog_(Catalog::make("tank", seed, 7)) {
    auto transaction = catalog_->begin();
    datasets_.push_back(catalog_->root());
    for (const char* name : {"a", "b"}) {
      Dataset group;
      group.parent = catalog_->root();
      group.name = name;
      datasets_.push_back(transaction->new_dataset(group));
    }
    catalog_->accept(std::move(transaction));
    for (DatasetId id : datasets_) base_.links[id];
  }

  void run(int transactions) {
    for (int i = 0; i < transactions && !testing::Test::HasFatalFailure(); ++i) one_transaction();
  }

 private:
  void one_transaction() {
    Model mine = base_;
    auto transaction = catalog_->begin();
    std::vector<std::pair<size_t, Model>> saved;
    for (u64 steps = prng_.below(25); steps > 0; --steps) {
      if (prng_.chance(1, 6)) {
        saved.emplace_back(transaction->savepoint(), mine);
      } else if (!saved.empty() && prng_.chance(1, 5)) {
        const size_t back = prng_.below(saved.size());
        transaction->roll_back_to(saved[back].first);
        mine = saved[back].second;
        saved.resize(back + 1);
      } else {
        step(*transaction, mine);
      }
      if (prng_.chance(1, 4)) expect_same(mine, *transaction);
    }
    expect_same(mine, *transaction);
    expect_same(base_, *catalog_);
    if (prng_.chance(1, 4)) {
      transaction.reset();
    } else {
      catalog_->accept(std::move(transaction));
      base_ = mine;
    }
    expect_same(base_, *catalog_);
    if (prng_.chance(1, 2)) {
      store(*catalog_, stored_);
      Catalog again;
      ASSERT_EQ(load_error(stored_, again), "");
      expect_same(base_, again);
      ASSERT_FALSE(again.changed());
    }
  }

  void step(Transaction& transaction, Model& mine) {
    const DatasetId id = datasets_[prng_.below(datasets_.size())];
    const u64 number = prng_.between(1, kObjects);
    const std::string name = "l" + std::to_string(prng_.below(kNames));
    std::vector<PinnedLink>& links = mine.links[id];
    const size_t at = links.empty() ? 0 : prng_.below(links.size());
    switch (prng_.below(6)) {
      case 0:
      case 1: {  // A new link, somewhere.
        if (raw(mine.owner(name)) != 0 || !mine.objects.contains(hash_of(number))) return;
        PinnedLink link = link_of(transaction.new_link_id(), name);
        link.object = hash_of(number);
        link.redirects.assign(prng_.below(3), DatasetId(77));
        if (prng_.chance(1, 3)) {
          link.contents["m"].emplace_back("k", std::string(prng_.below(9000), 'v'));
        }
        links.insert(links.begin() + static_cast<std::ptrdiff_t>(at), link);
        break;
      }
      case 2:
        if (links.empty()) return;
        links.erase(links.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      case 3:  // Another object, other contents, another place.
        if (links.empty()) return;
        if (mine.objects.contains(hash_of(number))) links[at].object = hash_of(number);
        if (prng_.chance(1, 2)) links[at].contents.clear();
        if (prng_.chance(1, 2)) links[at].contents["n"] = {{"", "x"}, {"y", ""}};
        if (prng_.chance(1, 2)) std::swap(links[at], links.front());
        break;
      default: step_object(transaction, mine, number); return;
    }
    Dataset changed = *transaction.dataset(id);
    changed.links.assign(links.begin(), links.end());
    transaction.edit_dataset(id, std::move(changed));
  }

  void step_object(Transaction& transaction, Model& mine, u64 number) {
    const std::string hash = hash_of(number);
    if (mine.objects.contains(hash) && !mine.linked(hash) && prng_.chance(1, 2)) {
      transaction.erase_object(hash);
      mine.objects.erase(hash);
      return;
    }
    StoredObject object = object_of(number);
    if (prng_.chance(1, 2)) object.name = "o" + std::to_string(number);
    transaction.put_object(object);
    mine.objects[hash] = object;
  }

  Prng prng_;
  std::unique_ptr<Catalog> catalog_;
  std::vector<DatasetId> datasets_;
  Model base_;
  Store stored_;
};

TEST(CatalogLinks, AgreeWithAModelUnderRandomTransactions) {
  for (u64 seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Play play(seed);
    play.run(30);
    if (testing::Test::HasFailure()) return;
  }
}

// A catalog with a link on the root dataset, and what is stored of it.
Store one_link(PinnedLinks links = {link_of(2, "a")}) {
  auto catalog = Catalog::make("tank", 1, 1);
  auto transaction = catalog->begin();
  for (u64 i = 0; i < 3; ++i) transaction->new_link_id();  // 2, 3, 4.
  transaction->put_object(object_of(1));
  Dataset root = *transaction->dataset(catalog->root());
  root.links = std::move(links);
  transaction->edit_dataset(root.id, root);
  catalog->accept(std::move(transaction));
  Store stored;
  store(*catalog, stored);
  return stored;
}

std::string key(Table table, u64 id, std::string_view name = {}) {
  return part_key(record_key(table, id, name), 0);
}
std::string item(const std::string& bytes) { return store_record("x", bytes)[0].value; }

// A pool that never had links has no record of them: older ones open as they are.
TEST(CatalogLinks, NoneLeaveNoTrace) {
  auto catalog = Catalog::make("tank", 1, 1);
  Store stored;
  store(*catalog, stored);
  for (const auto& [key, value] : stored) EXPECT_LT(static_cast<u8>(key[0]), 8);
  EXPECT_EQ(load_error(stored), "");
}

TEST(CatalogLinks, ContradictionsAreFoundWhenLoading) {
  EXPECT_EQ(load_error(one_link()), "");
  Store stored = one_link();
  stored.erase(key(Table::object, 0, hash_of(1)));
  EXPECT_EQ(load_error(stored), "load the catalog: a link has lost its object");

  const auto with = [](const PinnedLinks& links) {
    Store changed = one_link();
    changed[key(Table::links, 1)] = item(encode(links));
    return load_error(changed);
  };
  EXPECT_EQ(with({link_of(99, "a")}), "load the catalog: an id was never given out");
  EXPECT_EQ(with({link_of(2, "a"), link_of(3, "a")}),
            "load the catalog: two links share the name a");
  PinnedLink other = link_of(2, "b");
  EXPECT_EQ(with({link_of(2, "a"), other}), "read a dataset's links: the record is malformed");

  stored = one_link();
  stored[key(Table::links, 7)] = item(encode(PinnedLinks{other}));
  EXPECT_EQ(load_error(stored), "load the catalog: links belong to no dataset");
  stored = one_link();
  stored[key(Table::contents, 1, "z")] = item(encode(MapContents{{"m", {}}}));
  EXPECT_EQ(load_error(stored), "load the catalog: what maps hold belongs to no link");
  stored = one_link();
  StoredObject named = object_of(1);
  named.name = "o";
  stored[key(Table::object, 0, hash_of(1))] = item(encode(named));
  stored[key(Table::object, 0, hash_of(2))] = item(encode(named));
  EXPECT_EQ(load_error(stored), "load the catalog: two objects share the name o");
  stored = one_link();
  stored[key(Table::object, 0, "xyz")] = item(encode(named));
  EXPECT_EQ(load_error(stored), "read an object's record: the record is malformed");
}

// Bounds hold in memory and for bytes alike, by the same function.
TEST(CatalogLinks, WhatIsOutOfBoundsIsNotWellFormed) {
  const auto bad = [](auto change) {
    PinnedLink link = link_of(2, "a");
    change(link);
    return !well_formed(link) && !decode_links(encode(PinnedLinks{link}));
  };
  EXPECT_TRUE(well_formed(link_of(2, "a")));
  EXPECT_TRUE(bad([](auto& link) { link.id = 0; }));
  EXPECT_TRUE(bad([](auto& link) { link.name = "a/b"; }));
  EXPECT_TRUE(bad([](auto& link) { link.name.clear(); }));
  EXPECT_TRUE(bad([](auto& link) { link.hook.clear(); }));
  EXPECT_TRUE(bad([](auto& link) { link.hook = "a\nb"; }));
  EXPECT_TRUE(bad([](auto& link) { link.object[3] = 'G'; }));
  EXPECT_TRUE(bad([](auto& link) { link.object.pop_back(); }));
  EXPECT_TRUE(bad([](auto& link) { link.program.assign(256, 'p'); }));
  EXPECT_TRUE(bad([](auto& link) { link.on_error = OnError(2); }));
  EXPECT_TRUE(bad([](auto& link) { link.redirects.assign(9, DatasetId(3)); }));
  EXPECT_TRUE(bad([](auto& link) { link.redirects.assign(1, DatasetId(0)); }));
  EXPECT_TRUE(bad([](auto& link) { link.author.assign(1024, 'a'); }));
  EXPECT_TRUE(bad([](auto& link) { link.function = "f"; })) << "of which link?";
  EXPECT_TRUE(bad([](auto& link) { link.hook = "freplace"; }));

  PinnedLinks many;
  for (u64 i = 1; i <= kPointLinksMax; ++i) many.emplace_back(link_of(i, "l" + std::to_string(i)));
  EXPECT_TRUE(well_formed(many));
  many.emplace_back(link_of(65, "l65"));
  EXPECT_FALSE(well_formed(many));
  EXPECT_FALSE(decode_links(encode(many)));

  PinnedLink replacement = link_of(3, "r");
  replacement.hook = kReplaceHook;
  replacement.replaces = 2;
  replacement.function = "decide";
  const PinnedLinks pair{link_of(2, "a"), replacement};
  EXPECT_TRUE(well_formed(pair));
  EXPECT_FALSE(well_formed(PinnedLinks{pair[1]})) << "its target is elsewhere";
  PinnedLink second = replacement;
  second.id = 4;
  EXPECT_FALSE(well_formed(PinnedLinks{pair[0], pair[1], second})) << "one function, twice";
  second.replaces = 3;
  EXPECT_FALSE(well_formed(PinnedLinks{pair[0], pair[1], second})) << "of a replacement";
}

template <class Decode>
void expect_every_cut_refused(const std::string& bytes, Decode decode) {
  ASSERT_TRUE(decode(bytes));
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(decode(bytes.substr(0, cut)));
  EXPECT_FALSE(decode(bytes + "x"));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    if (const auto decoded = decode(flipped)) {
      EXPECT_EQ(encode(*decoded), flipped);
    }
  }
}

// Cutting or flipping any part of a record gives an error or another record, never a crash.
TEST(CatalogLinks, RecordsSurviveEveryCutAndFlip) {
  PinnedLink link = link_of(2, "a");
  link.redirects = {DatasetId(4), DatasetId(5)};
  link.author = "uid=0";
  const PinnedLinks links{link, link_of(3, "b")};
  EXPECT_EQ(decode_links(encode(links)).value(), links);
  expect_every_cut_refused(encode(links), [](std::string bytes) { return decode_links(bytes); });
  const MapContents contents{{"m", {{"k", "v"}, {"", ""}}}, {"n", {}}};
  EXPECT_EQ(decode_contents(encode(contents)).value(), contents);
  expect_every_cut_refused(encode(contents),
                           [](std::string bytes) { return decode_contents(bytes); });
  StoredObject object = object_of(1);
  object.bytes.resize(20);
  EXPECT_EQ(decode_object(hash_of(1), encode(object)).value(), object);
  expect_every_cut_refused(encode(object),
                           [](std::string bytes) { return decode_object(hash_of(1), bytes); });
}

// The largest records that are allowed are stored and come back.
TEST(CatalogLinks, TheLargestComeBack) {
  PinnedLink link = link_of(2, "a");
  link.contents["m"].emplace_back(
      "key", std::string(kContentsBytesMax - 2 * kContentsEntryBytes - 4, 'v'));
  ASSERT_TRUE(well_formed(link));
  Catalog catalog;
  EXPECT_EQ(load_error(one_link({link}), catalog), "");
  EXPECT_EQ(*catalog.dataset(catalog.root())->links[0], link);
  link.contents["m"][0].second += 'v';
  EXPECT_FALSE(well_formed(link));
  EXPECT_FALSE(decode_contents(encode(link.contents)));
  StoredObject object = object_of(1);
  object.bytes.assign(kObjectBytesMax, 'b');
  EXPECT_EQ(decode_object(hash_of(1), encode(object)).value(), object);
  object.bytes += 'b';
  EXPECT_FALSE(decode_object(hash_of(1), encode(object)));
}

}  // namespace
}  // namespace coppice::pool
