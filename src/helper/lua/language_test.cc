#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "helper/lua/testing/daemon.h"

namespace coppice::lua {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

TEST(Smoke, RunsAProgram) {
  Daemon daemon;
  const Outcome outcome = daemon.run("local a = ... return {a.argv[2], x = 1, y = 2.5, z = true}");
  ASSERT_TRUE(outcome.end.has_value());
  EXPECT_EQ(outcome.end->message, "");
  EXPECT_EQ(outcome.end->traceback, "");
  EXPECT_EQ(outcome.ended.status, 0);
  EXPECT_EQ(outcome.ended.signal, 0);
  std::printf("elapsed %llu ns\n", (unsigned long long)outcome.elapsed_ns);
  for (int i = 0; i < 10; ++i)
    std::printf("elapsed %llu ns\n", (unsigned long long)daemon.run("return 1").elapsed_ns);
}

}  // namespace
}  // namespace coppice::lua
