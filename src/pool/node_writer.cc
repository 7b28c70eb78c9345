#include <cstring>
#include <utility>

#include "base/crc32c.h"
#include "pool/node_store.h"
#include "rt/abandon.h"
#include "rt/scope.h"
#include "trace/point.h"

namespace coppice::pool {
namespace {
constexpr u32 kRunBlocks = 64;         // How much space to ask for at a time: one write.
constexpr size_t kWritesInFlight = 8;  // Beyond it add() waits for all of them.
constexpr size_t kTakesMax = 64;       // Before space counts as too torn for a node.
}  // namespace

struct NodeWriter::State {
  State(NodeStore& s, Allocator& a, Txg b) : store(s), allocator(a), birth(b) {}
  NodeStore& store;
  Allocator& allocator;
  const Txg birth;
  Run run;                 // Being filled.
  u32 filled = 0;          // Blocks of it.
  AlignedBuffer buffer;    // Its content.
  std::vector<Run> spare;  // Taken, but too short so far.
  std::vector<NodePtr> written;
  u64 blocks = 0;
  rt::Scope writes;

  Task<> make_room(u32 need);
  Task<> take_run(u32 need);
  Task<> write_run();
  Task<> write(Run where, AlignedBuffer bytes);
};

NodeWriter::NodeWriter(NodeStore& store, Allocator& allocator, Txg birth)
    : state_(std::make_unique<State>(store, allocator, birth)) {}
NodeWriter::~NodeWriter() { CHECK(state_->writes.running() == 0 || rt::Abandon::active()); }

u64 NodeWriter::blocks_written() const { return state_->blocks; }
const std::vector<NodePtr>& NodeWriter::written() const { return state_->written; }
Txg NodeWriter::birth() const { return state_->birth; }

Task<> NodeWriter::drain() { return state_->writes.join(); }

Task<NodePtr> NodeWriter::add(u8 level, std::span<const std::byte> bytes) {
  CHECK(bytes.size() % kBlock == 0 && bytes.size() <= kNodeBytesMax && !bytes.empty());
  State& state = *state_;
  const u32 need = static_cast<u32>(bytes.size() / kBlock);
  if (state.run.count - state.filled < need) co_await ok(state.make_room(need));
  AlignedBuffer copy(bytes.size());
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  stamp_birth(copy.span(), state.birth);
  std::memcpy(state.buffer.data() + u64{state.filled} * kBlock, copy.data(), copy.size());
  const NodePtr ptr{.addr = state.run.start + state.filled,
                    .birth = state.birth,
                    .crc = crc32c(copy.span()),
                    .blocks = static_cast<u8>(need),
                    .level = level};
  state.filled += need;
  state.blocks += need;
  state.written.push_back(ptr);
  auto node = Node::decode(std::move(copy), ptr.crc);
  CHECK(node);  // What is written is checked as what is read.
  CHECK((*node)->level() == level);
  state.store.insert(ptr, *node);
  co_return ptr;
}

Task<> NodeWriter::finish() {
  State& state = *state_;
  if (state.filled > 0) {
    co_await ok(state.write_run());
  } else if (state.run.count > 0) {
    state.allocator.untake(state.run, state.birth);
    state.run = {};
  }
  for (const Run& run : state.spare) state.allocator.untake(run, state.birth);
  state.spare.clear();
  co_return co_await state.writes.join();
}

Task<> NodeWriter::State::make_room(u32 need) {
  if (filled > 0) {
    co_await ok(write_run());
  } else if (run.count > 0) {
    spare.push_back(run);
    run = {};
  }
  co_return co_await take_run(need);
}

// Sends what is filled on its way and gives the rest of the run back.
Task<> NodeWriter::State::write_run() {
  CHECK(filled > 0 && filled <= run.count);
  const Run full{run.start, filled}, rest{run.start + filled, run.count - filled};
  run = {};
  filled = 0;
  if (rest.count > 0) allocator.untake(rest, birth);
  if (writes.running() >= kWritesInFlight) {
    auto joined = co_await writes.join();
    if (!joined) {
      buffer = {};
      co_return joined;
    }
  }
  writes.spawn(write(full, std::move(buffer)));
  buffer = {};
  co_return {};
}

Task<> NodeWriter::State::write(Run where, AlignedBuffer bytes) {
  const std::span<const std::byte> part = bytes.span().first(u64{where.count} * kBlock);
  if (trace::on(trace::Point::node_write)) [[unlikely]]
    trace::fire(trace::Point::node_write, {&store, raw(where.start), where.count});
  co_return co_await store.disk().write(byte_offset(where.start), io::Disk::Parts(&part, 1));
}

Task<> NodeWriter::State::take_run(u32 need) {
  for (auto each = spare.begin(); each != spare.end(); ++each) {
    if (each->count < need) continue;
    run = *each;
    spare.erase(each);
    buffer = AlignedBuffer(u64{run.count} * kBlock);
    co_return {};
  }
  for (size_t tries = 0; tries < kTakesMax; ++tries) {
    auto taken = co_await allocator.take(kRunBlocks, birth);
    if (!taken) co_return std::unexpected(std::move(taken).error());
    CHECK(taken->count > 0 && taken->count <= kRunBlocks);
    if (taken->count >= need) {
      run = *taken;
      buffer = AlignedBuffer(u64{run.count} * kBlock);
      co_return {};
    }
    spare.push_back(*taken);
  }
  co_return fail(Errc::no_space, "write a tree node: no two free blocks lie side by side");
}

}  // namespace coppice::pool
