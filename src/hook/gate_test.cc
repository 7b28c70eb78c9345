#include "hook/gate.h"

#include <gmock/gmock.h>

#include "hook/testing/bed.h"

namespace coppice::hook {
namespace {

using testing::Bed;
using testing::dataset;
using testing::Engine;
using testing::Workshop;

class GateTest : public ::testing::TestWithParam<Engine> {
 protected:
  Workshop& workshop_ = Workshop::of(GetParam());
  Bed bed_{workshop_, 1};
  const PointType& admin_ = workshop_.type("admin");
  const PointType& connect_ = workshop_.type("export.connect");

  std::optional<Objection> ask_admin(u64 of, std::string_view name) {
    coppice_admin context{};
    Call call;
    call.texts[COPPICE_TEXT_DATASET] = name;
    return ask(bed_.table(), admin_, dataset(of), context, call);
  }
  LinkId keep(u64 on, i32 error, ErrorPolicy policy = ErrorPolicy::pass, Results goes_on = 0) {
    auto instance = workshop_.get("gates");
    testing::set_value(*instance, "refusal", error);
    return bed_.attach({.target = dataset(on),
                        .type = &admin_,
                        .instance = instance,
                        .program = "keeper",
                        .options = {.goes_on = goes_on, .on_error = policy}});
  }
};

// Nobody attached: all goes on.
TEST_P(GateTest, AllowsWhatNobodyRefuses) {
  EXPECT_FALSE(ask_admin(1, "tank/keep"));
  const LinkId link = keep(1, EBUSY);
  EXPECT_FALSE(ask_admin(1, "tank/other"));
  EXPECT_EQ(bed_.table().find(link)->counters->sum().denials, 0U);
}

// A refusal has the program's errno and words, fit for a terminal; no errno, or none there is, is
// EPERM.
TEST_P(GateTest, RefusesWithErrnoAndWords) {
  const LinkId link = keep(1, EBUSY);
  const auto objection = ask_admin(1, "tank/keep/a");
  ASSERT_TRUE(objection);
  EXPECT_EQ(objection->error, EBUSY);
  EXPECT_EQ(objection->message, "it?is kept");
  EXPECT_EQ(objection->link, link);
  EXPECT_EQ(bed_.table().find(link)->counters->sum().denials, 1U);
  bed_.detach(link);
  for (const i32 error : {0, -1, 4096, 1 << 30}) {
    const LinkId next = keep(1, error);
    EXPECT_EQ(ask_admin(1, "tank/keep")->error, EPERM) << error;
    bed_.detach(next);
  }
}

// A hook on a dataset sees what lies below it, and nothing beside it.
TEST_P(GateTest, SeesWhatLiesBelow) {
  bed_.family().parents = {{1, 0}, {2, 1}, {3, 1}, {4, 2}};
  keep(2, EBUSY);
  EXPECT_TRUE(ask_admin(2, "tank/keep"));
  EXPECT_TRUE(ask_admin(4, "tank/keep"));
  EXPECT_FALSE(ask_admin(1, "tank/keep"));
  EXPECT_FALSE(ask_admin(3, "tank/keep"));
}

// The last refusal counts where links let the chain go on after one; by default it ends there.
TEST_P(GateTest, GoesOnAfterARefusalOnlyIfTheLinkSaysSo) {
  keep(1, EBUSY, ErrorPolicy::pass, kAllResults);
  const LinkId second = keep(1, EROFS);
  const LinkId third = keep(1, EIO);
  const auto objection = ask_admin(1, "tank/keep");
  ASSERT_TRUE(objection);
  EXPECT_EQ(objection->error, EROFS);
  EXPECT_EQ(objection->link, second);
  EXPECT_EQ(bed_.table().find(third)->counters->sum().runs, 0U);
}

// A program that fails refuses for a link that says deny, and nothing for one that says pass.
TEST_P(GateTest, FailuresAreTreatedAsTheLinkSays) {
  const auto attach = [&](ErrorPolicy policy) {
    return bed_.attach({.type = &admin_,
                        .instance = testing::failing(admin_),
                        .program = "fail",
                        .options = {.on_error = policy}});
  };
  const LinkId passing = attach(ErrorPolicy::pass);
  EXPECT_FALSE(ask_admin(1, "tank"));
  const LinkId denying = attach(ErrorPolicy::deny);
  const auto objection = ask_admin(1, "tank");
  ASSERT_TRUE(objection);
  EXPECT_EQ(objection->error, EPERM);
  EXPECT_EQ(objection->link, denying);
  EXPECT_EQ(bed_.table().find(passing)->counters->sum().errors, 2U);
  EXPECT_EQ(bed_.table().find(denying)->counters->sum().errors, 1U);
}

// What programs write into the context of a client stays, and the next one sees it.
TEST_P(GateTest, LimitsOfAClientAddUp) {
  const auto gates = workshop_.get("gates");
  for (const char* program : {"halve", "narrow", "halve"})
    bed_.attach({.type = &connect_, .instance = gates, .program = program});
  coppice_connect context{};
  context.bytes_max = 4096;
  context.requests_max = 128;
  Call call;
  call.texts[COPPICE_TEXT_PEER] = "192.0.2.7:51234";
  EXPECT_FALSE(ask(bed_.table(), connect_, dataset(1), context, call));
  EXPECT_EQ(context.bytes_max, 1024U);
  EXPECT_EQ(context.requests_max, 15U);  // The text's length, though it was cut.
  EXPECT_EQ(context.read_only, 1U);
}

INSTANTIATE_TEST_SUITE_P(Engines, GateTest,
                         ::testing::Values(Engine::interpreter, Engine::machine_code),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace coppice::hook
