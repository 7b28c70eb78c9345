#include "cli/progress.h"

#include <gtest/gtest.h>

namespace coppice::cli {
namespace {

TEST(Progress, ShowsShareSpeedAndTimeLeft) {
  const Step step{.done_bytes = 1_GiB, .total_bytes = 2_GiB, .elapsed_s = 8};
  EXPECT_EQ(render_step("scrub", step, 80),
            "scrub  [##################                  ]   50%  1G of 2G  128M/s  0:08 left");
}

TEST(Progress, WhatWasDoneBeforeIsNoSpeed) {
  const Step step{
      .done_bytes = 1_GiB, .total_bytes = 2_GiB, .elapsed_s = 8, .done_before_bytes = 1_GiB};
  EXPECT_EQ(render_step("scrub", step, 40).find("/s"), std::string::npos);
}

TEST(Progress, FitsAnyWidthAndAnyNumbers) {
  for (size_t width = 1; width < 200; ++width) {
    for (const Step& step : {Step{}, Step{.done_bytes = 5, .total_bytes = 3, .elapsed_s = 1},
                             Step{.done_bytes = ~u64{0}, .total_bytes = ~u64{0}, .elapsed_s = 1}}) {
      EXPECT_LE(render_step("freeing", step, width).size(), width);
    }
  }
}

}  // namespace
}  // namespace coppice::cli
