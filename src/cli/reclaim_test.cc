#include "cli/reclaim.h"

#include <gtest/gtest.h>

namespace coppice::cli {
namespace {

TEST(Reclaim, TellsAPersonAndAScript) {
  const Reclaim two{.destroyed = {"t/a", "t/b"}, .deferred = {"t/c@s"}, .bytes = 1536_MiB};
  EXPECT_EQ(
      tell(two, {.dry_run = true}),
      "would destroy t/a\nwould destroy t/b\nwould destroy later t/c@s\nwould reclaim 1.50G\n");
  EXPECT_EQ(tell(two, {.dry_run = true, .parsable = true}),
            "destroy\tt/a\ndestroy\tt/b\ndefer\tt/c@s\nreclaim\t1610612736\n");
}

TEST(Reclaim, SaysNothingOfWhatIsNotKnown) {
  EXPECT_EQ(tell({.destroyed = {"t/a"}, .deferred = {}}, {}), "destroyed t/a\n");
  EXPECT_EQ(tell({.destroyed = {}, .deferred = {}}, {}), "");
}

}  // namespace
}  // namespace coppice::cli
