// The workload's reads, writes, flushes, and looks into snapshots.
#include <fmt/format.h>

#include <algorithm>

#include "history.h"

namespace coppice::simtest {
namespace {

constexpr u64 kBigMax = 3_MiB;
constexpr u64 kBlocksPerVolumeMax = 3000;  // The model's; beyond it only small writes follow.
constexpr u64 kErrorsMax = 12;             // In one life; then it is no use going on.

}  // namespace

Task<> History::work(u64 steps) {
  for (u64 step = 0; step < steps && violation_.empty() && !life_failed_; ++step) {
    const u64 dice = prng_.below(100);
    if (dice < plan_.admin || pick_volume() == 0) {
      auto done = co_await start_admin();
      (void)done;
    } else {
      auto done = co_await start_request();
      (void)done;
    }
    while (requests_running_ + admin_.size() >= plan_.in_flight_max && !life_failed_ &&
           requests_running_ + admin_.size() > 0 && violation_.empty()) {
      co_await rt::sleep_for(*sync_lane_, 20'000);
    }
    if (prng_.chance(1, 4)) co_await rt::sleep_for(*sync_lane_, prng_.below(1'000'000));
  }
  co_return {};
}

u64 History::pick_volume() {
  std::vector<u64> volumes;
  for (const auto& [id, dataset] : world_.datasets) {
    if (dataset.volume) volumes.push_back(id);
  }
  return volumes.empty() ? 0 : volumes[prng_.below(volumes.size())];
}

Task<blk::Device*> History::device(u64 id) {
  const auto found = open_.find(id);
  if (found != open_.end()) co_return &found->second->device();
  std::string name = world_.path(id);
  auto opened = co_await ok(subject_->open(name));
  blk::Device* result = &opened->device();
  open_[id] = std::move(opened);
  co_return result;
}

Task<> History::start_request() {
  const u64 id = pick_volume();
  if (alone_ && !open_.contains(id)) co_return {};  // Its name may be changing.
  auto opened = co_await device(id);
  if (!opened) {
    failed("opening a volume", opened.error());
    co_return {};
  }
  blk::Device& volume = **opened;
  const u64 dice = prng_.below(100);
  u64 bound = plan_.reads;
  if (dice < bound) {
    const u64 snapshot = !alone_ && prng_.chance(1, 4) ? pick_snapshot_of_volume() : 0;
    const auto [offset, length] = pick_range(volume.size_bytes());
    if (snapshot != 0) {
      scope_->spawn(look_into_snapshot(snapshot));
    } else if (prng_.chance(1, 6)) {
      scope_->spawn(read_extents(id, volume));
    } else {
      scope_->spawn(read(id, volume, offset, length));
    }
  } else if (dice < (bound += plan_.flushes)) {
    if (prng_.chance(1, 8)) {
      scope_->spawn(sync());
    } else if (prng_.chance(1, 20)) {
      scope_->spawn(scrub());
    } else {
      scope_->spawn(flush(id, volume));
    }
  } else {
    start_change(id, volume);
  }
  co_return {};
}

void History::start_change(u64 id, blk::Device& volume) {
  const bool zero = prng_.below(100) < plan_.zeroes;
  const bool discard = zero && prng_.chance(1, 2);
  Change change;
  std::tie(change.offset, change.length) = pick_range(volume.size_bytes());
  if (zero && prng_.chance(1, 8)) {  // Huge: most of the volume.
    change.offset = prng_.below(volume.size_bytes());
    change.length = prng_.between(1, volume.size_bytes() - change.offset);
  }
  change.id = ++ids_;
  change.writes = zero ? 0 : change.id;
  change.fua = prng_.below(100) < plan_.fua;
  blk::WriteOptions options;
  options.fua = change.fua;
  options.no_hole = zero && !discard && change.length < 1_MiB && prng_.chance(1, 3);
  scope_->spawn(this->change(id, volume, change, options, discard));
}

// Most of it near the start, so that requests meet; some of it anywhere.
std::pair<u64, u64> History::pick_range(u64 size_bytes) {
  const u64 blocks = size_bytes / kBlock;
  u64 block = prng_.below(std::min(blocks, plan_.hot_blocks));
  if (prng_.chance(1, 12)) block = prng_.below(blocks);
  if (prng_.chance(1, 40)) block = blocks - 1;
  u64 offset = block * kBlock;
  u64 length = kBlock;
  const u64 shape = prng_.below(10);
  if (prng_.below(1000) < plan_.big) {
    length = prng_.between(64_KiB, kBigMax);
    if (prng_.chance(1, 2)) length = round_down(length, kBlock);
  } else if (shape < 3) {
    length = kBlock * prng_.between(1, 16);
  } else if (shape < 6) {
    offset += prng_.below(kBlock);
    length = prng_.chance(1, 2) ? prng_.between(1, 600) : prng_.between(1, 20'000);
  } else if (shape == 6) {
    offset += 512 * prng_.below(8);
    length = 512 * prng_.between(1, 16);
  }
  return {offset, std::min(length, size_bytes - offset)};
}

void History::failed(const char* what, const Error& error) {
  note(fmt::format("{}: {}", what, describe(error)));
  ++counts_.errors;
  if (!tolerates(error)) wrong(fmt::format("{} failed: {}", what, describe(error)));
  if (error.code != Errc::no_space && ++errors_ > kErrorsMax) life_failed_ = true;
}

Task<> History::change(u64 id, blk::Device& device, Change change, blk::WriteOptions options,
                       bool discard) {
  ++requests_running_;
  co_await rt::sleep_for(device.executor(), prng_.below(500));  // As a socket's completion arrives.
  Blocks& content = world_.datasets.at(id).content;
  const bool full = content.ranges().size() > kBlocksPerVolumeMax / 4;
  if (content.crowded(change.offset, change.length) || full) {
    co_await rt::Hop(*sync_lane_);
    --requests_running_;
    co_return {};
  }
  const char* what = change.writes != 0 ? "write" : discard ? "discard" : "zero";
  note(fmt::format("{} {} of volume {} at {} length {}{}", what, change.id, id, change.offset,
                   change.length, change.fua ? " FUA" : ""));
  change.begun = tick();
  content.begin(change);
  Result<> done;
  if (change.writes != 0) {
    std::vector<std::byte> bytes(change.length);
    put_bytes(change.writes, change.offset, bytes);
    auto outcome = co_await device.write(change.offset, bytes, options);
    done = std::move(outcome);
  } else if (discard) {
    auto outcome = co_await device.discard(change.offset, change.length, options);
    done = std::move(outcome);
  } else {
    auto outcome = co_await device.zero(change.offset, change.length, options);
    done = std::move(outcome);
  }
  ++counts_.writes;
  world_.datasets.at(id).content.end(change.id, done.has_value(), tick());
  note(fmt::format("{} {} {}", what, change.id, done ? "done" : "failed"));
  co_await rt::sleep_for(*sync_lane_, 1);
  --requests_running_;
  if (!done) failed(what, done.error());
  co_return {};
}

// A client that writes one small piece after another, now to this volume, now to that: what makes
// one point in time of several volumes worth something.
Task<> History::write_in_turns(std::vector<std::pair<u64, blk::Device*>> volumes, u64 count) {
  ++requests_running_;
  for (u64 each = 0; each < count && !life_failed_ && violation_.empty(); ++each) {
    const auto& [id, device] = volumes[each % volumes.size()];
    Change change;
    change.offset = kBlock * prng_.below(std::min<u64>(device->size_bytes() / kBlock, 8));
    change.length = kBlock;
    change.id = ++ids_;
    change.writes = change.id;
    blk::WriteOptions options;
    auto done = co_await this->change(id, *device, change, options, false);
    (void)done;
  }
  --requests_running_;
  co_return {};
}

// A few such clients, while snapshots are about to be taken.
Task<> History::start_turns() {
  std::vector<u64> ids;
  for (const auto& [id, dataset] : world_.datasets) {
    if (dataset.volume) ids.push_back(id);
  }
  if (ids.size() < 2) co_return {};
  std::vector<std::pair<u64, blk::Device*>> volumes;
  for (const u64 id : ids) {
    auto opened = co_await device(id);
    if (!opened) co_return {};
    volumes.emplace_back(id, *opened);
  }
  for (u64 client = prng_.between(1, 3); client > 0; --client) {
    std::rotate(volumes.begin(), volumes.begin() + 1, volumes.end());
    scope_->spawn(write_in_turns(volumes, prng_.between(6, 40)));
  }
  co_await rt::sleep_for(*sync_lane_, prng_.below(30'000));
  co_return {};
}

Task<> History::read(u64 id, blk::Device& device, u64 offset, u64 length) {
  ++requests_running_;
  co_await rt::Hop(device.executor());
  const Stamp since = tick();
  watching_.insert(since);
  std::vector<std::byte> bytes(length, std::byte{0xee});
  auto done = co_await device.read(offset, bytes);
  ++counts_.reads;
  if (done) {
    std::string why = world_.datasets.at(id).content.see(offset, bytes, since, tick());
    if (!why.empty()) wrong(fmt::format("volume {}: {}", id, why));
  }
  watching_.erase(watching_.find(since));
  note(fmt::format("read of volume {} at {} length {} since {}", id, offset, length, since));
  co_await rt::Hop(*sync_lane_);
  --requests_running_;
  if (!done) failed("read", done.error());
  co_return {};
}

// What is said to be a hole, or zeroes, must read as such; and the answer must have no gaps.
Task<> History::read_extents(u64 id, blk::Device& device) {
  ++requests_running_;
  co_await rt::Hop(device.executor());
  const Stamp since = tick();
  watching_.insert(since);
  const auto range = pick_range(device.size_bytes());
  const size_t count_max = prng_.between(1, 50);
  u64 offset = range.first;
  const u64 length = prng_.chance(1, 2) ? device.size_bytes() - offset : range.second;
  auto found = co_await device.extents(offset, length, count_max);
  if (found) {
    const u64 end = offset + length;
    if (found->empty() || found->size() > count_max) wrong("extents: none, or too many");
    for (const blk::Extent& extent : *found) {
      const bool sound =
          extent.offset == offset && extent.length > 0 && extent.length <= end - offset;
      if (!sound)
        wrong(fmt::format("extents: {}+{} does not follow at {}", extent.offset, extent.length,
                          offset));
      if (!sound) break;
      const Blocks& content = world_.datasets.at(id).content;
      if ((extent.hole || extent.zero) &&
          !content.may_be_zero(extent.offset, extent.length, since)) {
        wrong(fmt::format("extents of volume {}: {}+{} is no hole", id, extent.offset,
                          extent.length));
      }
      offset += extent.length;
    }
  }
  watching_.erase(watching_.find(since));
  co_await rt::Hop(*sync_lane_);
  --requests_running_;
  if (!found) failed("extents", found.error());
  co_return {};
}

Task<> History::flush(u64 id, blk::Device& device) {
  ++requests_running_;
  co_await rt::Hop(device.executor());
  const Stamp since = tick();
  note(fmt::format("flush of volume {}", id));
  auto done = co_await device.flush();
  ++counts_.flushes;
  if (done) world_.datasets.at(id).content.durable(since, floor());
  note(fmt::format("flush of volume {} since {} {}", id, since, done ? "done" : "failed"));
  co_await rt::Hop(*sync_lane_);
  --requests_running_;
  if (!done) failed("flush", done.error());
  co_return {};
}

Task<> History::sync() {
  ++requests_running_;
  const Stamp since = tick();
  auto done = co_await subject_->sync();
  if (done) {
    for (auto& [id, dataset] : world_.datasets) dataset.content.durable(since, floor());
  }
  note(fmt::format("sync since {} {}", since, done ? "done" : "failed"));
  --requests_running_;
  if (!done) failed("sync", done.error());
  co_return {};
}

Task<> History::scrub() {
  ++requests_running_;
  auto done = co_await subject_->scrub();
  note(fmt::format("scrub {}", done ? "done" : "failed"));
  --requests_running_;
  if (!done && done.error().code != Errc::busy) failed("scrub", done.error());
  co_return {};
}

u64 History::pick_snapshot_of_volume() {
  std::vector<u64> found;
  for (const auto& [id, snapshot] : world_.snapshots) {
    if (world_.datasets.at(snapshot.dataset).volume) found.push_back(id);
  }
  return found.empty() ? 0 : found[prng_.below(found.size())];
}

Task<> History::look_into_snapshot(u64 id) {
  ++requests_running_;
  auto why = co_await compare_snapshot(world_, id);
  note(fmt::format("looked into snapshot {}", id));
  if (why && !why->empty()) wrong(*why);
  ++counts_.reads;
  --requests_running_;
  co_return {};
}

}  // namespace coppice::simtest
