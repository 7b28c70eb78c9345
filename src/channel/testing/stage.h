// channel/testing/stage.h — Stage: a pool on a simulated disk on which programs are played.
#pragma once

#include <algorithm>
#include <map>

#include "channel/testing/fake_interpreter.h"
#include "pool/pool_bed.h"
#include "verb/names.h"
#include "verb/properties.h"

namespace coppice::channel {

class Stage {
 public:
  explicit Stage(u64 seed, Limits limits = {})
      : bed(seed), interpreters(bed.sync_lane()), limits_(limits) {
    start();
  }
  Stage(u64 seed, const sim::Media& media) : bed(seed, media), interpreters(bed.sync_lane()) {
    bed.open();
    start();
  }
  ~Stage() { stop(); }
  void start() { programs = std::make_unique<Programs>(interpreters, bed.sync_lane(), limits_); }
  void stop() {
    if (programs == nullptr) return;
    EXPECT_TRUE(bed.run(programs->close()));
    programs.reset();
  }
  Program program(bool sync = true) {
    return {.name = "test.lua",
            .source = "return 1",
            .arguments = {},
            .sync = sync,
            .caller = "uid=0, pid=1"};
  }
  Task<Outcome> start_run(Program what, Observer* observer = nullptr) {
    return programs->run(programs->next_id(), *bed.pool, exports, std::move(what), observer);
  }
  Outcome run(Script script, Program what, Observer* observer = nullptr) {
    interpreters.script = std::move(script);
    auto outcome = bed.run(start_run(std::move(what), observer));
    EXPECT_TRUE(outcome);
    return *std::move(outcome);
  }
  // Asks in order; the answers are in `recital` afterwards.
  Outcome play(std::vector<message::Ask> asks, bool sync = true, Observer* observer = nullptr) {
    recital = {};
    recital.asks = std::move(asks);
    return run(recital.script(), program(sync), observer);
  }
  // The value of one question, in a program of its own.
  message::Answer answer(message::Ask what) {
    std::vector<message::Ask> asks(1, std::move(what));
    play(std::move(asks), false);
    EXPECT_EQ(recital.answers.size(), 1U);
    return recital.answers.empty() ? message::Answer{} : recital.answers.front();
  }
  // Verbs that must succeed.
  void set_up(std::vector<message::Ask> asks) {
    const Outcome outcome = play(std::move(asks));
    ASSERT_EQ(outcome.error, 0) << outcome.message;
    for (size_t i = 0; i < recital.answers.size(); ++i)
      ASSERT_EQ(recital.answers[i].error, 0) << i << ": " << recital.answers[i].message;
  }
  std::vector<pool::HistoryRecord> history() {
    auto records = bed.run(bed.pool->history(0, 100'000));
    EXPECT_TRUE(records);
    return *std::move(records);
  }

  pool::Bed bed;
  FakeInterpreters interpreters;
  FakeHost exports;
  std::unique_ptr<Programs> programs;
  Recital recital;

 private:
  Limits limits_;
};

// All that administration can see: for comparing whole pools.
struct Image {
  std::map<u64, pool::Dataset> datasets;
  std::map<u64, pool::Snapshot> snapshots;
  std::map<u64, std::vector<std::string>> bookmarks;
  std::map<u64, std::vector<pool::SnapshotId>> order;
  friend bool operator==(const Image&, const Image&) = default;
};
inline Image image_of(const pool::CatalogView& view) {
  Image image;
  for (pool::DatasetId id : verb::subtree(view, view.root())) {
    image.datasets[raw(id)] = *view.dataset(id);
    image.order[raw(id)] = view.snapshots(id);
    for (pool::SnapshotId each : view.snapshots(id))
      image.snapshots[raw(each)] = *view.snapshot(each);
    image.bookmarks[raw(id)] = view.bookmarks(id);
  }
  return image;
}

}  // namespace coppice::channel
