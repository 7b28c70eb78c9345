// The intent log's writing side; see the Theory in pool/lane.h.
#include <algorithm>

#include "base/crc32c.h"
#include "io/aligned.h"
#include "pool/lane.h"
#include "pool/mutant.h"
#include "pool/overlay.h"
#include "pool/volume.h"
#include "trace/point.h"

namespace coppice::pool {

struct IoLane::Collected {
  DatasetId volume{};
  Txg group{};
  Overlay::Unlogged unlogged;
  std::vector<Placed> placed;
};

Task<> IoLane::start_log(u64 first_sequence, Txg open) {
  open_ = open;
  Task<Run> taking = space_.take_for_log(1);
  const Run run = co_await ok(std::move(taking));
  log_next_ = {run.start, first_sequence};
  log_at_flip_ = log_next_;
  co_return {};
}

Task<> IoLane::log_settled() {
  const u64 ticket = log_ticket_;
  while (log_settled_ < ticket) co_await log_event_.wait();
  co_return {};
}

Task<> IoLane::flush(Volume& volume) {
  if (shared_.failed) co_return fail(Errc::io, "flush a volume of a failed pool");
  u64 ticket = log_ticket_;  // What is not listed any more is in this record, if not durable yet.
  Overlay* closing = volume.closing();
  if (volume.open().has_unlogged() || (closing && closing->has_unlogged())) {
    ticket = log_ticket_ + 1;
    if (std::find(log_waiting_.begin(), log_waiting_.end(), &volume) == log_waiting_.end())
      log_waiting_.push_back(&volume);
    if (!std::exchange(log_running_, true)) background_.spawn(run_log());
  }
  while (log_done_ < ticket) co_await log_event_.wait();
  co_return log_result_;
}

Task<> IoLane::run_log() {
  while (!log_waiting_.empty()) {
    Task<> logging = log_once();
    Result<> logged = co_await std::move(logging);
    if (!logged) {
      log_result_ = logged;
      log_waiting_.clear();
      ++log_ticket_;  // Those who came meanwhile wait for a record that will never be.
      control_.fail_pool(logged.error());
    }
    log_settled_ = log_done_ = log_ticket_;
    log_event_.pulse();
  }
  log_running_ = false;
  retire_idle();
  co_return {};
}

namespace {

// Neighbours in the volume and on the device share an extent.
std::vector<LogExtent> log_extents(std::vector<std::pair<u64, std::pair<BlockAddr, u32>>> blocks) {
  std::sort(blocks.begin(), blocks.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<LogExtent> extents;
  for (const auto& [lba, place] : blocks) {
    if (!extents.empty()) {
      LogExtent& last = extents.back();
      if (last.lba + last.crcs.size() == lba && last.addr + last.crcs.size() == place.first &&
          last.crcs.size() < kLogExtentBlocksMax) {
        last.crcs.push_back(place.second);
        continue;
      }
    }
    extents.push_back({lba, place.first, {place.second}});
  }
  return extents;
}

}  // namespace

// Takes what the volumes have unlogged, and sees to it that its data is on the device.
Task<> IoLane::collect(std::vector<Volume*> volumes, std::vector<Collected>& collected) {
  for (Volume* volume : volumes) {
    if (Overlay* closing = volume->closing(); closing && closing->has_unlogged()) {
      CHECK(volume->closing_written);
      collected.push_back({volume->id(), Txg(raw(open_) - 1), closing->take_unlogged(), {}});
    }
    if (volume->open().has_unlogged())
      collected.push_back({volume->id(), open_, volume->open().take_unlogged(), {}});
  }
  for (Collected& each : collected) {
    std::vector<DirtyBlock*> fresh;
    for (DirtyBlock* block : each.unlogged.blocks) {
      if (raw(block->addr) == 0) {
        fresh.push_back(block);
      } else {
        each.placed.push_back({block, block->lba, block->addr, block->crc});
      }
    }
    std::sort(fresh.begin(), fresh.end(),
              [](const DirtyBlock* a, const DirtyBlock* b) { return a->lba < b->lba; });
    Task<> writing = write_blocks(std::move(fresh), each.group, each.placed);
    co_await ok(std::move(writing));
    // A block zeroed away before it was written: the zero is what must not be lost now.
    for (const DirtyBlock* block : each.unlogged.blocks)
      if (!block->alive) each.unlogged.zeroed.push_back({block->lba, block->lba + 1});
  }
  co_return {};
}

Task<> IoLane::log_once() {
  const auto unwritten = [](Volume* volume) {
    return volume->closing() && !volume->closing_written;
  };
  while (!shared_.failed && std::any_of(log_waiting_.begin(), log_waiting_.end(), unwritten))
    co_await written_.wait();
  ++log_ticket_;
  if (trace::on(trace::Point::log_begin)) [[unlikely]]
    trace::fire(trace::Point::log_begin, {this, log_ticket_});
  if (shared_.failed) co_return fail(Errc::io, "write the intent log of a failed pool");
  std::vector<Collected> collected;
  Task<> collecting = collect(std::exchange(log_waiting_, {}), collected);
  co_await ok(std::move(collecting));

  std::vector<LogSection> sections;
  for (Collected& each : collected) {
    std::vector<std::pair<u64, std::pair<BlockAddr, u32>>> blocks;
    for (const Placed& placed : each.placed)
      blocks.push_back({placed.lba, {placed.addr, placed.crc}});
    sections.push_back(
        {each.volume, each.group, std::move(each.unlogged.zeroed), log_extents(std::move(blocks))});
  }
  const std::vector<std::byte> payload = encode_sections(sections);
  bool written = false;
  if (payload.size() <= kLogPayloadMax) {
    Task<bool> writing = write_record(payload);
    written = co_await ok(std::move(writing));
  }
  if (!written) {  // Too much for a record: commit the group, which must not wait for us.
    log_settled_ = log_ticket_;
    log_event_.pulse();
    Task<> waiting = control_.wait_for_group(executor());
    co_return co_await std::move(waiting);
  }
  if (!mutant(Mutant::skip_flush_of_log)) {
    Task<> flushing = disk().flush();
    co_await ok(std::move(flushing));
  }
  // Another lane's flush may have failed after our writes, and swallowed them.
  if (shared_.failed) co_return fail(Errc::io, "write the intent log of a failed pool");
  for (const Collected& each : collected)
    for (const Placed& placed : each.placed)
      if (placed.block->alive && placed.block->addr == placed.addr) placed.block->logged = true;
  co_return {};
}

Task<bool> IoLane::write_record(std::span<const std::byte> payload) {
  Task<Run> taking = space_.take_for_log(1);
  const Run following = co_await ok(std::move(taking));
  LogHeader header{.pool_guid = config_.pool_guid,
                   .lane = config_.index,
                   .sequence = log_next_.sequence,
                   .next = following.start,
                   .payload = {},
                   .payload_blocks = 0,
                   .payload_bytes = static_cast<u32>(payload.size()),
                   .payload_crc = crc32c(payload)};
  const bool spilled = payload.size() > kBlock - kLogHeaderBytes;
  const u32 blocks = spilled ? static_cast<u32>(divide_up(payload.size(), kBlock)) : 0;
  Run run{};
  if (spilled) {
    Task<Run> spilling = space_.take_for_log(blocks);
    run = co_await ok(std::move(spilling));
    space_.adopt_for_log(open_, run);
    if (run.count < blocks) {  // Free space is in shreds.
      space_.adopt_for_log(open_, following);
      co_return false;
    }
    header.payload = run.start;
    header.payload_blocks = blocks;
  }
  AlignedBuffer bytes((1 + blocks) * kBlock);
  std::memset(bytes.data(), 0, bytes.size());
  const auto inlined = spilled ? std::span<const std::byte>{} : payload;
  encode_log_header(header, inlined, bytes.span().first(kBlock));
  if (spilled) std::memcpy(bytes.data() + kBlock, payload.data(), payload.size());
  // Now, in one step: the record's block belongs to the open group, and the next record has its
  // place.
  const BlockAddr at = log_next_.addr;
  if (mutant(Mutant::log_reuses_live_block)) {
    space_.adopt(open_, {at, 1});
    space_.untake({at, 1}, open_);
  } else {
    space_.adopt_for_log(open_, {at, 1});
  }
  log_next_ = {following.start, log_next_.sequence + 1};
  if (spilled) {
    const std::span<const std::byte> body = bytes.span().subspan(kBlock);
    Task<> writing = disk().write(byte_offset(run.start), io::Disk::Parts(&body, 1));
    co_await ok(std::move(writing));
  }
  const std::span<const std::byte> head = bytes.span().first(kBlock);
  Task<> writing = disk().write(byte_offset(at), io::Disk::Parts(&head, 1));
  co_await ok(std::move(writing));
  ++shared_.log_records;
  if (trace::on(trace::Point::log_written)) [[unlikely]]
    trace::fire(trace::Point::log_written, {this, header.sequence, raw(at), payload.size()});
  co_return true;
}

}  // namespace coppice::pool
