// Properties: what there is, values and sources as `zfs get` shows them, and the accounts.
#include "verb/properties.h"

#include <gtest/gtest.h>

#include "verb/testing/world.h"

namespace coppice::verb {
namespace {

// "value source", "-" where it has none, or the refusal.
std::string get(const World& w, std::string_view name, const std::string& property) {
  Reader reader(*w.catalog, w.facts, nullptr);
  const auto target = find_target(*w.catalog, name);
  if (!target) return target.error().message;
  auto task = reader.get(*target, property);
  task.start();
  const auto found = task.take().value();
  if (!found) return std::string(errno_name(found.error().error)) + ": " + found.error().message;
  if (!*found) return "-";
  return (*found)->raw + " " + (*found)->shown + " " + (*found)->source_text();
}

// tank (quota 100M) / g (reservation 40M) / v, w; tank/c, a clone of v@s.
void plant(World& w) {
  for (const char* each :
       {"create tank/g properties={reservation=40M;a:b=up}",
        "create tank/g/v size=1G properties={readonly=on}", "create tank/g/w size=2G",
        "snapshot tank/g/v@s properties={x:y=z}", "clone tank/g/v@s tank/c",
        "set tank {quota=100M}", "hold keep tank/g/v@s", "bookmark tank/g/v@s #m"}) {
    ASSERT_EQ(w.run(each), "ok") << each;
  }
  w.facts.available = 80_MiB;
  w.fill("tank/g/v", 1000, 0, 500);
  w.fill("tank/g/w", 2000);
  w.fill("tank/c", 1100, 1000);
}

TEST(Properties, OfDatasets) {
  World w;
  plant(w);
  const std::string tree[][3] = {
      {"tank", "type", "group group -"},
      {"tank/c", "type", "volume volume -"},
      {"tank/c", "creation", "1000 Thu Jan  1  0:16 1970 -"},
      {"tank/c", "origin", "tank/g/v@s tank/g/v@s -"},
      {"tank/g/v", "origin", "-"},
      {"tank/g", "origin", "-"},
      {"tank/g/v", "volsize", "1073741824 1G local"},
      {"tank", "volsize", "-"},
      {"tank/g/v", "readonly", "on on local"},
      {"tank/g/w", "readonly", "off off default"},
      {"tank/g/w", "a:b", "up up inherited from tank/g"},
      {"tank/g", "a:b", "up up local"},
      {"tank", "a:b", "-"},
      {"tank/g/w", "checksum", "on on default"},
      {"tank", "quota", "104857600 100M local"},
      {"tank/g", "quota", "0 none default"},
      {"tank/c", "quota", "-"},
      {"tank/g", "reservation", "41943040 40M local"},
      {"tank/g/v", "used", "6144000 5.86M -"},
      {"tank/g/v", "usedbydataset", "4096000 3.91M -"},
      {"tank/g/v", "usedbysnapshots", "2048000 1.95M -"},
      {"tank/g/v", "usedbychildren", "0 0B -"},
      {"tank/g/v", "usedbyrefreservation", "0 0B -"},
      {"tank/g/v", "referenced", "4096000 3.91M -"},
      {"tank/g/v", "refer", "4096000 3.91M -"},
      {"tank/c", "used", "409600 400K -"},
      {"tank/g", "used", "14336000 13.7M -"},
      {"tank/g", "usedbychildren", "14336000 13.7M -"},
      // What g reserved counts in full above it.
      {"tank", "used", "42352640 40.4M -"},
      // 80M are free, of which 40M - 13.7M belong to g.
      {"tank", "available", "56279040 53.7M -"},
      {"tank/c", "avail", "56279040 53.7M -"},
      {"tank/g", "available", "83886080 80M -"},
      {"tank/g/w", "available", "83886080 80M -"},
      {"tank/g/v", "logicalused", "4096000 3.91M -"},
      {"tank", "logicalused", "16793600 16.0M -"},
      {"tank/g/v", "logicalreferenced", "4096000 3.91M -"},
      {"tank", "snapshot_count", "1 1 -"},
      {"tank/c", "written", "0 0B -"},
      {"tank/c", "clones", "-"},
      {"tank/g/v", "written@s", "0 0B -"},
      {"tank/g/v", "written@nothing", "-"},
      {"tank", "nonsense", "EINVAL: cannot get property 'nonsense': there is no such property"},
      {"tank/zz", "used", "cannot open 'tank/zz': dataset does not exist"},
  };
  for (const auto& [name, property, value] : tree) {
    EXPECT_EQ(get(w, name, property), value) << name << " " << property;
  }
}

TEST(Properties, QuotaLimitsWhatIsAvailable) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("set tank/g {quota=50M}"), "ok");
  // 50M - 14336000 are left of the quota.
  EXPECT_EQ(get(w, "tank/g/v", "available"), "38092800 36.3M -");
}

TEST(Properties, OfSnapshotsAndBookmarks) {
  World w;
  plant(w);
  const std::string guid = std::to_string(w.catalog->snapshot(w.snapshot_id("tank/g/v@s"))->guid);
  const std::string tree[][3] = {
      {"tank/g/v@s", "type", "snapshot snapshot -"},
      {"tank/g/v@s", "clones", "tank/c tank/c -"},
      {"tank/g/v@s", "userrefs", "1 1 -"},
      {"tank/g/v@s", "defer_destroy", "off off -"},
      {"tank/g/v@s", "volsize", "1073741824 1G -"},
      {"tank/g/v@s", "used", "0 0B -"},
      {"tank/g/v@s", "x:y", "z z local"},
      {"tank/g/v@s", "a:b", "up up inherited from tank/g"},
      {"tank/g/v@s", "readonly", "-"},
      {"tank/g/v@s", "available", "-"},
      {"tank/g/v@s", "guid", guid + " " + guid + " -"},
      {"tank/g/v#m", "type", "bookmark bookmark -"},
      {"tank/g/v#m", "guid", guid + " " + guid + " -"},
      {"tank/g/v#m", "used", "-"},
      {"tank/g/v#m", "a:b", "-"},
  };
  for (const auto& [name, property, value] : tree) {
    EXPECT_EQ(get(w, name, property), value) << name << " " << property;
  }
}

TEST(Properties, AllOfATarget) {
  World w;
  plant(w);
  const auto all = [&](std::string_view name) {
    Reader reader(*w.catalog, w.facts, nullptr);
    auto task = reader.get_all(*find_target(*w.catalog, name));
    task.start();
    const auto values = task.take().value();
    std::string names;
    for (const auto& [property, value] : values) names += property + " ";
    return names;
  };
  EXPECT_EQ(all("tank/g"),
            "type creation used available referenced quota reservation checksum readonly createtxg "
            "guid usedbysnapshots usedbydataset usedbychildren usedbyrefreservation written "
            "logicalused logicalreferenced snapshot_count a:b ");
  EXPECT_EQ(all("tank/c"),
            "type creation used available referenced origin reservation volsize checksum readonly "
            "createtxg guid usedbysnapshots usedbydataset usedbychildren usedbyrefreservation "
            "written logicalused logicalreferenced snapshot_count ");
  EXPECT_EQ(all("tank/g/v@s"),
            "type creation used referenced volsize createtxg guid defer_destroy userrefs clones "
            "written logicalreferenced a:b x:y ");
  EXPECT_EQ(all("tank/g/v#m"), "type creation createtxg guid ");
}

TEST(Properties, TableIsSound) {
  for (const Property& each : properties()) {
    EXPECT_EQ(find_property(each.name), &each);
    EXPECT_NE(each.applies, 0);
    EXPECT_FALSE(each.values.empty());
    EXPECT_FALSE(each.column.empty());
    EXPECT_TRUE(!each.inheritable || each.settable);
  }
  EXPECT_EQ(find_property("avail"), find_property("available"));
  EXPECT_EQ(find_property("a:b"), nullptr);
  EXPECT_TRUE(is_user_property("a:b"));
  EXPECT_FALSE(is_user_property("ab"));
  EXPECT_FALSE(is_user_property("a:B"));
  EXPECT_FALSE(is_user_property(""));
}

TEST(Properties, HumanNumbersAsZfsWritesThem) {
  const std::pair<u64, const char*> cases[] = {
      {0, "0B"},          {1, "1B"},      {1023, "1023B"},     {1024, "1K"},
      {1536, "1.50K"},    {10240, "10K"}, {15462, "15.1K"},    {154624, "151K"},
      {1048575, "1024K"}, {1_MiB, "1M"},  {1536_MiB, "1.50G"}, {u64{8} << 60, "8E"},
      {~u64{0}, "16.0E"},
  };
  for (const auto& [bytes, text] : cases) EXPECT_EQ(human_bytes(bytes), text);
  EXPECT_EQ(human_time(1795255500), "Sat Nov 21 10:05 2026");
}

// A list over a large pool works accounts out once, not once a row.
TEST(Properties, ListOfManyDatasetsIsLinear) {
  World w;
  auto transaction = w.catalog->begin();
  for (int i = 0; i < 30'000; ++i) {
    pool::Dataset dataset;
    dataset.parent = transaction->root();
    dataset.name = "d" + std::to_string(i);
    transaction->new_dataset(dataset);
  }
  w.catalog->accept(std::move(transaction));
  Reader reader(*w.catalog, w.facts, nullptr);
  for (pool::DatasetId id : w.catalog->children(w.catalog->root())) {
    ASSERT_TRUE(reader.value({id, {}, {}}, "used").value());
    ASSERT_TRUE(reader.value({id, {}, {}}, "available").value());
  }
}

}  // namespace
}  // namespace coppice::verb
