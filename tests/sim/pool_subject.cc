#include "pool_subject.h"

#include <fmt/format.h>

#include <cerrno>

#include "pool/pool.h"
#include "verb/admin.h"

namespace coppice::simtest {
namespace {

constexpr u64 kPollNs = 100'000;
constexpr u64 kNowS = 1'767'225'600;

class PlainHost final : public verb::Host {
 public:
  std::vector<verb::RunningExport> exports_of(pool::DatasetId) const override { return {}; }
  bool listening(const std::string&) const override { return true; }
  std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(
      std::string_view hash) const override {
    pool::StoredObject object;
    object.hash = hash;
    object.bytes.assign(hash[0] == 'a' ? 100 : 20'000, hash[0]);  // In one item, and in several.
    object.programs = {{"limit", "volume.submit", pool::Tier::stable}};
    return pool::SharedValue<pool::StoredObject>(std::move(object));
  }
};

std::string hash_of(const std::string& object) {
  return std::string(pool::kObjectHashBytes, object.at(0));
}

class OpenedHandle final : public Opened {
 public:
  explicit OpenedHandle(std::unique_ptr<pool::Pool::Handle> handle) : handle_(std::move(handle)) {}
  blk::Device& device() override { return handle_->device(); }

 private:
  std::unique_ptr<pool::Pool::Handle> handle_;
};

// The nearest Errc of an errno that a verb refuses with.
Errc errc_of(int error) {
  switch (error) {
    case ENOSPC: return Errc::no_space;
    case EIO: return Errc::io;
    case EBUSY: return Errc::busy;
    case EEXIST: return Errc::exists;
    case ENOENT: return Errc::not_found;
    default: return Errc::invalid;
  }
}

verb::Invocation invocation_of(const AdminOp& op) {
  verb::Invocation result;
  result.caller = "simulation";
  verb::Arguments& arguments = result.arguments;
  const std::string& name = op.names.at(0);
  switch (op.verb) {
    case Verb::create_group:
      result.verb = "create";
      arguments["name"] = name;
      break;
    case Verb::create_volume:
      result.verb = "create";
      arguments["name"] = name;
      arguments["size"] = op.size;
      break;
    case Verb::snapshot:
      result.verb = "snapshot";
      arguments["names"] = op.names;
      if (op.recursive) arguments["recursive"] = true;
      break;
    case Verb::clone:
      result.verb = "clone";
      arguments["snapshot"] = name;
      arguments["name"] = op.other;
      break;
    case Verb::promote:
      result.verb = "promote";
      arguments["name"] = name;
      break;
    case Verb::rollback:
      result.verb = "rollback";
      arguments["name"] = name;
      if (op.recursive) arguments["recursive"] = true;
      break;
    case Verb::destroy:
      result.verb = "destroy";
      arguments["names"] = op.names;
      if (op.recursive) arguments["recursive"] = true;
      if (op.defer) arguments["defer"] = true;
      break;
    case Verb::rename:
      result.verb = "rename";
      arguments["name"] = name;
      arguments["new_name"] = op.other;
      break;
    case Verb::set:
      result.verb = "set";
      arguments["names"] = op.names;
      arguments["properties"] = verb::Pairs{{op.other, op.value}};
      break;
    case Verb::inherit:
      result.verb = "inherit";
      arguments["names"] = op.names;
      arguments["property"] = op.other;
      break;
    case Verb::hold:
    case Verb::release:
      result.verb = op.verb == Verb::hold ? "hold" : "release";
      arguments["tag"] = op.other;
      arguments["snapshots"] = op.names;
      break;
    case Verb::resize:
      result.verb = "resize";
      arguments["name"] = name;
      arguments["size"] = op.size;
      break;
    case Verb::bookmark:
      result.verb = "bookmark";
      arguments["source"] = name;
      arguments["name"] = op.other;
      break;
    case Verb::link:
      result.verb = "link";
      arguments["target"] = name;
      arguments["object"] = hash_of(op.value);
      arguments["program"] = std::string("limit");
      arguments["link"] = op.other;
      break;
    case Verb::relink:
      result.verb = "relink";
      arguments["link"] = op.other;
      arguments["object"] = hash_of(op.value);
      if (op.recursive) arguments["first"] = true;
      break;
    case Verb::unlink:
      result.verb = "unlink";
      arguments["link"] = op.other;
      break;
  }
  return result;
}

class PoolSubject final : public Subject {
 public:
  PoolSubject(std::unique_ptr<pool::Pool> pool, rt::Executor& sync)
      : pool_(std::move(pool)), admin_(*pool_, exports_, sync), lane_(sync) {}

  Task<> close() override { return pool_->close(); }
  Task<AdminAnswer> admin(std::vector<AdminOp> ops) override;
  std::map<std::string, std::string> list() override;
  Task<std::unique_ptr<Opened>> open(std::string name) override;
  Task<> sync() override { return pool_->sync(); }
  Task<> scrub() override;
  Task<> wait_for_jobs() override { return pool_->wait_for_jobs(); }
  Task<std::vector<std::string>> check() override { return pool_->check(); }
  Task<Space> space() override;

 private:
  std::string describe(const pool::Dataset& dataset) const;
  std::unique_ptr<pool::Pool> pool_;
  PlainHost exports_;
  verb::Admin admin_;
  rt::Executor& lane_;
};

Task<AdminAnswer> PoolSubject::admin(std::vector<AdminOp> ops) {
  std::vector<verb::Invocation> invocations;
  for (const AdminOp& op : ops) invocations.push_back(invocation_of(op));
  auto outcome = co_await ok(admin_.run_many(std::move(invocations)));
  AdminAnswer answer;
  answer.done = !outcome.refusal;
  answer.committed = raw(outcome.txg) != 0;
  if (outcome.refusal) {
    answer.why = outcome.refusal->message;
    answer.error = errc_of(outcome.refusal->error);
    answer.unknown = answer.error == Errc::io;
  }
  co_return answer;
}

std::string PoolSubject::describe(const pool::Dataset& dataset) const {
  const pool::Catalog& catalog = pool_->catalog();
  std::string text = dataset.type == pool::DatasetType::volume
                         ? fmt::format("volume {}", dataset.volsize_bytes)
                         : std::string("group");
  if (raw(dataset.origin) != 0) text += " of " + full_name(catalog, dataset.origin);
  for (const auto& [name, value] : dataset.properties) text += fmt::format(" {}={}", name, value);
  for (const pool::PinnedLink& link : dataset.links) {
    text += fmt::format(" {}>{}", link.name, link.object[0]);
  }
  if (dataset.id == catalog.root()) {
    for (const std::string& hash : catalog.objects()) text += fmt::format(" object:{}", hash[0]);
  }
  text += " snapshots:";
  for (const pool::SnapshotId id : catalog.snapshots(dataset.id)) {
    text += " " + catalog.snapshot(id)->name;
  }
  return text;
}

std::map<std::string, std::string> PoolSubject::list() {
  const pool::Catalog& catalog = pool_->catalog();
  std::map<std::string, std::string> result;
  std::vector<pool::DatasetId> front{catalog.root()};
  while (!front.empty()) {
    const pool::DatasetId id = front.back();
    front.pop_back();
    const std::string path = full_name(catalog, id);
    result[path] = describe(*catalog.dataset(id));
    for (const pool::SnapshotId each : catalog.snapshots(id)) {
      const pool::Snapshot& snapshot = *catalog.snapshot(each);
      std::string text = fmt::format("snapshot {}", snapshot.volsize_bytes);
      if (snapshot.defer_destroy) text += " deferred";
      for (const auto& [tag, when] : snapshot.holds) text += " held:" + tag;
      result[path + "@" + snapshot.name] = text;
    }
    for (const std::string& name : catalog.bookmarks(id)) result[path + "#" + name] = "bookmark";
    for (const pool::DatasetId child : catalog.children(id)) front.push_back(child);
  }
  return result;
}

Task<std::unique_ptr<Opened>> PoolSubject::open(std::string name) {
  const pool::Catalog& catalog = pool_->catalog();
  std::unique_ptr<pool::Pool::Handle> handle;
  if (name.find('@') != std::string::npos) {
    const pool::SnapshotId id = find_snapshot(catalog, name);
    if (raw(id) == 0) co_return fail(Errc::not_found, "opening a snapshot", name);
    auto opened = co_await ok(pool_->open_snapshot(id));
    handle = std::move(opened);
  } else {
    const pool::DatasetId id = find_dataset(catalog, name);
    if (raw(id) == 0) co_return fail(Errc::not_found, "opening a volume", name);
    auto opened = co_await ok(pool_->open_volume(id));
    handle = std::move(opened);
  }
  co_return std::make_unique<OpenedHandle>(std::move(handle));
}

Task<> PoolSubject::scrub() {
  co_await ok(pool_->scrub_start());
  while (pool_->scrub_status().state == pool::ScrubStatus::State::running) {
    co_await rt::sleep_for(lane_, kPollNs);
  }
  const pool::ScrubStatus status = pool_->scrub_status();
  if (status.errors > 0) {
    const std::string where = status.damaged.empty() ? std::string() : status.damaged.front();
    co_return fail(Errc::corrupt, "scrubbing", where);
  }
  co_return {};
}

Task<Subject::Space> PoolSubject::space() {
  const auto stats = co_await ok(pool_->stats());
  Space space;
  space.user_blocks = stats.used_blocks - stats.metadata_blocks;
  space.free_blocks = stats.free_blocks;
  space.total_blocks = stats.total_blocks;
  space.failed = !stats.failed.empty();
  co_return space;
}

pool::Lane lane_of(const LaneView& view) { return {view.executor, view.disk}; }

}  // namespace

Task<> PoolMaker::create(LaneView sync, std::string name, u64 seed) {
  pool::Pool::CreateOptions options{.name = std::move(name), .seed = seed, .now_s = kNowS};
  return pool::Pool::create(lane_of(sync), std::move(options));
}

Task<std::unique_ptr<Subject>> PoolMaker::open(std::vector<LaneView> lanes,
                                               SubjectOptions options) {
  std::vector<pool::Lane> views;
  for (const LaneView& lane : lanes) views.push_back(lane_of(lane));
  pool::Options pool_options;
  pool_options.cache_bytes = options.cache_bytes;
  pool_options.node_cache_bytes = options.node_cache_bytes;
  pool_options.dirty_bytes_max = options.dirty_bytes_max;
  pool_options.group_ns = options.group_ns;
  pool_options.seed = options.seed;
  auto pool = co_await ok(pool::Pool::open(std::move(views), std::move(pool_options)));
  co_return std::make_unique<PoolSubject>(std::move(pool), *lanes.at(0).executor);
}

}  // namespace coppice::simtest
