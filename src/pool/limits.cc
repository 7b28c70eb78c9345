#include "pool/limits.h"

#include <algorithm>
#include <charconv>

namespace coppice::pool {

u64 used_blocks(const VolumeState& state) {
  CHECK(state.live.referenced_blocks >= state.inherited_blocks);
  return state.live.referenced_blocks - state.inherited_blocks + state.dead_blocks;
}

u64 size_property(const Dataset& dataset, std::string_view name) {
  const auto found = dataset.properties.find(std::string(name));
  if (found == dataset.properties.end()) return 0;
  u64 value = 0;
  const std::string& text = found->second;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size() ? value : 0;
}

namespace {

class Finder {
 public:
  Finder(const CatalogView& catalog, std::map<DatasetId, Limits>& limits)
      : catalog_(catalog), limits_(limits) {}

  struct Sum {  // Of a dataset and all below it.
    u64 used = 0;
    u64 claimed =
        0;  // Used, or reserved if that is more; what is reserved below counts towards it.
  };
  // `volumes` gets the volumes at and below the dataset.
  Sum visit(DatasetId id, std::vector<DatasetId>& volumes) {
    const Dataset& dataset = *catalog_.dataset(id);
    u64 used = 0;
    u64 claimed = 0;
    std::vector<DatasetId> below;
    if (const VolumeState* state = catalog_.volume_state(id)) {
      used = claimed = used_blocks(*state);
      below.push_back(id);
    }
    for (const DatasetId child : catalog_.children(id)) {
      const Sum sum = visit(child, below);
      used += sum.used;
      claimed += sum.claimed;
    }
    const u64 quota = size_property(dataset, "quota") / kBlock;
    const u64 reserved = size_property(dataset, "reservation") / kBlock;
    const i64 left = static_cast<i64>(quota) - static_cast<i64>(used);
    const i64 kept = std::max(i64{0}, static_cast<i64>(reserved) - static_cast<i64>(used));
    if (quota > 0)
      for (const DatasetId volume : below)
        limits_[volume].quota_blocks = std::min(limits_[volume].quota_blocks, left);
    if (reserved > 0)
      for (const DatasetId volume : below)
        limits_[volume].reserved_blocks = std::max(limits_[volume].reserved_blocks, kept);
    volumes.insert(volumes.end(), below.begin(), below.end());
    return {used, std::max(claimed, reserved)};
  }

 private:
  const CatalogView& catalog_;
  std::map<DatasetId, Limits>& limits_;
};

}  // namespace

std::map<DatasetId, Limits> find_limits(const CatalogView& catalog, u64& unkept_blocks) {
  std::map<DatasetId, Limits> limits;
  Finder finder(catalog, limits);
  std::vector<DatasetId> volumes;
  const auto sum = finder.visit(catalog.root(), volumes);
  unkept_blocks = sum.claimed - sum.used;
  return limits;
}

}  // namespace coppice::pool
