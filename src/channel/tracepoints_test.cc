// Tracepoints of channel programs: begin, each verb, end, with what the outcome says.
#include <gmock/gmock.h>

#include <cerrno>

#include "channel/testing/stage.h"
#include "trace/testing/recorder.h"

namespace coppice::channel {
namespace {

using testing::StrEq;
using trace::Point;

TEST(Tracepoints, FollowAProgram) {
  Stage stage(1);
  trace::Recorder recorder({Point::program_begin, Point::program_verb, Point::program_end});
  std::vector<message::Ask> asks;
  asks.push_back(do_verb("create", {"tank/x"}));
  asks.push_back(do_verb("create", {"tank/x"}));  // There is one: refused.
  asks.push_back(ask(message::Call::exists, {"tank/x"}));
  const Outcome outcome = stage.play(std::move(asks));
  ASSERT_EQ(outcome.error, 0) << outcome.message;

  const auto begun = recorder.all<coppice_program_begin>(Point::program_begin);
  ASSERT_EQ(begun.size(), 1U);
  EXPECT_EQ(begun[0].pool, stage.bed.pool->guid());
  EXPECT_THAT(begun[0].name, StrEq("test.lua"));
  const auto verbs = recorder.all<coppice_program_verb>(Point::program_verb);
  ASSERT_EQ(verbs.size(), 3U);
  for (size_t i = 0; i < verbs.size(); ++i) {
    EXPECT_EQ(verbs[i].program, begun[0].program);
    EXPECT_EQ(verbs[i].sequence, i + 1);
  }
  EXPECT_THAT(verbs[0].verb, StrEq("create"));
  EXPECT_EQ(verbs[0].mode, u32{COPPICE_CALL_SYNC});
  EXPECT_EQ(verbs[0].error, 0U);
  EXPECT_EQ(verbs[1].error, u32{EEXIST});
  EXPECT_THAT(verbs[2].verb, StrEq("exists"));
  EXPECT_EQ(verbs[2].mode, u32{COPPICE_CALL_OTHER});
  const auto ended = recorder.all<coppice_program_end>(Point::program_end);
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].program, begun[0].program);
  EXPECT_EQ(ended[0].error, 0U);
  EXPECT_EQ(ended[0].began, 1U);
  EXPECT_EQ(ended[0].verbs, outcome.verbs);
  EXPECT_EQ(ended[0].instructions, outcome.instructions);
  EXPECT_EQ(ended[0].latency_ns, outcome.elapsed_ns);
}

TEST(Tracepoints, TellOfAProgramThatNeverBegan) {
  Stage stage(2);
  trace::Recorder recorder({Point::program_begin, Point::program_end});
  Program program = stage.program();
  program.instructions_max = ~u64{0};
  const Outcome outcome = stage.run({}, std::move(program));
  EXPECT_EQ(outcome.error, EINVAL);
  const auto ended = recorder.all<coppice_program_end>(Point::program_end);
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(recorder.events().size(), 1U);
  EXPECT_EQ(ended[0].error, u32{EINVAL});
  EXPECT_EQ(ended[0].began, 0U);
}

}  // namespace
}  // namespace coppice::channel
