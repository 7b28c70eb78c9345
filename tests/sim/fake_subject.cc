#include "fake_subject.h"

#include <cstring>

namespace coppice::simtest {

// A volume, or a snapshot (then nothing is ever written).
class FakeDevice final : public blk::Device, public Opened {
 public:
  FakeDevice(FakeMaker& maker, rt::Executor& lane, u64 id, u64 size_bytes)
      : maker_(maker), lane_(lane), id_(id), size_bytes_(size_bytes) {}
  blk::Device& device() override { return *this; }
  rt::Executor& executor() override { return lane_; }
  u64 size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return false; }

  Task<> read(u64 offset, std::span<std::byte> into) override {
    co_await pause();
    for (size_t done = 0; done < into.size();) {
      const u64 at = offset + done;
      const size_t count = std::min<size_t>(kBlock - at % kBlock, into.size() - done);
      const auto& map = maker_.live_.content[id_];
      const auto found = map.find(at / kBlock);
      if (found == map.end()) {
        std::memset(&into[done], 0, count);
      } else {
        std::memcpy(&into[done], &found->second[at % kBlock], count);
      }
      const auto old = previous_.find(at / kBlock);
      if (maker_.bug_ == FakeBug::old_reads && old != previous_.end() &&
          maker_.prng_.chance(1, 4)) {
        std::memcpy(&into[done], &old->second[at % kBlock], count);
      }
      done += count;
      if (maker_.prng_.chance(1, 8)) co_await pause();
    }
    co_await pause();
    co_return {};
  }

  Task<> write(u64 offset, std::span<const std::byte> from, blk::WriteOptions options) override {
    co_await pause();
    for (size_t done = 0; done < from.size();) {
      const u64 at = offset + done;
      const size_t count = std::min<size_t>(kBlock - at % kBlock, from.size() - done);
      if (maker_.bug_ == FakeBug::write_tears_block && count == kBlock) {
        std::memcpy(&touch(at / kBlock)[0], &from[done], kBlock / 2);
        co_await pause();
      }
      auto& block = touch(at / kBlock);
      if (maker_.bug_ == FakeBug::neighbour_lost && count < kBlock) block.fill(std::byte{0});
      std::memcpy(&block[at % kBlock], &from[done], count);
      done += count;
      if (maker_.prng_.chance(1, 8)) co_await pause();
    }
    co_await finish(offset, from.size(), options);
    co_return {};
  }
  Task<> zero(u64 offset, u64 length, blk::WriteOptions options) override {
    co_await pause();
    auto& map = maker_.live_.content[id_];
    std::vector<u64> indices;
    for (auto each = map.lower_bound(offset / kBlock);
         each != map.end() && each->first * kBlock < offset + length; ++each) {
      indices.push_back(each->first);
    }
    for (const u64 index : indices) {
      const u64 begin = std::max(offset, index * kBlock);
      const u64 end = std::min(offset + length, (index + 1) * kBlock);
      std::memset(&touch(index)[begin % kBlock], 0, end - begin);
      if (maker_.prng_.chance(1, 8)) co_await pause();
    }
    co_await finish(offset, length, options);
    co_return {};
  }
  Task<> discard(u64 offset, u64 length, blk::WriteOptions options) override {
    return zero(offset, length, options);
  }
  Task<> flush() override {
    co_await pause();
    FakeMaker::Map map = maker_.live_.content[id_];
    if (maker_.bug_ == FakeBug::flush_forgets_blocks && !map.empty()) {
      const auto& old = maker_.durable_.content[id_];
      const u64 index = map.begin()->first;
      map.erase(index);
      if (old.contains(index)) map[index] = old.at(index);
    }
    maker_.durable_.content[id_] = std::move(map);
    co_await pause();
    co_return {};
  }
  Task<std::vector<blk::Extent>> extents(u64 offset, u64 length, size_t) override {
    blk::Extent extent{offset, length, false, false};
    co_return std::vector<blk::Extent>{extent};
  }
  Task<> prefetch(u64, u64) override { co_return {}; }

 private:
  rt::Sleep pause() { return rt::sleep_for(lane_, maker_.prng_.below(100'000)); }
  FakeMaker::Bytes& touch(u64 index) {
    auto& block = maker_.live_.content[id_][index];
    previous_[index] = block;
    return block;
  }
  Task<> finish(u64 offset, u64 length, blk::WriteOptions options) {
    if (options.fua && maker_.bug_ != FakeBug::fua_ignored) {
      FakeMaker::copy_blocks(maker_.live_.content[id_], maker_.durable_.content[id_],
                             offset / kBlock, (offset + length - 1) / kBlock);
    }
    co_await pause();
    co_return {};
  }
  FakeMaker& maker_;
  rt::Executor& lane_;
  u64 id_;
  u64 size_bytes_;
  std::map<u64, FakeMaker::Bytes> previous_;
};

class FakeSubject final : public Subject {
 public:
  FakeSubject(FakeMaker& maker, std::vector<LaneView> lanes)
      : maker_(maker), lanes_(std::move(lanes)) {}

  Task<> close() override {
    maker_.durable_ = maker_.live_;
    co_return {};
  }

  Task<AdminAnswer> admin(std::vector<AdminOp> ops) override {
    co_await pause();
    FakeMaker::State trial = maker_.live_;
    std::swap(trial, maker_.live_);        // Works on the live one; `trial` is the way back.
    const Stamp asked = ++maker_.moment_;  // Rollback asks bookmarks for their age.
    for (const AdminOp& op : ops) {
      std::string why = maker_.live_.names.apply(op, asked, asked + 1);
      if (why.empty()) why = carry_out(op);
      if (!why.empty()) {
        maker_.live_ = std::move(trial);
        co_return AdminAnswer{.error = Errc::invalid, .why = why};
      }
      if (maker_.bug_ == FakeBug::batch_half_done) commit();
    }
    if (maker_.bug_ == FakeBug::snapshot_at_two_moments && ops[0].verb == Verb::snapshot) {
      co_await pause();
      co_await pause();
      for (const auto& [id, snapshot] : maker_.live_.names.snapshots) {
        const bool last = id == maker_.live_.names.snapshots.rbegin()->first;
        if (last) maker_.live_.content[id] = maker_.live_.content[snapshot.dataset];
      }
    }
    if (maker_.bug_ != FakeBug::admin_forgotten || maker_.prng_.chance(1, 2)) commit();
    co_await pause();
    co_return AdminAnswer{.done = true, .why = {}};
  }

  std::map<std::string, std::string> list() override { return maker_.live_.names.list(); }

  Task<std::unique_ptr<Opened>> open(std::string name) override {
    const World& names = maker_.live_.names;
    u64 id = names.find_snapshot(name);
    u64 size_bytes = 0;
    u64 volume = 0;
    if (id != 0) {
      size_bytes = names.snapshots.at(id).size_bytes;
      volume = names.snapshots.at(id).dataset;
      if (maker_.bug_ == FakeBug::snapshot_follows_volume) id = volume;
    } else {
      volume = id = names.find_dataset(name);
      if (id == 0) co_return fail(Errc::not_found, "opening", name);
      size_bytes = names.datasets.at(id).content.size_bytes();
    }
    rt::Executor& lane = *lanes_[volume % lanes_.size()].executor;
    co_await pause();
    co_return std::make_unique<FakeDevice>(maker_, lane, id, size_bytes);
  }
  Task<> sync() override {
    co_await pause();
    commit();
    co_await pause();
    co_return {};
  }
  Task<> scrub() override { co_return {}; }
  Task<> wait_for_jobs() override { co_return {}; }
  Task<std::vector<std::string>> check() override { co_return std::vector<std::string>(); }
  Task<Space> space() override { co_return Space{}; }

 private:
  rt::Sleep pause() { return rt::sleep_for(*lanes_[0].executor, maker_.prng_.below(100'000)); }
  void commit() { maker_.durable_ = maker_.live_; }
  std::string carry_out(const AdminOp& op) {
    maker_.follow();
    World& names = maker_.live_.names;
    if (op.verb == Verb::rollback) {
      const u64 snapshot = names.find_snapshot(op.names[0]);
      auto content = maker_.live_.content[snapshot];
      auto& target = maker_.live_.content[names.snapshots.at(snapshot).dataset];
      if (maker_.bug_ == FakeBug::rollback_partial && !target.empty()) {
        content[target.begin()->first] = target.begin()->second;
      }
      target = std::move(content);
    }
    if (op.verb == Verb::resize && maker_.bug_ != FakeBug::resize_keeps_tail) {
      auto& map = maker_.live_.content[names.find_dataset(op.names[0])];
      map.erase(map.lower_bound(divide_up(op.size, kBlock)), map.end());
    }
    return {};
  }
  FakeMaker& maker_;
  std::vector<LaneView> lanes_;
};

void FakeMaker::follow() {
  State& state = live_;
  std::erase_if(state.content, [&](const auto& entry) {
    return !state.names.datasets.contains(entry.first) &&
           !state.names.snapshots.contains(entry.first);
  });
  for (const auto& [id, snapshot] : state.names.snapshots) {
    if (!state.content.contains(id)) state.content[id] = state.content[snapshot.dataset];
  }
  for (const auto& [id, dataset] : state.names.datasets) {
    if (!state.content.contains(id) && dataset.origin != 0) {
      state.content[id] = state.content[dataset.origin];
    }
  }
}

void FakeMaker::copy_blocks(const Map& from, Map& to, u64 first, u64 last) {
  to.erase(to.lower_bound(first), to.upper_bound(last));
  to.insert(from.lower_bound(first), from.upper_bound(last));
}

Task<> FakeMaker::create(LaneView, std::string, u64) { co_return {}; }

Task<std::unique_ptr<Subject>> FakeMaker::open(std::vector<LaneView> lanes, SubjectOptions) {
  co_await rt::sleep_for(*lanes[0].executor, 1000);
  co_return std::make_unique<FakeSubject>(*this, lanes);
}

// Of what was not durable, any block may have become so.
void FakeMaker::crash() {
  for (auto& [id, map] : durable_.content) {
    for (const auto& [index, bytes] : live_.content[id]) {
      if (durable_.names.datasets.contains(id) && live_.names.datasets.contains(id) &&
          prng_.chance(1, 2) &&
          index * kBlock < durable_.names.datasets.at(id).content.size_bytes()) {
        map[index] = bytes;
      }
    }
  }
  live_ = durable_;
}

}  // namespace coppice::simtest
