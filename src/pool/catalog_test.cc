// The catalog against a reference model: random transactions, savepoints, abandons, commits and
// reloads.
#include "pool/catalog.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include <malloc.h>

#include "base/prng.h"
#include "pool/catalog_codec.h"

namespace coppice::pool {
namespace {

// What a catalog should hold, kept in the plainest way; copied whole for a savepoint.
struct Model {
  std::map<u64, Dataset> datasets;
  std::map<u64, Snapshot> snapshots;
  std::map<std::pair<u64, std::string>, Bookmark> bookmarks;

  std::vector<u64> snapshots_of(u64 dataset) const {
    std::vector<u64> ids;
    for (const auto& [id, each] : snapshots) {
      if (raw(each.dataset) == dataset) ids.push_back(id);
    }
    return ids;
  }
};

// Everything that the view's queries answer about the model's objects equals the model.
void expect_same(const Model& model, const CatalogView& view) {
  std::map<u64, std::map<std::string, u64>> children;
  std::map<u64, std::vector<u64>> clones;
  for (const auto& [id, each] : model.datasets) {
    const Dataset* found = view.dataset(DatasetId(id));
    ASSERT_NE(found, nullptr) << id;
    ASSERT_EQ(*found, each);
    children[raw(each.parent)][each.name] = id;
    if (raw(each.origin) != 0) clones[raw(each.origin)].push_back(id);
  }
  for (const auto& [id, each] : model.datasets) {
    std::vector<DatasetId> names;
    for (const auto& [name, child] : children[id]) {
      names.push_back(DatasetId(child));
      ASSERT_EQ(view.child(DatasetId(id), name), DatasetId(child));
    }
    ASSERT_EQ(view.children(DatasetId(id)), names);
    const std::vector<u64> mine = model.snapshots_of(id);
    std::vector<SnapshotId> listed;
    for (u64 snapshot : mine) listed.push_back(SnapshotId(snapshot));
    ASSERT_EQ(view.snapshots(DatasetId(id)), listed);
    ASSERT_EQ(view.snapshot_count(DatasetId(id)), listed.size());
    ASSERT_EQ(view.last_snapshot(DatasetId(id)), listed.empty() ? SnapshotId{} : listed.back());
    for (size_t i = 0; i < listed.size(); ++i) {
      ASSERT_EQ(view.before(listed[i]), i > 0 ? listed[i - 1] : SnapshotId{});
      ASSERT_EQ(view.after(listed[i]), i + 1 < listed.size() ? listed[i + 1] : SnapshotId{});
    }
    std::vector<std::string> bookmarks;
    for (const auto& [key, bookmark] : model.bookmarks) {
      if (key.first != id) continue;
      bookmarks.push_back(key.second);
      const Bookmark* found = view.bookmark(DatasetId(id), key.second);
      ASSERT_NE(found, nullptr);
      ASSERT_EQ(*found, bookmark);
    }
    ASSERT_EQ(view.bookmarks(DatasetId(id)), bookmarks);
    ASSERT_EQ(find_dataset(view, full_name(view, DatasetId(id))), DatasetId(id));
  }
  for (const auto& [id, each] : model.snapshots) {
    const Snapshot* found = view.snapshot(SnapshotId(id));
    ASSERT_NE(found, nullptr) << id;
    ASSERT_EQ(*found, each);
    ASSERT_EQ(view.snapshot_named(each.dataset, each.name), SnapshotId(id));
    ASSERT_EQ(find_snapshot(view, full_name(view, SnapshotId(id))), SnapshotId(id));
    std::vector<DatasetId> mine;
    for (u64 clone : clones[id]) mine.push_back(DatasetId(clone));
    ASSERT_EQ(view.clones(SnapshotId(id)), mine);
  }
  for (u64 id = 1; id < 600; ++id) {
    if (!model.datasets.contains(id)) {
      ASSERT_EQ(view.dataset(DatasetId(id)), nullptr);
    }
    if (!model.snapshots.contains(id)) {
      ASSERT_EQ(view.snapshot(SnapshotId(id)), nullptr);
    }
  }
}

// What is stored, as the engine's tree would hold it.
using Store = std::map<std::string, std::string>;

void store(Catalog& catalog, Store& into) {
  std::string last;
  for (Catalog::StoredChange& change : catalog.take_changes()) {
    ASSERT_LT(last, change.key) << "keys ascend";
    ASSERT_LE(change.key.size(), kKeyBytesMax);
    last = change.key;
    if (change.value) {
      ASSERT_LE(change.value->size(), kValueBytesMax);
      into[change.key] = *change.value;
    } else {
      into.erase(change.key);
    }
  }
  ASSERT_FALSE(catalog.changed());
}

std::unique_ptr<Catalog> reload(const Store& stored) {
  auto catalog = std::make_unique<Catalog>();
  for (const auto& [key, value] : stored) {
    if (key >= history_key(0) && key < history_end()) continue;
    const auto loaded = catalog->load(key, value);
    EXPECT_TRUE(loaded) << describe(loaded.error());
  }
  const auto finished = catalog->finish_load();
  EXPECT_TRUE(finished) << describe(finished.error());
  return catalog;
}

// Random work on a catalog and its model side by side.
class Play {
 public:
  explicit Play(u64 seed) : prng_(seed), catalog_(Catalog::make("tank", seed + 1, 7)) {
    base_.datasets[raw(catalog_->root())] = *catalog_->dataset(catalog_->root());
    commit();
  }

  void run(int transactions) {
    for (int i = 0; i < transactions && !testing::Test::HasFatalFailure(); ++i) one_transaction();
    std::unique_ptr<Catalog> again = reload(stored_after_commit());
    expect_same(base_, *again);
    EXPECT_EQ(again->jobs(), catalog_->jobs());
    EXPECT_EQ(again->value("scrub"), catalog_->value("scrub"));
    EXPECT_EQ(again->history_next(), catalog_->history_next());
    EXPECT_EQ(again->next_id(), catalog_->next_id());
    EXPECT_FALSE(again->changed());
  }

 private:
  void one_transaction() {
    Model before = base_;
    mine_ = base_;
    auto transaction = catalog_->begin();
    std::vector<std::pair<size_t, Model>> saved;
    std::vector<size_t> saved_ops;
    for (u64 steps = prng_.below(40); steps > 0; --steps) {
      if (prng_.chance(1, 8)) {
        saved.emplace_back(transaction->savepoint(), mine_);
        saved_ops.push_back(transaction->tree_ops().size());
      } else if (!saved.empty() && prng_.chance(1, 6)) {
        const size_t back = prng_.below(saved.size());
        transaction->roll_back_to(saved[back].first);
        mine_ = saved[back].second;
        ASSERT_EQ(transaction->tree_ops().size(), saved_ops[back]);
        saved.resize(back + 1);
        saved_ops.resize(back + 1);
      } else if (prng_.chance(1, 12)) {
        const Txg txg = commit();  // The engine commits the group before, with this one open.
        for (auto& [savepoint, model] : saved) learn(model);
        learn(mine_);
        learn(before);
        (void)txg;
      } else {
        step(*transaction);
      }
      if (prng_.chance(1, 5)) expect_same(mine_, *transaction);
      if (prng_.chance(1, 5)) expect_same(base_, *catalog_);
    }
    expect_same(mine_, *transaction);
    expect_same(base_, *catalog_);
    if (prng_.chance(1, 4)) {
      transaction.reset();
    } else {
      catalog_->accept(std::move(transaction));
      base_ = mine_;
    }
    expect_same(base_, *catalog_);
    if (prng_.chance(1, 3)) commit();
    if (prng_.chance(1, 3)) store(*catalog_, stored_);
    if (prng_.chance(1, 10)) expect_same(base_, *reload(stored_after_commit()));
  }

  const Store& stored_after_commit() {
    commit();
    store(*catalog_, stored_);
    return stored_;
  }

  // What only a commit knows goes from the catalog's model into one made earlier.
  void learn(Model& model) const {
    for (auto& [id, each] : model.datasets) {
      if (const auto known = base_.datasets.find(id); known != base_.datasets.end()) {
        each.createtxg = known->second.createtxg;
      }
    }
    for (auto& [id, each] : model.snapshots) {
      const auto known = base_.snapshots.find(id);
      if (known == base_.snapshots.end()) continue;
      each.createtxg = known->second.createtxg;
      each.tree = known->second.tree;
      each.written_blocks = known->second.written_blocks;
    }
    for (auto& [key, each] : model.bookmarks) {
      const auto known = base_.bookmarks.find(key);
      if (known == base_.bookmarks.end() || known->second.guid != each.guid) continue;
      if (raw(each.createtxg) == 0) each.createtxg = known->second.createtxg;
    }
  }

  Txg commit() {
    const Txg txg{++txg_};
    Catalog::Uncommitted fresh = catalog_->take_uncommitted();
    for (DatasetId id : fresh.datasets) {
      catalog_->commit_dataset(id, txg);
      base_.datasets.at(raw(id)).createtxg = txg;
      if (base_.datasets.at(raw(id)).type == DatasetType::volume) {
        VolumeState state;
        state.live.logical_blocks = raw(id);
        state.dead.assign(prng_.below(300), Slice{1, Txg{}, Txg{}});
        catalog_->put_volume_state(id, state);
      }
    }
    for (const auto& [id, name] : fresh.bookmarks) {
      catalog_->commit_bookmark(id, name, txg);
      base_.bookmarks.at({raw(id), name}).createtxg = txg;
    }
    for (const TreeOp& op : catalog_->take_tree_ops()) {
      if (const auto* take = std::get_if<TakeSnapshot>(&op)) {
        TreeState tree;
        tree.referenced_blocks = raw(txg);
        catalog_->commit_snapshot(take->snapshot, txg, tree, 3);
        const auto known = base_.snapshots.find(raw(take->snapshot));
        if (known == base_.snapshots.end()) continue;
        known->second.createtxg = txg;
        known->second.tree = tree;
        known->second.written_blocks = 3;
      } else if (const auto* drop = std::get_if<DropVolume>(&op)) {
        catalog_->erase_volume_state(drop->dataset);
      }
    }
    if (prng_.chance(1, 2)) catalog_->put_job({catalog_->next_id(), FreeTree{}, prng_.below(100)});
    if (!catalog_->jobs().empty() && prng_.chance(1, 2)) {
      catalog_->erase_job(catalog_->jobs().begin()->first);
    }
    if (prng_.chance(1, 2)) catalog_->set_value("scrub", std::string(prng_.below(9000), 'x'));
    HistoryRecord record;
    record.effects.assign(prng_.below(9000), 'e');
    catalog_->add_history(record);
    return txg;
  }

  template <class Map>
  auto& any(Map& map) {
    return *std::next(map.begin(), static_cast<std::ptrdiff_t>(prng_.below(map.size())));
  }
  std::string name() { return "n" + std::to_string(prng_.below(12)); }

  bool free(u64 parent, const std::string& name) const {
    return std::none_of(mine_.datasets.begin(), mine_.datasets.end(), [&](const auto& each) {
      return raw(each.second.parent) == parent && each.second.name == name;
    });
  }
  bool snapshot_free(u64 dataset, const std::string& name) const {
    return std::none_of(mine_.snapshots.begin(), mine_.snapshots.end(), [&](const auto& each) {
      return raw(each.second.dataset) == dataset && each.second.name == name;
    });
  }
  bool inside(u64 id, u64 ancestor) const {
    for (; id != 0; id = raw(mine_.datasets.at(id).parent)) {
      if (id == ancestor) return true;
    }
    return false;
  }

  void step(Transaction& transaction) {
    const u64 root = raw(catalog_->root());
    auto& [id, dataset] = any(mine_.datasets);
    const std::string fresh = name();
    switch (prng_.below(10)) {
      case 0:
      case 1: {  // A new dataset, sometimes a clone.
        if (dataset.type != DatasetType::group || !free(id, fresh)) return;
        Dataset made;
        made.parent = DatasetId(id);
        made.name = fresh;
        made.type = prng_.chance(1, 3) ? DatasetType::group : DatasetType::volume;
        if (made.type == DatasetType::volume && !mine_.snapshots.empty() && prng_.chance(1, 2)) {
          const Snapshot& origin = any(mine_.snapshots).second;
          if (mine_.datasets.at(raw(origin.dataset)).type == DatasetType::volume) {
            made.origin = origin.id;
          }
        }
        const DatasetId given = transaction.new_dataset(made);
        if (made.type == DatasetType::volume) transaction.add_tree_op(MakeVolume{given});
        made.id = given;
        made.guid = transaction.dataset(given)->guid;
        ASSERT_NE(made.guid, 0u);
        mine_.datasets[raw(given)] = made;
        return;
      }
      case 2:
      case 3:
      case 4: {  // A new snapshot.
        if (!snapshot_free(id, fresh)) return;
        Snapshot made;
        made.dataset = DatasetId(id);
        made.name = fresh;
        if (prng_.chance(1, 5)) made.properties["a:b"] = std::string(prng_.below(8000), 'v');
        const SnapshotId given = transaction.new_snapshot(made);
        transaction.add_tree_op(TakeSnapshot{DatasetId(id), given});
        made.id = given;
        made.guid = transaction.snapshot(given)->guid;
        mine_.snapshots[raw(given)] = made;
        return;
      }
      case 5: {  // A dataset moves, or its properties change.
        if (id == root) return;
        Dataset changed = dataset;
        const u64 parent = any(mine_.datasets).first;
        if (prng_.chance(1, 2)) {
          changed.properties["x:y"] = std::string(prng_.below(7000), 'p');
        } else if (mine_.datasets[parent].type == DatasetType::group && free(parent, fresh) &&
                   !inside(parent, id)) {
          changed.parent = DatasetId(parent);
          changed.name = fresh;
        }
        transaction.edit_dataset(DatasetId(id), changed);
        dataset = changed;
        return;
      }
      case 6: {  // A snapshot is renamed, or moves to another dataset as in a promote.
        if (mine_.snapshots.empty()) return;
        auto& [snapshot_id, snapshot] = any(mine_.snapshots);
        Snapshot changed = snapshot;
        changed.holds[fresh] = 1;
        if (prng_.chance(1, 2) && snapshot_free(id, fresh)) {
          changed.name = fresh;
          // With its clones left behind it could become its own origin.
          const bool cloned = !transaction.clones(SnapshotId(snapshot_id)).empty();
          if (dataset.type == DatasetType::volume && !cloned) changed.dataset = DatasetId(id);
          if (!snapshot_free(raw(changed.dataset), fresh)) return;
        }
        transaction.edit_snapshot(SnapshotId(snapshot_id), changed);
        snapshot = changed;
        return;
      }
      case 7: {  // A snapshot without clones goes.
        if (mine_.snapshots.empty()) return;
        const u64 gone = any(mine_.snapshots).first;
        for (const auto& [other, each] : mine_.datasets) {
          if (raw(each.origin) == gone) return;
        }
        transaction.erase_snapshot(SnapshotId(gone));
        mine_.snapshots.erase(gone);
        return;
      }
      case 8: {  // An empty dataset goes.
        if (id == root || !mine_.snapshots_of(id).empty()) return;
        for (const auto& [other, each] : mine_.datasets) {
          if (raw(each.parent) == id) return;
        }
        for (const std::string& bookmark : transaction.bookmarks(DatasetId(id))) {
          transaction.erase_bookmark(DatasetId(id), bookmark);
          mine_.bookmarks.erase({id, bookmark});
        }
        transaction.erase_dataset(DatasetId(id));
        transaction.add_tree_op(DropVolume{DatasetId(id)});
        mine_.datasets.erase(id);
        return;
      }
      default: {
        if (prng_.chance(1, 3) && !mine_.bookmarks.empty()) {
          const auto key = any(mine_.bookmarks).first;
          transaction.erase_bookmark(DatasetId(key.first), key.second);
          mine_.bookmarks.erase(key);
        } else {
          Bookmark made{DatasetId(id), fresh, Txg{}, 5, prng_.next()};
          transaction.put_bookmark(made);
          mine_.bookmarks[{id, fresh}] = made;
        }
      }
    }
  }

  Prng prng_;
  std::unique_ptr<Catalog> catalog_;
  Model base_, mine_;
  Store stored_;
  u64 txg_ = 0;
};

TEST(Catalog, AgreesWithAModelUnderRandomTransactions) {
  for (u64 seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Play play(seed);
    play.run(25);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Catalog, ATransactionIsInvisibleUntilAccepted) {
  auto catalog = Catalog::make("tank", 1, 1);
  const DatasetId root = catalog->root();
  auto transaction = catalog->begin();
  EXPECT_TRUE(transaction->empty());
  Dataset volume;
  volume.parent = root;
  volume.name = "v";
  const DatasetId id = transaction->new_dataset(volume);
  EXPECT_FALSE(transaction->empty());
  EXPECT_EQ(transaction->child(root, "v"), id);
  EXPECT_EQ(raw(catalog->child(root, "v")), 0u);
  transaction->roll_back_to(0);
  EXPECT_TRUE(transaction->empty());
  EXPECT_EQ(raw(transaction->child(root, "v")), 0u);
  const DatasetId again = transaction->new_dataset(volume);
  EXPECT_NE(again, id) << "ids are never given twice";
  catalog->accept(std::move(transaction));
  EXPECT_EQ(catalog->child(root, "v"), again);
}

// An edit made from a copy older than the commit does not undo what the commit filled in.
TEST(Catalog, ACommitBesideAnOpenTransactionIsKept) {
  auto catalog = Catalog::make("tank", 1, 1);
  auto transaction = catalog->begin();
  Snapshot made;
  made.dataset = catalog->root();
  made.name = "s";
  const SnapshotId id = transaction->new_snapshot(made);
  catalog->accept(std::move(transaction));

  transaction = catalog->begin();
  Snapshot changed = *transaction->snapshot(id);
  changed.holds["keep"] = 1;
  transaction->edit_snapshot(id, changed);
  TreeState tree;
  tree.referenced_blocks = 9;
  catalog->commit_snapshot(id, Txg{4}, tree, 2);
  EXPECT_EQ(transaction->snapshot(id)->createtxg, Txg{4});
  transaction->edit_snapshot(id, changed);
  EXPECT_EQ(transaction->snapshot(id)->createtxg, Txg{4});
  transaction->erase_snapshot(id);
  transaction->add_tree_op(DropSnapshot{made.dataset, id, Txg{}});
  catalog->accept(std::move(transaction));
  const auto ops = catalog->take_tree_ops();
  ASSERT_EQ(ops.size(), 1u);
  EXPECT_EQ(std::get<DropSnapshot>(ops[0]).createtxg, Txg{4});
}

TEST(Catalog, HistoryIsStoredAndNumberedButNotLoaded) {
  auto catalog = Catalog::make("tank", 1, 1);
  catalog->commit_dataset(catalog->root(), Txg{1});
  HistoryRecord record;
  record.who = "uid=0";
  record.command = "create tank/v";
  record.effects.assign(20'000, 'x');
  catalog->add_history(record);
  Store stored;
  store(*catalog, stored);
  RecordAssembler assembler;
  std::optional<HistoryRecord> found;
  for (auto place = stored.lower_bound(history_key(1)); place != stored.end(); ++place) {
    auto fed = assembler.feed(place->first, place->second);
    ASSERT_TRUE(fed);
    if (*fed) found = decode_history((*fed)->id, (*fed)->bytes).value();
  }
  EXPECT_TRUE(assembler.finish());
  record.sequence = 1;
  EXPECT_EQ(found, record);
  EXPECT_EQ(reload(stored)->history_next(), 2u);
}

Store three_records() {
  auto catalog = Catalog::make("tank", 1, 1);
  auto transaction = catalog->begin();
  Dataset volume;
  volume.parent = catalog->root();
  volume.name = "v";
  volume.type = DatasetType::volume;
  const DatasetId id = transaction->new_dataset(volume);
  Snapshot snapshot;
  snapshot.dataset = id;
  snapshot.name = "s";
  transaction->new_snapshot(snapshot);
  catalog->accept(std::move(transaction));
  Store stored;
  store(*catalog, stored);
  return stored;
}

std::string load_error(const Store& stored) {
  Catalog catalog;
  for (const auto& [key, value] : stored) {
    if (const auto loaded = catalog.load(key, value); !loaded) return describe(loaded.error());
  }
  const auto finished = catalog.finish_load();
  return finished ? "" : describe(finished.error());
}

TEST(Catalog, ContradictionsAreFoundWhenLoading) {
  EXPECT_EQ(load_error(three_records()), "");
  const auto key = [](Table table, u64 id) { return part_key(record_key(table, id), 0); };
  const auto item = [](const std::string& bytes) { return store_record("x", bytes)[0].value; };
  Dataset volume;
  volume.parent = DatasetId(1);
  volume.name = "w";
  volume.type = DatasetType::volume;
  Snapshot snapshot;
  snapshot.dataset = DatasetId(2);
  snapshot.name = "s";
  const auto with = [&](u64 id, const Dataset& dataset) {
    Store stored = three_records();
    stored[key(Table::dataset, id)] = item(encode(dataset));
    return load_error(stored);
  };

  Store stored = three_records();
  stored.erase(key(Table::dataset, 1));
  EXPECT_EQ(load_error(stored), "load the catalog: the root dataset is missing");
  stored = three_records();
  stored.erase(key(Table::dataset, 2));
  EXPECT_EQ(load_error(stored), "load the catalog: snapshot s belongs to no dataset");
  stored = three_records();
  stored.erase(key(Table::header, 0));
  EXPECT_EQ(load_error(stored), "load the catalog: the root dataset is missing");

  EXPECT_EQ(with(9, volume), "load the catalog: an id was never given out");
  Dataset bad = volume;
  bad.parent = DatasetId(2);
  EXPECT_EQ(with(2, bad), "load the catalog: dataset 2 has no parent");
  bad = volume;
  bad.origin = SnapshotId(7);
  EXPECT_EQ(with(2, bad), "load the catalog: w has lost its origin");
  bad.origin = SnapshotId(3);
  EXPECT_EQ(with(2, bad), "load the catalog: clones are each other's origin");
  bad = volume;
  bad.createtxg = Txg{5};
  EXPECT_EQ(with(2, bad), "load the catalog: volume w has lost its map");

  stored = three_records();
  stored[key(Table::snapshot, 2)] = item(encode(snapshot));
  EXPECT_EQ(load_error(stored), "load the catalog: two snapshots share the name s");
  stored = three_records();
  stored[key(Table::job, 3)] = "\x01";
  EXPECT_EQ(load_error(stored), "read the catalog: a record's first part is missing");
  stored = three_records();
  stored[key(Table(99), 3)] = item(encode(snapshot));
  EXPECT_EQ(load_error(stored), "load the catalog: a record belongs to no known table");
  stored = three_records();
  stored[key(Table::volume_state, 1)] = item(encode(VolumeState{}));
  EXPECT_EQ(load_error(stored), "load the catalog: group tank has a map");
  stored = three_records();
  stored[key(Table::volume_state, 77)] = item(encode(VolumeState{}));
  EXPECT_EQ(load_error(stored), "load the catalog: a map belongs to no volume");
  stored = three_records();
  auto& header = stored[key(Table::header, 0)];
  header[2] = 2;
  EXPECT_EQ(load_error(stored),
            "read the catalog's header: the record was written by a newer version");
}

// Cutting or flipping any part of a record gives an error or another record, never a crash.
TEST(CatalogCodec, SurvivesEveryCutAndFlip) {
  Snapshot snapshot;
  snapshot.id = SnapshotId(4);
  snapshot.dataset = DatasetId(2);
  snapshot.name = "daily";
  snapshot.holds = {{"a", 1}, {"b", 2}};
  snapshot.properties = {{"x:y", "z"}};
  const std::string bytes = encode(snapshot);
  EXPECT_EQ(decode_snapshot(4, bytes).value(), snapshot);
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_FALSE(decode_snapshot(4, bytes.substr(0, cut)));
  }
  EXPECT_FALSE(decode_snapshot(4, bytes + "x"));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const auto decoded = decode_snapshot(4, flipped);
    if (decoded) {
      EXPECT_NE(*decoded, snapshot);
    }
  }
}

TEST(CatalogCodec, JobsAndStatesComeBack) {
  const Job jobs[] = {{3, FreeTree{{BlockAddr(5), Txg(6), 7, 2, 1}, Txg(8), 9}, 10},
                      {4, PruneDead{DatasetId(2), Txg(3), Txg(4), std::string("k\0y", 3)}, 11},
                      {5, DropDead{{6, Txg(7), kForever}, Txg(8)}, 12}};
  for (const Job& job : jobs) EXPECT_EQ(decode_job(job.id, encode(job)).value(), job);
  VolumeState state{{{BlockAddr(1), Txg(2), 3, 1, 0}, 4, 5},       6, 7, 8, 9, Txg(10), Txg(11),
                    {{12, Txg(1), Txg(3)}, {12, Txg(3), kForever}}};
  EXPECT_EQ(decode_volume_state(encode(state)).value(), state);
}

std::unique_ptr<Catalog> many_snapshots(size_t count) {
  auto catalog = Catalog::make("tank", 1, 1);
  auto transaction = catalog->begin();
  for (size_t i = 0; i < count; ++i) {
    Snapshot snapshot;
    snapshot.dataset = catalog->root();
    snapshot.name = "snap-" + std::to_string(i);
    transaction->new_snapshot(std::move(snapshot));
  }
  catalog->accept(std::move(transaction));
  return catalog;
}

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

// Limits are loose because tests run in every build; the figures are printed.
TEST(Catalog, HoldsAHundredThousandSnapshots) {
  constexpr size_t kCount = 100'000;
  Store stored;
  store(*many_snapshots(kCount), stored);
  const size_t before = mallinfo2().uordblks;
  const auto start = std::chrono::steady_clock::now();
  auto catalog = reload(stored);
  const double load_ms = milliseconds_since(start);
  const size_t each = (mallinfo2().uordblks - before) / kCount;
  std::printf("loaded %zu snapshots in %.0f ms, %zu bytes each\n", kCount, load_ms, each);
  EXPECT_LT(load_ms, 5000);
  EXPECT_LT(each, 400u);  // Under a sanitizer the figure is 0.
  EXPECT_EQ(catalog->snapshot_count(catalog->root()), kCount);
}

// Looking for the youngest survivor costs the same however many were dropped beside it.
TEST(Catalog, DroppingManyFromTheYoungestOnIsNotQuadratic) {
  constexpr size_t kCount = 50'000;
  auto catalog = many_snapshots(kCount);
  auto transaction = catalog->begin();
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < kCount; ++i) {
    transaction->erase_snapshot(transaction->last_snapshot(catalog->root()));
  }
  EXPECT_EQ(raw(transaction->last_snapshot(catalog->root())), 0u);
  const double drop_ms = milliseconds_since(start);
  std::printf("%zu drops in %.0f ms\n", kCount, drop_ms);
  EXPECT_LT(drop_ms, 5000);
  transaction->roll_back_to(0);
  EXPECT_EQ(transaction->snapshots(catalog->root()), catalog->snapshots(catalog->root()));
}

}  // namespace
}  // namespace coppice::pool
