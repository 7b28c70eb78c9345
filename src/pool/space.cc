#include "pool/space.h"

#include <algorithm>

#include "pool/space_region.h"

namespace coppice::pool {
namespace {
constexpr u32 kScansMax = 8;       // Regions that one pass of take() reads through.
constexpr size_t kPiecesMax = 64;  // Runs that one take() hands out.
}  // namespace

Space::Space() : state_(std::make_unique<State>()) {}
Space::~Space() = default;

std::unique_ptr<Space> Space::make(u64 device_blocks, u64 pool_guid) {
  std::unique_ptr<Space> space(new Space);
  space->state_->pool = pool_guid;
  space->state_->resize(device_blocks);
  return space;
}

void Space::State::resize(u64 blocks) {
  CHECK(blocks >= device_blocks);
  device_blocks = blocks;
  const u64 mapped = blocks > kLabelBlocks ? blocks - kLabelBlocks : 0;
  // A region needs room for its two slots and at least one block.
  const u64 whole = mapped / kRegionBlocks, rest = mapped % kRegionBlocks;
  const u64 count = whole + (rest > 2 ? 1 : 0);
  CHECK(count >= regions.size());
  regions.resize(count);
  for (u64 i = regions.size(); i-- > 0;) {
    Region& region = regions[i];
    const u32 data = static_cast<u32>(i < whole ? kRegionData : rest - 2);
    if (region.data_blocks == data) break;  // Those before it are whole as well.
    CHECK(data > region.data_blocks);
    total += data - region.data_blocks;
    region.data_blocks = data;
    region.longest = region.free();
  }
}

void Space::grow(u64 device_blocks) { state_->resize(device_blocks); }

bool Space::State::in_range(Run run) const {
  const u64 start = raw(run.start);
  if (run.count == 0 || start < kLabelBlocks || start >= device_blocks) return false;
  const u64 region = (start - kLabelBlocks) / kRegionBlocks;
  const u64 within = (start - kLabelBlocks) % kRegionBlocks;
  return region < regions.size() && within >= 2 &&
         within - 2 + run.count <= regions[region].data_blocks;
}

Space::Region& Space::State::at(Run run, u32& bit) {
  CHECK(in_range(run));
  const u64 mapped = raw(run.start) - kLabelBlocks;
  bit = static_cast<u32>(mapped % kRegionBlocks - 2);
  return regions[mapped / kRegionBlocks];
}

// One pass over the regions that may have runs of `at_least` blocks.
u64 Space::State::take_at_least(u64 want, u32 at_least, u32& scans_left, std::vector<Run>& into) {
  u64 found = 0;
  std::vector<Region::Piece> pieces;
  for (u64 step = 0; step < regions.size() && found < want; ++step) {
    if (into.size() >= kPiecesMax || scans_left == 0) break;
    const u64 index =
        cursor + step < regions.size() ? cursor + step : cursor + step - regions.size();
    Region& region = regions[index];
    if (region.longest < at_least || region.free() < at_least) continue;
    pieces.clear();
    const u64 here = region.find(want - found, at_least, kPiecesMax - into.size(), pieces);
    if (here == 0) --scans_left;
    for (const Region::Piece& piece : pieces) {
      region.mark_busy(piece.from, piece.count);
      into.push_back({BlockAddr(first_data_of(index) + piece.from), piece.count});
    }
    found += here;
    if (found == want) cursor = index;
  }
  busy += found;
  return found;
}

Result<std::vector<Run>> Space::take(u64 want) {
  CHECK(want > 0);
  State& state = *state_;
  std::vector<Run> runs;
  // Ever shorter runs, until there are some. At 1, a region with anything free never disappoints.
  for (u64 at_least = std::min<u64>(want, kRegionData);; at_least = divide_up(at_least, 4)) {
    u32 scans_left = kScansMax;
    if (state.take_at_least(want, static_cast<u32>(at_least), scans_left, runs) > 0) return runs;
    if (at_least == 1) break;
  }
  return fail(Errc::no_space, "allocate space: the pool is full");
}

void Space::untake(Run run) {
  u32 bit = 0;
  Region& region = state_->at(run, bit);
  CHECK(region.bits && region.bits->used.none(bit, run.count));
  region.mark_free(bit, run.count);
  state_->busy -= run.count;
}

Result<> Space::claim(Run run) {
  if (!in_range(run)) return fail(Errc::corrupt, "claim space: out of range");
  u32 bit = 0;
  Region& region = state_->at(run, bit);
  if (region.bits && !region.bits->busy.none(bit, run.count))
    return fail(Errc::corrupt, "claim space: in use already");
  region.mark_busy(bit, run.count);
  state_->busy += run.count;
  return {};
}

void Space::use(Run run) {
  u32 bit = 0;
  Region& region = state_->at(run, bit);
  CHECK(region.bits && region.bits->busy.all(bit, run.count));
  CHECK(region.bits->used.none(bit, run.count));
  region.bits->used.set(bit, run.count);
  region.used += run.count;
  region.changed = true;
  state_->used += run.count;
}

void Space::kill(Txg txg, Run run) {
  u32 bit = 0;
  Region& region = state_->at(run, bit);
  CHECK(region.bits && region.bits->used.all(bit, run.count));
  CHECK(region.bits->busy.all(bit, run.count));
  region.bits->used.clear(bit, run.count);
  region.used -= run.count;
  region.changed = true;
  state_->used -= run.count;
  state_->put_dying(txg, run);
}

void Space::kill_granted(Txg txg, Run run) {
  u32 bit = 0;
  const Region& region = state_->at(run, bit);
  CHECK(region.bits && region.bits->busy.all(bit, run.count));
  CHECK(region.bits->used.none(bit, run.count));
  state_->put_dying(txg, run);
}

void Space::State::put_dying(Txg txg, Run run) {
  auto& runs = dying[txg];
  dying_count += run.count;
  if (!runs.empty() && runs.back().start + runs.back().count == run.start) {
    const Run longer{runs.back().start, runs.back().count + run.count};
    if (in_range(longer)) {
      runs.back() = longer;
      return;
    }
  }
  runs.push_back(run);
}

std::vector<Run> Space::settle(Txg durable) {
  State& state = *state_;
  std::vector<Run> freed;
  if (state.holds > 0) return freed;
  while (!state.dying.empty() && state.dying.begin()->first <= durable) {
    const auto settled = state.dying.extract(state.dying.begin());
    freed.insert(freed.end(), settled.mapped().begin(), settled.mapped().end());
  }
  std::ranges::sort(freed, {}, [](const Run& run) { return raw(run.start); });
  std::vector<Run> merged;
  for (const Run& run : freed) {
    u32 bit = 0;
    Region& region = state.at(run, bit);
    CHECK(region.bits->used.none(bit, run.count));
    region.mark_free(bit, run.count);
    state.busy -= run.count;
    state.dying_count -= run.count;
    if (!merged.empty() && merged.back().start + merged.back().count == run.start)
      merged.back().count += run.count;
    else
      merged.push_back(run);
  }
  return merged;
}

void Space::hold() { ++state_->holds; }
void Space::unhold() {
  CHECK(state_->holds > 0);
  --state_->holds;
}

bool Space::is_used(BlockAddr addr) const {
  if (!in_range({addr, 1})) return false;
  u32 bit = 0;
  const Region& region = state_->at({addr, 1}, bit);
  return region.bits && region.bits->used.test(bit);
}
bool Space::in_range(Run run) const { return state_->in_range(run); }

u64 Space::total_blocks() const { return state_->total; }
u64 Space::used_blocks() const { return state_->used; }
u64 Space::free_blocks() const { return state_->total - state_->busy; }
u64 Space::dying_blocks() const { return state_->dying_count; }
u64 Space::granted_blocks() const { return state_->busy - state_->used - state_->dying_count; }

}  // namespace coppice::pool
