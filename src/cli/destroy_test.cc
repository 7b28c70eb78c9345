#include "cli/destroy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coppice::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> expanded(const std::string& text,
                                  const std::vector<std::string>& existing) {
  const auto doomed = parse_doomed(text);
  if (!doomed) return {"unreadable: " + doomed.error().message};
  const auto names = expand(*doomed, existing);
  return names ? *names : std::vector<std::string>{"refused: " + names.error().message};
}

TEST(Destroy, DatasetsAndBookmarksAreTakenAsTheyAre) {
  for (const char* text : {"tank/a", "tank", "tank/a#b"}) {
    const auto doomed = parse_doomed(text);
    ASSERT_TRUE(doomed);
    EXPECT_EQ(doomed->name, text);
    EXPECT_FALSE(doomed->snapshots());
  }
}

TEST(Destroy, ListsAndRangesOfSnapshotsExpandOnceEachInOrder) {
  const std::vector<std::string> all = {"a", "b", "c", "d"};
  EXPECT_THAT(expanded("t/v@b", all), ElementsAre("t/v@b"));
  EXPECT_THAT(expanded("t/v@unknown", all), ElementsAre("t/v@unknown"));  // The daemon says so.
  EXPECT_THAT(expanded("t/v@d,a", all), ElementsAre("t/v@d", "t/v@a"));
  EXPECT_THAT(expanded("t/v@b%c", all), ElementsAre("t/v@b", "t/v@c"));
  EXPECT_THAT(expanded("t/v@%b", all), ElementsAre("t/v@a", "t/v@b"));
  EXPECT_THAT(expanded("t/v@c%", all), ElementsAre("t/v@c", "t/v@d"));
  EXPECT_THAT(expanded("t/v@%", all), ElementsAre("t/v@a", "t/v@b", "t/v@c", "t/v@d"));
  EXPECT_THAT(expanded("t/v@a,a%b,b%c", all), ElementsAre("t/v@a", "t/v@b", "t/v@c"));
  EXPECT_THAT(expanded("t/v@b%b", all), ElementsAre("t/v@b"));
}

TEST(Destroy, BadRangesAreNamed) {
  const std::vector<std::string> all = {"a", "b"};
  EXPECT_THAT(expanded("t/v@b%a", all)[0], testing::HasSubstr("younger"));
  EXPECT_THAT(expanded("t/v@a%z", all)[0], testing::HasSubstr("t/v@z"));
  EXPECT_THAT(expanded("t/v@%", {})[0], testing::HasSubstr("no snapshots"));
  for (const char* text : {"t/v@", "t/v@a,", "t/v@,a", "t/v@a%b%c", "@a"}) {
    const auto doomed = parse_doomed(text);
    ASSERT_FALSE(doomed) << text;
    EXPECT_EQ(doomed.error().exit, kExitUsage);
  }
}

TEST(Destroy, TellsAPersonAndAScript) {
  EXPECT_EQ(tell({"t/a", "t/b"}, 1536_MiB, {.dry_run = true}),
            "would destroy t/a\nwould destroy t/b\nwould reclaim 1.50G\n");
  EXPECT_EQ(tell({"t/a"}, 0, {.dry_run = false}), "did destroy t/a\n");
  EXPECT_EQ(tell({"t/a"}, 4096, {.dry_run = true, .parsable = true}),
            "destroy\tt/a\nreclaim\t4096\n");
  EXPECT_THAT(tell({}, 0, {}), IsEmpty());
}

}  // namespace
}  // namespace coppice::cli
