// Quotas and reservations of a tree of datasets, and what they leave each volume.
#include "pool/limits.h"

#include <gtest/gtest.h>

namespace coppice::pool {
namespace {

class LimitsBed {
 public:
  DatasetId add(DatasetId parent, const std::string& name, DatasetType type,
                std::map<std::string, std::string> properties, u64 used = 0) {
    auto transaction = catalog_->begin();
    Dataset dataset;
    dataset.parent = parent;
    dataset.name = name;
    dataset.type = type;
    dataset.properties = std::move(properties);
    const DatasetId id = transaction->new_dataset(dataset);
    catalog_->accept(std::move(transaction));
    if (type == DatasetType::group) return id;
    VolumeState state;  // Half of it seen by the live volume, the rest by snapshots alone.
    state.inherited_blocks = 7;
    state.live.referenced_blocks = used / 2 + state.inherited_blocks;
    state.dead_blocks = used - used / 2;
    catalog_->put_volume_state(id, state);
    return id;
  }
  DatasetId group(DatasetId parent, const std::string& name,
                  std::map<std::string, std::string> properties = {}) {
    return add(parent, name, DatasetType::group, std::move(properties));
  }
  DatasetId volume(DatasetId parent, const std::string& name, u64 used,
                   std::map<std::string, std::string> properties = {}) {
    return add(parent, name, DatasetType::volume, std::move(properties), used);
  }
  std::map<DatasetId, Limits> limits() { return find_limits(*catalog_, unkept); }
  DatasetId root() const { return catalog_->root(); }
  u64 unkept = 0;

 private:
  std::unique_ptr<Catalog> catalog_ = Catalog::make("tank", 1, 1);
};

std::string blocks(u64 count) { return std::to_string(count * kBlock); }

TEST(Limits, AVolumeWithoutAnyHasNone) {
  LimitsBed bed;
  bed.volume(bed.root(), "v", 10, {{"quota", "none"}, {"reservation", "0"}});
  EXPECT_TRUE(bed.limits().empty());
  EXPECT_EQ(bed.unkept, 0u);
}

// The tightest quota on the way up counts, less all that is used below where it is set.
TEST(Limits, TheTightestQuotaCounts) {
  LimitsBed bed;
  const DatasetId g = bed.group(bed.root(), "g", {{"quota", blocks(100)}});
  const DatasetId a = bed.volume(g, "a", 30);
  const DatasetId b = bed.volume(g, "b", 50, {{"quota", blocks(55)}});
  const DatasetId c = bed.volume(bed.root(), "c", 5);
  auto limits = bed.limits();
  EXPECT_EQ(limits[a].quota_blocks, 20);
  EXPECT_EQ(limits[b].quota_blocks, 5);
  EXPECT_FALSE(limits.contains(c));
  bed.volume(g, "d", 40);
  limits = bed.limits();
  EXPECT_EQ(limits[a].quota_blocks, -20);  // Overshot.
  EXPECT_EQ(limits[b].quota_blocks, -20);
}

// A reservation keeps space until it is used.
TEST(Limits, AReservationIsKeptUntilItIsUsed) {
  LimitsBed bed;
  const DatasetId a = bed.volume(bed.root(), "a", 30, {{"reservation", blocks(100)}});
  const DatasetId b = bed.volume(bed.root(), "b", 30, {{"reservation", blocks(10)}});
  const auto limits = bed.limits();
  EXPECT_EQ(limits.at(a).reserved_blocks, 70);
  EXPECT_EQ(limits.at(b).reserved_blocks, 0);
  EXPECT_EQ(bed.unkept, 70u);
}

// What is reserved for a volume counts as part of what is reserved for its group.
TEST(Limits, ReservationsWithinEachOtherCountOnce) {
  LimitsBed bed;
  const DatasetId g = bed.group(bed.root(), "g", {{"reservation", blocks(100)}});
  const DatasetId a = bed.volume(g, "a", 10, {{"reservation", blocks(60)}});
  const DatasetId b = bed.volume(g, "b", 20);
  auto limits = bed.limits();
  EXPECT_EQ(bed.unkept, 70u);
  EXPECT_EQ(limits[a].reserved_blocks, 70);
  EXPECT_EQ(limits[b].reserved_blocks, 70);
  bed.volume(g, "c", 0, {{"reservation", blocks(60)}});
  bed.limits();
  EXPECT_EQ(bed.unkept, 110u);  // 60 + 60 + 20 in all, of which 30 are used.
}

TEST(Limits, OnlyNumbersAreSizes) {
  Dataset dataset;
  EXPECT_EQ(size_property(dataset, "quota"), 0u);
  for (const char* text : {"", "none", "12x", "-1", "99999999999999999999999"}) {
    dataset.properties["quota"] = text;
    EXPECT_EQ(size_property(dataset, "quota"), 0u) << text;
  }
  dataset.properties["quota"] = "8192";
  EXPECT_EQ(size_property(dataset, "quota"), 8192u);
}

}  // namespace
}  // namespace coppice::pool
