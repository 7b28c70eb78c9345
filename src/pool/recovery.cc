// Making a pool, and opening one: from the uberblock to a running engine, the intent log replayed.
//
// Theory. Everything the log points at is claimed from the Space before anything else can be handed
// out. A record counts if its header, its payload and, for groups the uberblock does not hold yet,
// its data check out. A bad record was never acknowledged, unless the next one is there: records
// follow one another only when durable. Then it is the device that lost it, and the blocks are
// kept, to answer EIO rather than old data. The first group after opening commits what was
// replayed; until then the log stays as it is, so that a crash in between finds the same log again.
#include <algorithm>

#include "base/crc32c.h"
#include "io/aligned.h"
#include "pool/catalog_codec.h"
#include "pool/engine.h"
#include "pool/events.h"
#include "pool/volume.h"

namespace coppice::pool {
namespace {

constexpr u64 kSequenceShift = 24;  // Records of one run of the daemon stay far below 2^24 a group.
constexpr u64 kRecordsMax = u64{1} << 32;  // Of one chain: a bound, not a size.

// An earlier pool's uberblocks must not win over the new one's; its bitmaps and log bear another
// guid.
Task<> wipe_label(io::Disk& disk) {
  AlignedBuffer label(kLabelBlocks * kBlock);
  std::memset(label.data(), 0, label.size());
  const std::span<const std::byte> part = label.span();
  Task<> writing = disk.write(0, io::Disk::Parts(&part, 1));
  co_await ok(std::move(writing));
  Task<> flushing = disk.flush();
  co_return co_await std::move(flushing);
}

Task<std::vector<Run>> take_from(Space& space, u64 blocks) { co_return space.take(blocks); }

}  // namespace

Task<> make_pool(Lane sync, Pool::CreateOptions options, u64 device_blocks) {
  Task<> wiping = wipe_label(*sync.disk);
  co_await ok(std::move(wiping));
  const u64 guid = options.seed * 0x9E3779B97F4A7C15u + 1;
  std::unique_ptr<Space> space = Space::make(device_blocks, guid);
  std::unique_ptr<Catalog> catalog = Catalog::make(options.name, guid, options.now_s);
  const std::vector<Catalog::StoredChange> stored = catalog->take_changes();
  const std::vector<Change> changes = tree_changes(stored);
  Uberblock uberblock;
  uberblock.guid = guid;
  uberblock.txg = Txg{1};
  uberblock.time_s = options.now_s;
  uberblock.device_blocks = device_blocks;
  uberblock.name = options.name;
  NodeStore nodes(*sync.executor, *sync.disk, kNodeBytesMax * 64);
  LaneSpace allocator([&](u64 blocks) { return take_from(*space, blocks); });
  NodeWriter writer(nodes, allocator, uberblock.txg);
  std::vector<NodePtr> dropped;
  Task<NodePtr> merging = merge(nodes, writer, NodePtr{}, changes, dropped);
  Result<NodePtr> root = co_await std::move(merging);
  Task<> finishing = writer.finish();
  Result<> finished = co_await std::move(finishing);
  Task<> draining = allocator.drain();
  (void)co_await std::move(draining);
  if (!root) co_return std::unexpected(root.error());
  if (!finished) co_return std::move(finished);
  uberblock.catalog = *root;
  uberblock.metadata_blocks = writer.blocks_written();
  for (const Run& run : allocator.report(uberblock.txg).used) space->use(run);
  Task<u64> bitmaps = space->write(*sync.disk, uberblock.txg);
  uberblock.space_sum = co_await ok(std::move(bitmaps));
  Task<> flushing = sync.disk->flush();
  co_await ok(std::move(flushing));
  Task<> naming = write_uberblock(*sync.disk, uberblock);
  co_await ok(std::move(naming));
  Task<> settling = sync.disk->flush();
  co_return co_await std::move(settling);
}

// Reads one lane's chain of records, claiming what they name.
class LogReader {
 public:
  LogReader(io::Disk& disk, Space& space, const Uberblock& uberblock, u32 lane)
      : disk_(disk), space_(space), uberblock_(uberblock), lane_(lane), block_(kBlock) {}

  Task<> read_all() {
    LogHead head = uberblock_.logs[lane_];
    for (u64 count = 0; raw(head.addr) != 0 && count < kRecordsMax; ++count) {
      claimed_.clear();
      log_claimed_.clear();
      Task<LogHeader> reading = read_record(head);
      Result<LogHeader> header = co_await std::move(reading);
      if (!header) {  // The end of the chain.
        for (const Run& run : claimed_) space_.untake(run);
        for (const Run& run : log_claimed_) space_.untake(run);
        if (header.error().code == Errc::io) co_return std::unexpected(header.error());
        break;
      }
      ++records_;
      for (LogSection& section : pending_) sections_.push_back(std::move(section));
      log_blocks_.insert(log_blocks_.end(), log_claimed_.begin(), log_claimed_.end());
      head = {header->next, head.sequence + 1};
    }
    co_return {};
  }
  std::vector<LogSection>& sections() { return sections_; }
  const std::vector<Run>& log_blocks() const { return log_blocks_; }
  u64 records() const { return records_; }
  u64 damaged_blocks() const { return damaged_blocks_; }

 private:
  Task<LogHeader> read_record(LogHead head) {
    pending_.clear();
    co_await ok(claim({head.addr, 1}, log_claimed_));
    Task<> reading = disk_.read(byte_offset(head.addr), block_.span());
    co_await ok(std::move(reading));
    LogHeader header =
        co_await ok(decode_log_header(block_.span(), uberblock_.guid, lane_, head.sequence));
    std::span<const std::byte> payload;
    AlignedBuffer spilled;
    if (raw(header.payload) != 0) {
      const Run run{header.payload, header.payload_blocks};
      co_await ok(claim(run, log_claimed_));
      spilled = AlignedBuffer(u64{run.count} * kBlock);
      Task<> spilling = disk_.read(byte_offset(run.start), spilled.span());
      co_await ok(std::move(spilling));
      payload = spilled.span().first(header.payload_bytes);
    } else {
      payload = block_.span().subspan(kLogHeaderBytes, header.payload_bytes);
    }
    if (crc32c(payload) != header.payload_crc)
      co_return fail(Errc::corrupt, "read an intent-log record's payload");
    pending_ = co_await ok(decode_sections(payload));
    std::erase_if(pending_, [&](const LogSection& s) { return s.group <= uberblock_.txg; });
    u64 bad = 0;
    for (const LogSection& section : pending_) {
      for (const LogExtent& extent : section.extents) {
        Task<u64> checking = check_data(extent);
        bad += co_await ok(std::move(checking));
      }
    }
    if (bad > 0 && !mutant(Mutant::replay_trusts_bad_record)) {
      Task<bool> looking = followed(header, head.sequence);
      const bool acknowledged = co_await ok(std::move(looking));
      if (!acknowledged) co_return fail(Errc::corrupt, "read the data of an intent-log record");
      damaged_blocks_ += bad;
    }
    co_return header;
  }

  Result<> claim(Run run, std::vector<Run>& into) {
    if (!space_.in_range(run)) return fail(Errc::corrupt, "claim what the intent log names");
    TRY_VOID(space_.claim(run));
    into.push_back(run);
    return {};
  }

  // How many of the extent's blocks are not what the record says.
  Task<u64> check_data(const LogExtent& extent) {
    const Run run{extent.addr, static_cast<u32>(extent.crcs.size())};
    co_await ok(claim(run, claimed_));
    AlignedBuffer bytes(u64{run.count} * kBlock);
    Task<> reading = disk_.read(byte_offset(run.start), bytes.span());
    co_await ok(std::move(reading));
    u64 bad = 0;
    for (u32 i = 0; i < run.count; ++i)
      if (crc32c(bytes.span().subspan(u64{i} * kBlock, kBlock)) != extent.crcs[i]) ++bad;
    co_return bad;
  }

  Task<bool> followed(const LogHeader& header, u64 sequence) {
    if (!space_.in_range({header.next, 1})) co_return false;
    Task<> reading = disk_.read(byte_offset(header.next), block_.span());
    co_await ok(std::move(reading));
    co_return decode_log_header(block_.span(), uberblock_.guid, lane_, sequence + 1).has_value();
  }

  io::Disk& disk_;
  Space& space_;
  const Uberblock& uberblock_;
  const u32 lane_;
  AlignedBuffer block_;
  std::vector<LogSection> pending_, sections_;
  std::vector<Run> claimed_, log_claimed_, log_blocks_;
  u64 records_ = 0, damaged_blocks_ = 0;
};

namespace {

Task<> load_catalog(NodeStore& nodes, NodePtr root, Catalog& catalog) {
  constexpr size_t kTurnItems = 4096;
  Cursor cursor(nodes, root);
  const std::string end = history_key(0);
  Task<> seeking = cursor.seek({});
  co_await ok(std::move(seeking));
  for (size_t count = 1; !cursor.at_end() && cursor.key() < end; ++count) {
    co_await ok(catalog.load(cursor.key(), cursor.value()));
    if (!cursor.try_next()) {
      Task<> stepping = cursor.next();
      co_await ok(std::move(stepping));
    }
    if (count % kTurnItems == 0) co_await rt::yield(nodes.executor());
  }
  co_return catalog.finish_load();
}

Task<> replay_on(IoLane& lane, VolumeUpdate update, const LogSection& section) {
  lane.replay(lane.activate(update), section);
  co_return {};
}

}  // namespace

Task<> Engine::load() {
  const Txg txg = uberblock_.txg;
  Task<std::unique_ptr<Space>> mapping =
      Space::load(disk(), uberblock_.device_blocks, txg, uberblock_.space_sum, uberblock_.guid);
  space_ = co_await ok(std::move(mapping));
  catalog_ = std::make_unique<Catalog>();
  Task<> reading = load_catalog(nodes_, uberblock_.catalog, *catalog_);
  co_await ok(std::move(reading));
  metadata_blocks_ = uberblock_.metadata_blocks;
  durable_ = txg;
  open_ = next(txg);
  opened_ns_ = sync_executor().now_ns();
  if (trace::on(trace::Point::txg_open)) [[unlikely]]
    fire_opened();

  std::vector<LogSection> sections;
  std::vector<Run> log_blocks;
  for (u32 i = 0; i < kLanesMax; ++i) {
    LogReader reader(disk(), *space_, uberblock_, i);
    Task<> scanning = reader.read_all();
    co_await ok(std::move(scanning));
    log_replayed_ += reader.records();
    std::move(reader.sections().begin(), reader.sections().end(), std::back_inserter(sections));
    log_blocks.insert(log_blocks.end(), reader.log_blocks().begin(), reader.log_blocks().end());
    if (reader.damaged_blocks() > 0) tell_damaged(reader.damaged_blocks());
  }
  refresh_limits();
  settle(txg);
  Task<> starting = start_lanes(std::move(sections), std::move(log_blocks));
  co_await ok(std::move(starting));
  load_scrub();
  background_.spawn(run_groups());
  background_.spawn(run_ticker());
  Task<> committing = sync();
  co_return co_await std::move(committing);
}

void Engine::tell_damaged(u64 blocks) {
  const std::string what = std::to_string(blocks) +
                           " blocks that were flushed are damaged on the device; reading them will "
                           "fail";
  warn("pool '" + name() + "': " + what);
  if (trace::on(trace::Point::error)) [[unlikely]]
    fire_error({.time_ns = sync_executor().now_ns(),
                .pool_guid = uberblock_.guid,
                .kind = COPPICE_ERROR_CHECKSUM},
               {Errc::corrupt, "replay the intent log", 0, what, {}});
}

Task<> Engine::start_lanes(std::vector<LogSection> sections, std::vector<Run> log_blocks) {
  const size_t first = lanes_in_.size() == 1 ? 0 : 1;
  const size_t count = lanes_in_.size() - first;
  for (size_t i = 0; i < count; ++i) {
    const IoLane::Config config{.index = static_cast<u32>(i),
                                .pool_guid = uberblock_.guid,
                                .cache_bytes_min = options_.cache_bytes / count / 8,
                                .node_cache_bytes = options_.node_cache_bytes};
    lanes_.push_back(std::make_unique<IoLane>(config, lanes_in_[first + i], shared_,
                                              static_cast<Control&>(*this)));
  }
  for (auto& lane : lanes_) {
    Task<> starting = rt::call(sync_executor(), lane->executor(),
                               lane->start_log(raw(open_) << kSequenceShift, open_));
    co_await ok(std::move(starting));
  }
  for (const Run& run : log_blocks) {
    space_->kill_granted(open_, run);
  }
  for (const LogSection& section : sections) {
    if (volume_state_missing(section.volume))
      co_return fail(Errc::corrupt, "replay the intent log",
                     "it names a volume that the catalog does not have");
    IoLane& lane = lane_of(section.volume);
    Task<> replaying = rt::call(sync_executor(), lane.executor(),
                                replay_on(lane, update_for(section.volume), section));
    co_await ok(std::move(replaying));
  }
  co_return {};
}

Task<> Engine::abandon() {
  if (failure_.empty()) {
    shared_.failed = true;
    failure_ = "it could not be opened";
    failed_with_ = Error{Errc::closed, "use a pool that could not be opened", 0, {}, {}};
  }
  Task<> closing = close();
  (void)co_await std::move(closing);  // What made it fail is what the caller tells.
  co_return {};
}

}  // namespace coppice::pool
