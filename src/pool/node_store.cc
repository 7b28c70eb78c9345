#include "pool/node_store.h"

#include <map>
#include <utility>

#include "base/crc32c.h"
#include "pool/clock_table.h"
#include "pool/events.h"
#include "pool/mutant.h"
#include "pool/trace_types.h"
#include "rt/event.h"

namespace coppice::pool {
namespace {

// A read that is under way, in the frame of the coroutine that began it. Others wait for it.
struct Flight {
  rt::Event done;
  Result<Ref<const Node>> outcome;
};

// A pointer with the right place and birth but the wrong sum is not the node's.
bool names(const NodePtr& ptr, const Node& node) {
  return node.crc() == ptr.crc && node.level() == ptr.level && node.blocks() == ptr.blocks;
}

size_t entries_for(u64 bytes) { return bytes / kBlock + 1; }

}  // namespace

struct NodeStore::State {
  State(rt::Executor& on, io::Disk& from, u64 bytes, u64 pool)
      : executor(on), disk(from), pool_guid(pool), table(entries_for(bytes)), limit_bytes(bytes) {}
  rt::Executor& executor;
  io::Disk& disk;
  const u64 pool_guid;
  ClockTable<Ref<const Node>> table;
  std::map<std::pair<BlockAddr, Txg>, Flight*> flights;
  u64 limit_bytes;
  Stats stats;

  void evict_to(u64 bytes) {
    while (stats.bytes > bytes) {
      auto out = table.evict();
      CHECK(out);
      stats.bytes -= (*out)->memory_bytes();
    }
  }
  void insert(const NodePtr& ptr, const Ref<const Node>& node) {
    const u64 bytes = node->memory_bytes();
    if (bytes > limit_bytes) return;
    if (Ref<const Node>* there = table.find(ptr.addr, ptr.birth)) {
      stats.bytes += bytes - (*there)->memory_bytes();
      *there = node;
      return;
    }
    evict_to(limit_bytes - bytes);
    CHECK(!table.full());  // A node is larger than a block.
    table.insert(ptr.addr, ptr.birth, node);
    stats.bytes += bytes;
  }
  void failed(const NodePtr& ptr, const Error& error) {
    if (error.code != Errc::corrupt) {
      ++stats.io_errors;
      return;
    }
    ++stats.corrupt;
    if (trace::on(trace::Point::error)) [[unlikely]]
      fire_error({.time_ns = executor.now_ns(),
                  .pool_guid = pool_guid,
                  .disk_offset = byte_offset(ptr.addr),
                  .kind = COPPICE_ERROR_CHECKSUM},
                 error);
  }
  Task<Ref<const Node>> read(NodePtr ptr);
};

NodeStore::NodeStore(rt::Executor& executor, io::Disk& disk, u64 cache_bytes, u64 pool_guid)
    : state_(std::make_unique<State>(executor, disk, cache_bytes, pool_guid)) {}
NodeStore::~NodeStore() = default;

const NodeStore::Stats& NodeStore::stats() const { return state_->stats; }
io::Disk& NodeStore::disk() { return state_->disk; }
rt::Executor& NodeStore::executor() { return state_->executor; }
u64 NodeStore::pool_guid() const { return state_->pool_guid; }

void NodeStore::insert(const NodePtr& ptr, Ref<const Node> node) {
  CHECK(node && names(ptr, *node));
  state_->insert(ptr, node);
}

void NodeStore::forget(BlockAddr addr, Txg birth) {
  if (Ref<const Node>* there = state_->table.find(addr, birth)) {
    state_->stats.bytes -= (*there)->memory_bytes();
    state_->table.erase(addr, birth);
  }
}

void NodeStore::resize(u64 cache_bytes) {
  state_->evict_to(cache_bytes);
  state_->limit_bytes = cache_bytes;
  state_->table.reset(entries_for(cache_bytes));
}

Ref<const Node> NodeStore::cached(const NodePtr& ptr) {
  const Ref<const Node>* there = state_->table.find(ptr.addr, ptr.birth);
  const bool found = there != nullptr && names(ptr, **there);
  if (trace::on(trace::Point::node_lookup)) [[unlikely]]
    trace::fire(trace::Point::node_lookup, {this, raw(ptr.addr), raw(ptr.birth), found});
  if (!found) return {};
  ++state_->stats.hits;
  return *there;
}

Task<Ref<const Node>> NodeStore::load(NodePtr ptr) {
  if (auto there = cached(ptr)) co_return std::move(there);
  const auto key = std::make_pair(ptr.addr, ptr.birth);
  if (auto under_way = state_->flights.find(key); under_way != state_->flights.end()) {
    Flight* flight = under_way->second;
    co_await flight->done.wait();
    // The flight lives until all who waited have looked at it.
    if (!flight->outcome) co_return flight->outcome;
    if (names(ptr, **flight->outcome)) co_return flight->outcome;
    co_return fail(Errc::corrupt, "tree node: two pointers contradict each other");
  }
  ++state_->stats.misses;
  if (trace::on(trace::Point::node_read)) [[unlikely]]
    trace::fire(trace::Point::node_read, {this, raw(ptr.addr), ptr.blocks});
  Flight flight;
  state_->flights.emplace(key, &flight);
  auto read = co_await state_->read(ptr);
  flight.outcome = std::move(read);
  state_->flights.erase(key);
  if (flight.outcome)
    state_->insert(ptr, *flight.outcome);
  else
    state_->failed(ptr, flight.outcome.error());
  flight.done.pulse();
  co_return std::move(flight.outcome);
}

Task<Ref<const Node>> NodeStore::State::read(NodePtr ptr) {
  const u64 device_blocks = disk.size_bytes() / kBlock;
  if (!well_formed(ptr) || raw(ptr.addr) >= device_blocks ||
      device_blocks - raw(ptr.addr) < ptr.blocks)
    co_return fail(Errc::corrupt, "tree node: its pointer leads outside the device");
  AlignedBuffer bytes(size_t{ptr.blocks} * kBlock);
  co_await ok(disk.read(byte_offset(ptr.addr), bytes.span()));
  if (crc32c(bytes.span()) != ptr.crc && !mutant(Mutant::checksum_not_verified))
    co_return fail(Errc::corrupt, "tree node: checksum");
  auto node = Node::decode(std::move(bytes), ptr.crc);
  if (!node) co_return std::unexpected(std::move(node).error());
  if (!names(ptr, **node) || (*node)->birth() != ptr.birth)
    co_return fail(Errc::corrupt, "tree node: not the one its pointer names");
  co_return std::move(node);
}

trace::Structure TraceTypes::node_store_state() {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
  using State = NodeStore::State;
  return {"pool_NodeStoreState",
          sizeof(State),
          {COPPICE_FIELD(State, pool_guid), COPPICE_FIELD(State, limit_bytes),
           COPPICE_FIELD_OF(State, stats, "pool_NodeStoreStats")}};
#pragma GCC diagnostic pop
}

}  // namespace coppice::pool
