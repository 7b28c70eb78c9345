// verb/testing/world.h — a pool without an engine: a catalog, made-up facts, and a judge of the
// tree operations.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <set>

#include "base/prng.h"
#include "pool/catalog_codec.h"
#include "verb/properties.h"
#include "verb/verb.h"

namespace coppice::verb {

class FakeFacts final : public Facts {
 public:
  u64 now_s() const override { return now; }
  u64 available_bytes() const override { return available; }
  bool in_use(pool::DatasetId id) const override { return busy_datasets.contains(id); }
  bool in_use(pool::SnapshotId id) const override { return busy_snapshots.contains(id); }
  std::vector<RunningExport> exports_of(pool::DatasetId id) const override {
    std::vector<RunningExport> found;
    for (const RunningExport& each : exports) {
      if (each.dataset == id) found.push_back(each);
    }
    return found;
  }
  bool listening(const std::string& address) const override { return !unheard.contains(address); }
  std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(
      std::string_view hash) const override {
    const auto place = objects.find(hash);
    if (place == objects.end()) return std::nullopt;
    return pool::SharedValue<pool::StoredObject>(place->second);
  }
  std::optional<pool::MapEntries> map_entries(const MapName& name) const override {
    const auto place = maps.find(std::string(name.instance) + '/' + std::string(name.map));
    return place != maps.end() ? std::optional(place->second) : std::nullopt;
  }
  const std::string& caller() const override { return who; }
  u64 now = 1000;
  u64 available = 10_GiB;
  std::set<pool::DatasetId> busy_datasets;
  std::set<pool::SnapshotId> busy_snapshots;
  std::vector<RunningExport> exports;
  std::set<std::string> unheard;  // Addresses where nobody listens.
  std::map<std::string, pool::StoredObject, std::less<>> objects;  // By hash: what is loaded.
  std::map<std::string, pool::MapEntries> maps;                    // By "INSTANCE/MAP".
  std::string who = "uid=7";
};

// Follows tree operations as the engine would, and says which of its rules one breaks.
class TreeJudge {
 public:
  std::string judge(const pool::TreeOp& op) {
    using namespace pool;
    if (const auto* make = std::get_if<MakeVolume>(&op)) {
      return volumes_.emplace(raw(make->dataset), Volume{}).second ? "" : "volume made twice";
    }
    if (const auto* take = std::get_if<TakeSnapshot>(&op)) {
      Volume& volume = volumes_[raw(take->dataset)];  // Groups come into being here.
      if (!volume.snapshots.empty() && *volume.snapshots.rbegin() >= raw(take->snapshot)) {
        return "a snapshot is older than the one before it";
      }
      volume.snapshots.insert(raw(take->snapshot));
      return "";
    }
    if (const auto* clone = std::get_if<MakeClone>(&op)) {
      if (owner(raw(clone->origin)) == 0) return "a clone of nothing";
      volumes_[raw(clone->dataset)].origin = raw(clone->origin);
      return "";
    }
    if (const auto* back = std::get_if<RollBack>(&op)) {
      const auto& snapshots = volumes_[raw(back->dataset)].snapshots;
      const bool youngest = !snapshots.empty() && *snapshots.rbegin() == raw(back->snapshot);
      return youngest ? "" : "a rollback to another than the youngest";
    }
    if (const auto* promote = std::get_if<Promote>(&op)) return judge_promote(*promote);
    if (const auto* drop = std::get_if<DropSnapshot>(&op)) {
      if (cloned(raw(drop->snapshot))) return "a snapshot with clones is dropped";
      if (volumes_[raw(drop->dataset)].snapshots.erase(raw(drop->snapshot)) == 0) {
        return "a snapshot is dropped that its dataset does not have";
      }
      return "";
    }
    if (const auto* drop = std::get_if<DropVolume>(&op)) {
      const auto place = volumes_.find(raw(drop->dataset));
      if (place == volumes_.end()) return "a volume is dropped that is not there";
      if (!place->second.snapshots.empty()) return "a volume is dropped before its snapshots";
      volumes_.erase(place);
      return "";
    }
    const auto& resize = std::get<ResizeVolume>(op);
    return resize.old_bytes != resize.new_bytes ? "" : "a resize to the same size";
  }

 private:
  struct Volume {
    std::set<u64> snapshots;
    u64 origin = 0;
  };
  u64 owner(u64 snapshot) const {
    for (const auto& [id, volume] : volumes_) {
      if (volume.snapshots.contains(snapshot)) return id;
    }
    return 0;
  }
  bool cloned(u64 snapshot) const {
    for (const auto& [id, volume] : volumes_) {
      if (volume.origin == snapshot) return true;
    }
    return false;
  }
  std::string judge_promote(const pool::Promote& op) {
    Volume& clone = volumes_[raw(op.clone)];
    Volume& old = volumes_[raw(op.old_origin_dataset)];
    if (clone.origin != raw(op.origin)) return "promoted past its origin";
    if (!old.snapshots.contains(raw(op.origin))) return "the origin is not its old dataset's";
    while (!old.snapshots.empty() && *old.snapshots.begin() <= raw(op.origin)) {
      clone.snapshots.insert(old.snapshots.extract(old.snapshots.begin()));
    }
    clone.origin = old.origin;
    old.origin = raw(op.origin);
    return "";
  }
  std::map<u64, Volume> volumes_;
};

inline const char* errno_name(int error) {
  switch (error) {
    case ENOENT: return "ENOENT";
    case EEXIST: return "EEXIST";
    case EBUSY: return "EBUSY";
    case EINVAL: return "EINVAL";
    case EXDEV: return "EXDEV";
    case ENOSPC: return "ENOSPC";
    case EDQUOT: return "EDQUOT";
    case E2BIG: return "E2BIG";
    case EROFS: return "EROFS";
    case ESRCH: return "ESRCH";
    case ENAMETOOLONG: return "ENAMETOOLONG";
    case ESTALE: return "ESTALE";
    default: return "another error";
  }
}

// Commands are written "verb positional... name=value...": "a|b" is a list, "{k=v;k=v}" a map.
inline Value parse_value(std::string text) {
  if (text.starts_with('{')) {
    Pairs pairs;
    for (std::string rest = text.substr(1, text.size() - 2); !rest.empty();) {
      const size_t end = std::min(rest.find(';'), rest.size());
      const std::string item = rest.substr(0, end);
      const size_t equals = item.find('=');
      pairs[item.substr(0, equals)] = item.substr(equals + 1);
      rest.erase(0, end + 1);
    }
    return pairs;
  }
  if (text.find('|') == std::string::npos) return text;
  Names names;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('|', at), text.size());
    names.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return names;
}

class World {
 public:
  World() : catalog(pool::Catalog::make("tank", 77, 500)) { commit(); }

  // "ok", or "ERRNO: message". What check says is what sync does, each time.
  std::string run(const std::string& command) {
    auto transaction = catalog->begin();
    const std::string outcome = run_in(*transaction, command);
    if (outcome == "ok" && !dry) {
      catalog->accept(std::move(transaction));
      commit();
    }
    return outcome;
  }

  std::string run_in(pool::Transaction& transaction, const std::string& command) {
    std::vector<Value> positional;
    Arguments named;
    std::string verb;
    for (size_t at = 0; at < command.size();) {
      const size_t end = std::min(command.find(' ', at), command.size());
      const std::string word = command.substr(at, end - at);
      at = end + 1;
      const size_t equals = word.find('=');
      if (verb.empty()) {
        verb = word;
      } else if (equals != std::string::npos && !word.starts_with('{')) {
        named[word.substr(0, equals)] = parse_value(word.substr(equals + 1));
      } else {
        positional.push_back(parse_value(word));
      }
    }
    const Row* row = find(verb);
    if (row == nullptr) return "no verb " + verb;
    auto bound = bind(*row, std::move(positional), std::move(named));
    if (!bound) return said(bound.error());
    return apply(transaction, *row, *bound);
  }

  std::string apply(pool::Transaction& transaction, const Row& row, const Arguments& bound) {
    Context context(transaction, facts);
    changes = {};
    const size_t before = transaction.savepoint();
    const auto checked = row.check(context, bound);
    EXPECT_EQ(transaction.savepoint(), before) << "check changed something";
    const auto refused = row.sync(context, bound, changes);
    EXPECT_EQ(checked, refused) << "check did not tell the truth";
    if (!refused) {
      details.clear();
      return "ok";
    }
    EXPECT_EQ(transaction.savepoint(), before) << "a refused sync changed something";
    EXPECT_TRUE(changes.effects.empty());
    EXPECT_EQ(refused->message.find('\n'), std::string::npos);
    return said(*refused);
  }

  // The engine's part: numbers what is new, and judges the operations.
  void commit() {
    const pool::Txg txg{++txg_};
    for (const pool::TreeOp& op : catalog->take_tree_ops()) {
      const std::string broken = judge.judge(op);
      EXPECT_EQ(broken, "");
      if (const auto* take = std::get_if<pool::TakeSnapshot>(&op)) {
        catalog->commit_snapshot(take->snapshot, txg, {}, 0);
      } else if (const auto* make = std::get_if<pool::MakeVolume>(&op)) {
        catalog->put_volume_state(make->dataset, {});
      } else if (const auto* clone = std::get_if<pool::MakeClone>(&op)) {
        catalog->put_volume_state(clone->dataset, {});
      } else if (const auto* drop = std::get_if<pool::DropVolume>(&op)) {
        catalog->erase_volume_state(drop->dataset);
      }
    }
    const auto fresh = catalog->take_uncommitted();
    for (pool::DatasetId id : fresh.datasets) catalog->commit_dataset(id, txg);
    for (const auto& [id, name] : fresh.bookmarks) catalog->commit_bookmark(id, name, txg);
  }

  pool::DatasetId id(std::string_view name) const { return find_dataset(*catalog, name); }
  pool::SnapshotId snapshot_id(std::string_view name) const {
    return find_snapshot(*catalog, name);
  }
  bool exists(std::string_view name) const { return find_target(*catalog, name).has_value(); }
  // Gives a volume data: blocks that it refers to, that it has from its origin, that only its
  // snapshots keep.
  void fill(std::string_view name, u64 referenced, u64 inherited = 0, u64 dead = 0) {
    pool::VolumeState* state = catalog->edit_volume_state(id(name));
    ASSERT_NE(state, nullptr);
    state->live.referenced_blocks = referenced;
    state->live.logical_blocks = referenced;
    state->inherited_blocks = inherited;
    state->dead_blocks = dead;
  }
  // All names, in the order of list: for comparing whole pools.
  std::string listing() const;

  std::unique_ptr<pool::Catalog> catalog;
  FakeFacts facts;
  Changes changes;  // Of the last run.
  Names details;    // Of the last refusal.
  TreeJudge judge;
  bool dry = false;  // Throws everything away.

 private:
  std::string said(const Refusal& refusal) {
    details = refusal.details;
    return std::string(errno_name(refusal.error)) + ": " + refusal.message;
  }
  u64 txg_ = 0;
};

inline std::string World::listing() const {
  std::string all;
  std::vector<pool::DatasetId> open{catalog->root()};
  while (!open.empty()) {
    const pool::DatasetId id = open.back();
    open.pop_back();
    const auto line = [&](const std::string& name) { all += all.empty() ? name : " " + name; };
    line(full_name(*catalog, id));
    for (pool::SnapshotId snapshot : catalog->snapshots(id)) {
      line("@" + catalog->snapshot(snapshot)->name);
    }
    for (const std::string& mark : catalog->bookmarks(id)) line("#" + mark);
    const auto children = catalog->children(id);
    open.insert(open.end(), children.rbegin(), children.rend());
  }
  return all;
}

}  // namespace coppice::verb
