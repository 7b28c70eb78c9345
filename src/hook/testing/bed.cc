#include "hook/testing/bed.h"

#include <algorithm>

namespace coppice::hook::testing {

Task<> MemoryVolume::arrive() {
  const u64 number = ++requests;
  if (takes_ns_max > 0)
    co_await rt::sleep_for(executor_, number * 0x9e3779b97f4a7c15 % takes_ns_max);
  if (fails) co_return fail(Errc::no_space, "serve a request of a test");
  co_return {};
}

Task<> MemoryVolume::read(u64 offset, std::span<std::byte> into) {
  co_await ok(arrive());
  CHECK(offset + into.size() <= bytes_.size());
  std::memcpy(into.data(), bytes_.data() + offset, into.size());
  co_return {};
}

Task<> MemoryVolume::write(u64 offset, std::span<const std::byte> from, blk::WriteOptions options) {
  last = options;
  co_await ok(arrive());
  CHECK(offset + from.size() <= bytes_.size());
  std::memcpy(bytes_.data() + offset, from.data(), from.size());
  co_return {};
}

Task<> MemoryVolume::zero(u64 offset, u64 length, blk::WriteOptions options) {
  last = options;
  co_await ok(arrive());
  std::memset(bytes_.data() + offset, 0, length);
  co_return {};
}

Task<> MemoryVolume::discard(u64 offset, u64 length, blk::WriteOptions options) {
  return zero(offset, length, options);
}

Task<> MemoryVolume::flush() { return arrive(); }

Task<std::vector<blk::Extent>> MemoryVolume::extents(u64 offset, u64 length, size_t) {
  co_return std::vector<blk::Extent>{
      {.offset = offset, .length = length, .hole = true, .zero = true}};
}

Task<> MemoryVolume::prefetch(u64, u64) { co_return {}; }

std::vector<Target> Family::path_of(const Target& of) const {
  std::vector<Target> path;
  for (auto at = parents.find(of.dataset); at != parents.end(); at = parents.find(at->second))
    path.push_back({.pool = of.pool, .dataset = at->first});
  std::ranges::reverse(path);
  return path;
}

Link link_of(Table& table, Order order) {
  Link link;
  link.id = table.next_id();
  link.point = {.target = order.target, .type = order.type};
  link.instance = std::move(order.instance);
  link.program = std::move(order.program);
  link.options = std::move(order.options);
  link.redirects = std::move(order.redirects);
  link.counters = std::make_shared<Counters>(table.slots());
  return link;
}

Bed::Bed(Workshop& workshop, u64 seed, u32 lane_count) : scheduler_(seed), workshop_(workshop) {
  std::vector<Lane*> lanes;
  for (u32 slot = 0; slot < lane_count; ++slot) {
    lanes_.push_back(std::make_unique<Lane>(scheduler_.make_executor(), dispatch_, slot,
                                            [this](std::string_view line) {
                                              logged_.emplace_back(line);
                                              when_logged();
                                            }));
    lanes.push_back(lanes_.back().get());
  }
  table_ = std::make_unique<Table>(std::move(lanes), dispatch_, family_, 1);
  lane().bind_thread();
  trace::set_sink(&sink_);
}

Bed::~Bed() {
  CHECK(run(table_->close()).has_value());
  trace::set_sink(nullptr);
}

LinkId Bed::attach(Order order, Place place) {
  Draft draft = table_->draft();
  Link link = link_of(*table_, std::move(order));
  const LinkId id = link.id;
  CHECK(draft.add(std::move(link), place).has_value());
  CHECK(table_->publish(std::move(draft)).has_value());
  return id;
}

void Bed::detach(LinkId id) {
  Draft draft = table_->draft();
  draft.remove(id);
  CHECK(table_->publish(std::move(draft)).has_value());
}

Bed::Scripted Bed::decide(const Script& script, u64 target, Order order, Place place) {
  auto instance = workshop_.get("scripted");
  set_value(*instance, "script", script);
  order.target = dataset(target);
  order.type = &workshop_.type("volume.submit");
  order.instance = instance;
  order.program = "decide";
  return {.id = attach(std::move(order), place), .instance = instance};
}

}  // namespace coppice::hook::testing
