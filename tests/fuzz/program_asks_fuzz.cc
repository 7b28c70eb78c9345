// tests/fuzz/program_asks_fuzz.cc — an interpreter that was taken over, and asks for anything.
//
// The input is a list of moves: a question of known words, a question or an end of any bytes in a
// proper frame, or any bytes at all. Whatever comes, the program ends, its transaction is dropped
// (it runs read-only), its interpreter is gone, and the catalog is as it was.
#include "channel/testing/fake_interpreter.h"
#include "sim/disk.h"
#include "sim/scheduler.h"
#include "verb/names.h"

using namespace coppice;
using namespace coppice::channel;

namespace {

class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  u8 byte() {
    if (rest_.empty()) return 0;
    const u8 first = static_cast<u8>(rest_.front());
    rest_ = rest_.subspan(1);
    return first;
  }
  std::span<const std::byte> bytes(size_t count) {
    const auto taken = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::byte> rest_;
};

constexpr const char* kWords[] = {"tank",        "tank/v",
                                  "tank/g",      "tank/g/w",
                                  "tank/v@a",    "tank/v@b",
                                  "tank/v#m",    "other/x",
                                  "#m",          "b",
                                  "4K",          "none",
                                  "on",          "u:p",
                                  "used",        "available",
                                  "written@a",   "clones",
                                  "properties",  "snapshots",
                                  "children",    "bookmarks",
                                  "holds",       "exports",
                                  "descendants", "user_properties",
                                  "tank/c",      "readonly",
                                  "tag",         "unix:/x",
                                  "reservation", "volsize"};
constexpr const char* kNames[] = {"recursive", "clones", "defer",    "size",
                                  "parents",   "names",  "property", "properties"};

message::Value word(Input& input, int depth = 0) {
  const u8 choice = input.byte();
  if (choice < 0xc0) return kWords[choice % std::size(kWords)];
  if (choice < 0xd0) return static_cast<i64>(input.byte()) - 8;
  if (choice < 0xd8) return (choice & 1) != 0;
  if (choice < 0xe0) return static_cast<double>(input.byte()) * 1024.5;
  if (depth > 2) return {};
  if (choice < 0xf0) {
    message::List list;
    for (u8 i = choice & 3; i > 0; --i) list.push_back(word(input, depth + 1));
    return list;
  }
  message::Record record;
  for (u8 i = choice & 3; i > 0; --i) {
    const char* name = kWords[input.byte() % std::size(kWords)];
    record.emplace_back(name, word(input, depth + 1));
  }
  return record;
}

message::Ask question(Input& input) {
  message::Ask ask;
  ask.call = static_cast<message::Call>(1 + input.byte() % 12);
  ask.verb = input.byte() % (verb::table().size() + 1);
  const u8 shape = input.byte();
  for (u8 i = shape & 3; i > 0; --i) ask.positional.push_back(word(input));
  for (u8 i = (shape >> 2) & 3; i > 0; --i) {
    const char* name = kNames[input.byte() % std::size(kNames)];
    ask.named.emplace_back(name, word(input));
  }
  return ask;
}

Task<> play(Input& input, Peer& peer) {
  Task<message::Begin> beginning = peer.begin();
  co_await ok(std::move(beginning));
  while (!input.empty()) {
    const u8 move = input.byte();
    std::vector<std::byte> frame;
    if ((move & 3) == 0) {
      frame = message::encode(question(input));
    } else if ((move & 3) == 3) {
      const auto bytes = input.bytes(move >> 2);
      frame.assign(bytes.begin(), bytes.end());
    } else {
      const auto kind = (move & 3) == 1 ? message::FrameKind::ask : message::FrameKind::end;
      message::Encoder encoder = message::begin_frame(kind);
      for (const std::byte each : input.bytes(move >> 2)) encoder.put(static_cast<u8>(each));
      frame = message::end_frame(encoder);
    }
    Task<> sending = peer.raw(std::move(frame));
    co_await ok(std::move(sending));
    if ((move & 3) == 3) continue;
    Task<FrameStream::Frame> receiving = peer.next();
    const FrameStream::Frame answer = co_await ok(std::move(receiving));
    CHECK(answer.kind == message::FrameKind::answer);
    CHECK(message::decode<message::Answer>(answer.body).has_value());
  }
  Task<> ending = peer.end({});
  co_return co_await std::move(ending);
}

// Made once: nothing that runs on it leaves anything.
struct Stage {
  sim::Scheduler scheduler{1};
  sim::Media media{64_MiB, 1};
  sim::Executor& sync = scheduler.make_executor();
  sim::Disk disk{media, sync};
  std::unique_ptr<pool::Pool> pool;
  FakeHost exports;
  FakeInterpreters interpreters{sync};
  Programs programs{interpreters, sync};

  Stage() {
    CHECK(run(pool::Pool::create({&sync, &disk}, {.name = "tank", .seed = 1})).has_value());
    auto opened = run(pool::Pool::open({{&sync, &disk}}, {.name = "tank", .cache_bytes = 1_MiB}));
    CHECK(opened.has_value());
    pool = std::move(*opened);
    Recital recital;
    recital.asks = {do_verb("create", {"tank/g"}),
                    do_verb("create", {"tank/v"}, {{"size", "1M"}}),
                    do_verb("create", {"tank/g/w"}, {{"size", "1M"}}),
                    do_verb("snapshot", {"tank/v@a"}),
                    do_verb("bookmark", {"tank/v@a", "#m"}),
                    do_verb("hold", {"tag", "tank/v@a"})};
    interpreters.script = recital.script();
    CHECK(program(true).error == 0);
  }
  template <class T>
  Result<T> run(Task<T> task) {
    return scheduler.run(sync, std::move(task));
  }
  Outcome program(bool may_sync) {
    Program what{.name = "fuzz", .source = "-", .arguments = {}, .sync = may_sync, .caller = "-"};
    auto outcome = run(programs.run(programs.next_id(), *pool, exports, std::move(what), nullptr));
    CHECK(outcome.has_value());
    return *std::move(outcome);
  }
};

// The catalog in a few numbers: cheap, and any change of a record changes it.
u64 sum_of(const pool::CatalogView& view) {
  u64 sum = 0;
  const auto mix = [&sum](u64 value) { sum = (sum ^ value) * 0x9e3779b97f4a7c15; };
  for (pool::DatasetId id : verb::subtree(view, view.root())) {
    const pool::Dataset& dataset = *view.dataset(id);
    mix(std::hash<std::string>()(full_name(view, id)));
    mix(raw(id) + dataset.properties.size() + dataset.exports.size() + dataset.volsize_bytes);
    for (pool::SnapshotId each : view.snapshots(id)) {
      const pool::Snapshot& snapshot = *view.snapshot(each);
      mix(raw(each) + snapshot.holds.size() + snapshot.properties.size() + snapshot.defer_destroy);
      mix(std::hash<std::string>()(snapshot.name));
    }
    mix(view.bookmarks(id).size());
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  static Stage* const stage = new Stage;
  Input input(std::as_bytes(std::span(data, size)));
  stage->interpreters.script = [&input](Peer& peer) { return play(input, peer); };
  const u64 before = sum_of(stage->pool->catalog());
  const Outcome outcome = stage->program(false);
  CHECK(outcome.effects.empty() && raw(outcome.txg) == 0);
  CHECK(stage->programs.views().empty());
  CHECK(sum_of(stage->pool->catalog()) == before);
  return 0;
}
