// After a recovery: which of the possible worlds is this one, and is it wholly that one?
#include <fmt/format.h>

#include "history.h"

namespace coppice::simtest {
namespace {

std::string difference(const std::map<std::string, std::string>& expected,
                       const std::map<std::string, std::string>& found) {
  for (const auto& [name, text] : expected) {
    const auto there = found.find(name);
    if (there == found.end()) return fmt::format("{} is missing ({})", name, text);
    if (there->second != text) {
      return fmt::format("{} is '{:.300}', expected '{:.300}'", name, there->second, text);
    }
  }
  for (const auto& [name, text] : found) {
    if (!expected.contains(name)) return fmt::format("{} should not exist ({:.300})", name, text);
  }
  return {};
}

}  // namespace

Task<> History::recognise() {
  if (possible_.empty()) co_return {};
  const auto found = subject_->list();
  std::string why;
  bool listed = false;
  for (World& world : possible_) {
    std::string difference_here = difference(world.list(), found);
    const bool lax = plan_.faults == FaultClass::lying && damaged_;  // It may be an older state.
    if (!difference_here.empty() && !lax) {
      if (why.empty()) why = difference_here;
      continue;
    }
    std::string contradiction;
    auto compared = co_await compare(world);
    if (!compared) co_return {};
    contradiction = *compared;
    if (contradiction.empty()) {
      world_ = std::move(world);
      possible_.clear();
      co_return {};
    }
    if (!listed) why = contradiction;
    listed = true;
  }
  wrong(fmt::format("recovery: none of {} possible states: {}", possible_.size(), why));
  co_return {};
}

Task<std::string> History::compare(World& world) {
  std::vector<u64> volumes, snapshots;
  for (const auto& [id, dataset] : world.datasets) {
    if (dataset.volume) volumes.push_back(id);
  }
  for (const auto& [id, snapshot] : world.snapshots) {
    if (world.datasets.at(snapshot.dataset).volume) snapshots.push_back(id);
  }
  for (const u64 id : volumes) {
    auto why = co_await compare_volume(world, id);
    if (why && !why->empty()) co_return *why;
  }
  for (const u64 id : snapshots) {
    auto why = co_await compare_snapshot(world, id);
    if (why && !why->empty()) co_return *why;
  }
  co_return std::string();
}

Task<std::string> History::compare_volume(World& world, u64 id) {
  Blocks& content = world.datasets.at(id).content;
  std::string name = world.path(id);
  auto opened = co_await subject_->open(name);
  if (!opened) {
    if (tolerates(opened.error())) co_return std::string();
    co_return fmt::format("opening {}: {}", name, describe(opened.error()));
  }
  blk::Device& device = (*opened)->device();
  std::string why;
  if (device.size_bytes() != content.size_bytes() && !damaged_) {
    why = fmt::format("{} has {} bytes, expected {}", name, device.size_bytes(),
                      content.size_bytes());
  }
  auto ranges = content.ranges();
  const u64 size_bytes = std::min(content.size_bytes(), device.size_bytes());
  const u64 anywhere = round_down(prng_.below(size_bytes), kBlock);
  ranges.emplace_back(anywhere, std::min<u64>(kBlock, size_bytes - anywhere));
  co_await rt::Hop(device.executor());
  std::vector<std::byte> bytes;
  for (const auto& [offset, length] : ranges) {
    if (!why.empty() || offset + length > size_bytes) break;
    bytes.assign(length, std::byte{0xee});
    const auto done = co_await device.read(offset, bytes);
    if (done) {
      why = content.pin(offset, bytes);
    } else if (!tolerates(done.error())) {
      why = fmt::format("reading {} at {}", describe(done.error()), offset);
    }
  }
  co_await rt::Hop(*sync_lane_);
  opened->reset();
  if (!why.empty()) why = fmt::format("{}: {}", name, why);
  co_return why;
}

Task<std::string> History::compare_snapshot(World& world, u64 id) {
  std::string name = world.snapshot_path(id);
  auto opened = co_await subject_->open(name);
  if (!opened) {
    if (tolerates(opened.error())) co_return std::string();
    co_return fmt::format("opening {}: {}", name, describe(opened.error()));
  }
  blk::Device& device = (*opened)->device();
  std::string why;
  if (device.size_bytes() != world.snapshots.at(id).size_bytes) why = "its size differs";
  const auto ranges = world.snapshots.at(id).content.ranges();
  co_await rt::Hop(device.executor());
  std::vector<std::byte> bytes;
  for (const auto& [offset, length] : ranges) {
    if (!why.empty()) break;
    bytes.assign(length, std::byte{0xee});
    const auto done = co_await device.read(offset, bytes);
    if (done) {  // Looked up anew: the world may have been replaced while this waited.
      Snapshot& snapshot = world.snapshots.at(id);
      why = snapshot.content.see(offset, bytes, world.cuts.at(snapshot.cut));
    } else if (!tolerates(done.error())) {
      why = fmt::format("reading {} at {}", describe(done.error()), offset);
    }
  }
  co_await rt::Hop(*sync_lane_);
  opened->reset();
  if (!why.empty()) why = fmt::format("{}: {}", name, why);
  co_return why;
}

}  // namespace coppice::simtest
