// serve/nbd/negotiation_test.cc — every option, its refusals, and the limits of the Lobby.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/nbd/fakes.h"

namespace coppice::serve::nbd {
namespace {

using fakes::Bytes;
using fakes::Listener;
using fakes::OptionAnswer;
using fakes::Script;
using wire::Option;
using wire::OptionReply;

std::string text_of(const Bytes& bytes, size_t from = 0) {
  return {reinterpret_cast<const char*>(bytes.data()) + from, bytes.size() - from};
}

class NegotiationTest : public testing::Test {
 protected:
  // Says `script`, hangs up, and returns what negotiate() made of it.
  Result<Negotiated> say(Script script) {
    socket_ = std::make_unique<fakes::ScriptedSocket>(home_, std::move(script.bytes));
    auto negotiated = scheduler_.run(home_, lobby().negotiate(*socket_));
    listener_.emplace(socket_->heard);
    EXPECT_TRUE(listener_->greeting());
    return negotiated;
  }
  // The only or last answer to the next option.
  OptionAnswer next() { return listener_->answers().back(); }
  Lobby& lobby() {
    if (!lobby_) lobby_.emplace(home_, directory_, limits_);
    return *lobby_;
  }
  ~NegotiationTest() override {
    if (!lobby_) return;
    lobby_->shutdown();
    EXPECT_TRUE(scheduler_.run(home_, lobby_->drained()));
    EXPECT_EQ(directory_.leases, 0u);
  }

  sim::Scheduler scheduler_{1};
  sim::Executor& home_ = scheduler_.make_executor();
  fakes::MemoryDevice device_{home_, 1_MiB};
  fakes::FakeDirectory directory_{device_};
  Limits limits_;
  std::optional<Lobby> lobby_;
  std::unique_ptr<fakes::ScriptedSocket> socket_;
  std::optional<Listener> listener_;
};

constexpr u16 kWritable = wire::kFlagHasFlags | wire::kFlagSendFlush | wire::kFlagSendFua |
                          wire::kFlagSendTrim | wire::kFlagSendWriteZeroes |
                          wire::kFlagCanMultiConn | wire::kFlagSendCache | wire::kFlagSendFastZero;

TEST_F(NegotiationTest, GoTellsSizeFlagsAndBlockSizes) {
  auto negotiated = say(Script().hello().go());
  ASSERT_TRUE(negotiated);
  EXPECT_FALSE(negotiated->structured);
  EXPECT_FALSE(negotiated->allocation_context);
  EXPECT_EQ(negotiated->attachment->info().name, "tank/vm");
  const auto answers = listener_->answers();
  ASSERT_EQ(answers.size(), 3u);
  Reader fields(answers[0].data);
  EXPECT_EQ(fields.get_be<wire::Info>(), wire::Info::export_);
  EXPECT_EQ(fields.get_be<u64>(), 1_MiB);
  EXPECT_EQ(fields.get_be<u16>(), kWritable);
  EXPECT_TRUE(fields.done());
  Reader sizes(answers[1].data);
  EXPECT_EQ(sizes.get_be<wire::Info>(), wire::Info::block_size);
  EXPECT_EQ(sizes.get_be<u32>(), 1u);
  EXPECT_EQ(sizes.get_be<u32>(), 4096u);
  EXPECT_EQ(sizes.get_be<u32>(), 32_MiB);
  EXPECT_EQ(answers[2].type, OptionReply::ack);
  EXPECT_EQ(lobby().connected(), 1u);
}

TEST_F(NegotiationTest, AReadOnlyExportSaysSoAndOffersNoTrim) {
  auto negotiated = say(Script().hello().structured().go("tank/ro"));
  ASSERT_TRUE(negotiated);
  EXPECT_TRUE(negotiated->structured);
  EXPECT_EQ(next().type, OptionReply::ack);
  const auto answers = listener_->answers();
  Reader fields(answers[0].data);
  fields.skip(10);
  EXPECT_EQ(fields.get_be<u16>(), wire::kFlagHasFlags | wire::kFlagReadOnly | wire::kFlagSendFlush |
                                      wire::kFlagSendFua | wire::kFlagSendDf |
                                      wire::kFlagCanMultiConn | wire::kFlagSendCache);
}

TEST_F(NegotiationTest, InfoAnswersWhatWasAskedAndGoesOn) {
  auto negotiated = say(
      Script().hello().info(Option::info, "", {wire::Info::name, wire::Info::description}).go(""));
  ASSERT_TRUE(negotiated);
  const auto answers = listener_->answers();
  ASSERT_EQ(answers.size(), 5u);
  EXPECT_EQ(text_of(answers[2].data, 2), "tank/vm");
  EXPECT_EQ(text_of(answers[3].data, 2), "a machine's disk");
  EXPECT_EQ(answers[4].option, Option::info);
  EXPECT_EQ(directory_.opens, 1u) << "one lease serves both options";
}

TEST_F(NegotiationTest, ExportNameHasPaddingUnlessRefused) {
  for (u32 flags : {1u, 3u, 0u}) {
    Script script;
    const Bytes name = Script::named("tank/vm");
    script.hello(flags).option(Option::export_name, {name.begin() + 4, name.end()});
    auto negotiated = say(std::move(script));
    ASSERT_TRUE(negotiated) << describe(negotiated.error());
    Reader fields(socket_->heard);
    fields.skip(18);
    EXPECT_EQ(fields.get_be<u64>(), 1_MiB);
    EXPECT_EQ(fields.get_be<u16>(), kWritable);
    EXPECT_EQ(fields.remaining(), flags == 3 ? 0 : wire::kExportNamePadding);
  }
}

TEST_F(NegotiationTest, ExportNameCanOnlyFailByHangingUp) {
  Script script;
  script.hello().option(Option::export_name, Bytes(3, std::byte{'x'}));
  EXPECT_EQ(say(std::move(script)).error().code, Errc::not_found);
  Script longer;
  longer.hello().option(Option::export_name, Bytes(limits_.name_bytes_max + 1));
  EXPECT_EQ(say(std::move(longer)).error().code, Errc::too_big);
}

TEST_F(NegotiationTest, ListNamesEveryExport) {
  (void)say(Script().hello().option(Option::list).option(Option::list, Bytes(1)).go());
  const auto answers = listener_->answers();
  ASSERT_EQ(answers.size(), 3u);
  Reader fields(answers[0].data);
  EXPECT_EQ(fields.get_be<u32>(), 7u);
  EXPECT_EQ(text_of(answers[0].data, 4), "tank/vma machine's disk");
  EXPECT_EQ(answers[1].type, OptionReply::server);
  EXPECT_EQ(answers[2].type, OptionReply::ack);
  EXPECT_EQ(next().type, OptionReply::err_invalid);
  EXPECT_EQ(next().type, OptionReply::ack) << "the connection went on";
}

TEST_F(NegotiationTest, AListBeyondItsLimitIsRefused) {
  limits_.exports_listed_max = 1;
  (void)say(Script().hello().option(Option::list));
  EXPECT_EQ(next().type, OptionReply::err_too_big);
}

TEST_F(NegotiationTest, ALongListIsSentInParts) {
  directory_.names.assign(5000, {std::string(100, 'n'), "d"});
  (void)say(Script().hello().option(Option::list));
  EXPECT_EQ(listener_->answers().size(), 5001u);
  EXPECT_TRUE(listener_->good());
  EXPECT_GT(socket_->sends, 5u);
}

TEST_F(NegotiationTest, WhatTheDirectorySaysReachesTheClient) {
  const std::pair<Errc, OptionReply> cases[] = {
      {Errc::denied, OptionReply::err_policy},   {Errc::busy, OptionReply::err_policy},
      {Errc::too_big, OptionReply::err_policy},  {Errc::closed, OptionReply::err_shutdown},
      {Errc::corrupt, OptionReply::err_unknown},
  };
  for (const auto& [failure, expected] : cases) {
    directory_.failure = failure;
    (void)say(Script()
                  .hello()
                  .go()
                  .structured()
                  .contexts(Option::set_meta_context, "tank/vm", {"base:allocation"})
                  .option(Option::list));
    const OptionAnswer answer = next();
    EXPECT_EQ(answer.type, expected);
    EXPECT_THAT(text_of(answer.data), testing::HasSubstr("opening an export"));
    EXPECT_EQ(next().type, OptionReply::ack);
    EXPECT_EQ(next().type, expected);
    EXPECT_EQ(next().type, expected);
  }
}

TEST_F(NegotiationTest, AnUnknownExportIsRefusedAndAnotherMayBeChosen) {
  auto negotiated = say(Script().hello().go("nowhere").go("tank/ro"));
  ASSERT_TRUE(negotiated);
  EXPECT_EQ(next().type, OptionReply::err_unknown);
  EXPECT_EQ(negotiated->attachment->info().name, "tank/ro");
}

TEST_F(NegotiationTest, UnknownOptionsAndTlsAreRefusedWithoutLosingSync) {
  auto negotiated = say(Script()
                            .hello()
                            .option(Option{4})
                            .option(Option{11})
                            .option(Option{~0u}, Bytes(999))
                            .option(Option::starttls)
                            .go());
  ASSERT_TRUE(negotiated);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(next().type, OptionReply::err_unsup);
  EXPECT_EQ(next().type, OptionReply::ack);
  EXPECT_EQ(listener_->remaining(), 0u);
}

TEST_F(NegotiationTest, LongOptionsAreSkippedAndAbsurdOnesEndIt) {
  auto negotiated =
      say(Script().hello().option(Option::go, Bytes(limits_.option_bytes_max + 1)).go());
  ASSERT_TRUE(negotiated);
  EXPECT_EQ(next().type, OptionReply::err_too_big);
  EXPECT_EQ(next().type, OptionReply::ack);
  Script absurd;
  absurd.hello().be(wire::kOptionMagic).be(u32{7}).be(~u32{0});
  EXPECT_EQ(say(std::move(absurd)).error().code, Errc::too_big);
}

TEST_F(NegotiationTest, LengthsThatDoNotAddUpAreRefused) {
  for (Option option :
       {Option::info, Option::go, Option::set_meta_context, Option::list_meta_context}) {
    Script script;
    script.hello().structured();
    const Bytes whole = Script::named("tank/vm");
    script.option(option, {});
    script.option(option, {whole.begin(), whole.end() - 1});
    script.option(option, whole);
    Bytes trailing = whole;
    trailing.resize(trailing.size() + 7);
    script.option(option, trailing);
    Bytes huge;
    wire::append_be<u32>(huge, ~0u);
    script.option(option, huge);
    (void)say(std::move(script));
    EXPECT_EQ(next().type, OptionReply::ack);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(next().type, OptionReply::err_invalid);
    EXPECT_TRUE(listener_->good());
  }
}

TEST_F(NegotiationTest, LongNamesAreRefused) {
  const std::string name(limits_.name_bytes_max + 1, 'n');
  (void)say(Script().hello().go(name).structured().contexts(Option::list_meta_context, name, {}));
  EXPECT_EQ(next().type, OptionReply::err_too_big);
  EXPECT_EQ(next().type, OptionReply::ack);
  EXPECT_EQ(next().type, OptionReply::err_too_big);
}

TEST_F(NegotiationTest, MetaContextsNeedStructuredReplies) {
  (void)say(Script()
                .hello()
                .contexts(Option::list_meta_context, "tank/vm", {})
                .option(Option::structured_reply, Bytes(1)));
  EXPECT_EQ(next().type, OptionReply::err_invalid);
  EXPECT_EQ(next().type, OptionReply::err_invalid);
}

TEST_F(NegotiationTest, MetaContextsAreListedAndChosen) {
  const auto list = Option::list_meta_context;
  auto negotiated =
      say(Script()
              .hello()
              .structured()
              .contexts(list, "tank/vm", {})
              .contexts(list, "tank/vm", {"base:"})
              .contexts(list, "tank/vm", {"qemu:"})
              .contexts(list, "nowhere", {})
              .contexts(Option::set_meta_context, "tank/vm", {"x-y:z", "base:allocation"})
              .go());
  ASSERT_TRUE(negotiated);
  EXPECT_TRUE(negotiated->allocation_context);
  EXPECT_EQ(next().type, OptionReply::ack);
  for (size_t expected : {2, 2, 1}) EXPECT_EQ(listener_->answers().size(), expected);
  EXPECT_EQ(next().type, OptionReply::err_unknown);
  const auto chosen = listener_->answers();
  ASSERT_EQ(chosen.size(), 2u);
  EXPECT_EQ(load_be<u32>(chosen[0].data.data()), wire::kBaseAllocationId);
  EXPECT_EQ(text_of(chosen[0].data, 4), "base:allocation");
}

TEST_F(NegotiationTest, AContextHoldsForItsExportOnlyAndTheLastChoiceCounts) {
  const auto set = Option::set_meta_context;
  EXPECT_FALSE(say(Script().hello().structured().contexts(set, "tank/ro", {"base:allocation"}).go())
                   ->allocation_context);
  EXPECT_FALSE(say(Script()
                       .hello()
                       .structured()
                       .contexts(set, "tank/vm", {"base:allocation"})
                       .contexts(set, "tank/vm", {})
                       .go())
                   ->allocation_context);
  EXPECT_FALSE(say(Script().hello().structured().contexts(set, "tank/vm", {"base:"}).go())
                   ->allocation_context)
      << "a namespace is for listing";
}

TEST_F(NegotiationTest, AbortIsAcknowledged) {
  EXPECT_EQ(say(Script().hello().option(Option::abort)).error().code, Errc::closed);
  EXPECT_EQ(next().type, OptionReply::ack);
}

TEST_F(NegotiationTest, NonsenseEndsTheConnection) {
  EXPECT_EQ(say(Script().hello(4)).error().code, Errc::invalid);
  EXPECT_EQ(say(Script().hello(0).go()).error().code, Errc::invalid);
  EXPECT_EQ(say(Script().hello().be(u64{1}).be(u64{2})).error().code, Errc::invalid);
  EXPECT_EQ(say(Script()).error().code, Errc::closed);
  EXPECT_EQ(say(Script().hello().be(u32{1})).error().code, Errc::closed);
}

TEST_F(NegotiationTest, WhoeverKeepsAskingIsCutOff) {
  Script script;
  script.hello();
  for (u32 i = 0; i <= limits_.options_max; ++i) script.option(Option{99});
  EXPECT_EQ(say(std::move(script)).error().code, Errc::too_big);
}

TEST_F(NegotiationTest, TheSeatsAreCounted) {
  limits_.connections_max = 1;
  {
    auto first = say(Script().hello().go());
    ASSERT_TRUE(first);
    EXPECT_EQ(say(Script().hello().go()).error().code, Errc::closed);
    EXPECT_EQ(next().type, OptionReply::err_policy);
    EXPECT_EQ(lobby().connected(), 1u);
  }
  EXPECT_EQ(lobby().connected(), 0u);
  EXPECT_TRUE(say(Script().hello().go()));
}

TEST_F(NegotiationTest, SlowClientsAreCutOffAndLeaveNothing) {
  fakes::ScriptedSocket slow(home_, Script().hello().bytes);
  slow.stays = true;
  auto outcome = scheduler_.run(home_, lobby().negotiate(slow));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, Errc::timed_out);
  EXPECT_TRUE(slow.shut);
  EXPECT_GE(scheduler_.now_ns(), limits_.negotiation_ns);
  EXPECT_LE(scheduler_.now_ns(), limits_.negotiation_ns + 1'000'000'000);
  EXPECT_EQ(lobby().negotiating(), 0u);
}

TEST_F(NegotiationTest, AFullOrClosedLobbyTakesNobody) {
  limits_.negotiations_max = 0;
  fakes::ScriptedSocket socket(home_, Script().hello().bytes);
  EXPECT_EQ(scheduler_.run(home_, lobby().negotiate(socket)).error().code, Errc::too_big);
  lobby().shutdown();
  EXPECT_EQ(scheduler_.run(home_, lobby().negotiate(socket)).error().code, Errc::closed);
}

TEST_F(NegotiationTest, WhatFollowsTheChoiceIsLeftOver) {
  Script script;
  script.hello().go();
  const size_t before = script.bytes.size();
  script.request(wire::Command::flush, 7, 0, 0);
  const Bytes rest(script.bytes.begin() + before, script.bytes.end());
  auto negotiated = say(std::move(script));
  ASSERT_TRUE(negotiated);
  EXPECT_EQ(negotiated->leftover, rest);
}

}  // namespace
}  // namespace coppice::serve::nbd
