// serve/nbd/transmission_test.cc — every command, flag and error, the limits, and the end of a
// client.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/nbd/fakes.h"
#include "trace/testing/recorder.h"

namespace coppice::serve::nbd {
namespace {

using fakes::Bytes;
using fakes::Chunk;
using fakes::Reply;
using fakes::Script;
using wire::ChunkType;
using wire::Command;
using wire::Status;

Bytes pattern(size_t size, u64 seed) {
  Prng prng(seed);
  Bytes bytes(round_up(size, sizeof(u64)));
  for (size_t at = 0; at < bytes.size(); at += sizeof(u64))
    store_le(bytes.data() + at, prng.next());
  bytes.resize(size);
  return bytes;
}

struct Visit {
  Result<> outcome;
  std::map<u64, Reply> replies;
  bool well_formed = false;
  Counters counters;
};

class TransmissionTest : public testing::Test {
 protected:
  enum class Kind { simple, structured, contexts };

  Script hello(Kind kind, std::string_view name = "tank/vm") {
    Script script;
    script.hello();
    answers_ = 1;
    if (kind != Kind::simple) {
      script.structured();
      ++answers_;
    }
    if (kind == Kind::contexts) {
      script.contexts(wire::Option::set_meta_context, name, {"base:allocation"});
      ++answers_;
    }
    script.go(name);
    return script;
  }
  void read(Script& script, u64 cookie, u64 offset, u32 length, u16 flags = 0) {
    script.request(Command::read, cookie, offset, length, flags);
    reads_[cookie] = {offset, length};
  }
  Visit run(fakes::ScriptedSocket& socket) {
    Visit visit;
    {
      Lobby lobby(home_, directory_, limits_);
      visit.outcome = scheduler_.run(home_, fakes::visit(lobby, socket, limits_, visit.counters));
      lobby.shutdown();
      EXPECT_TRUE(scheduler_.run(home_, lobby.drained()));
    }
    EXPECT_EQ(directory_.leases, 0u);
    EXPECT_EQ(device_.running, 0u);
    fakes::Listener listener(socket.heard);
    EXPECT_TRUE(listener.greeting());
    for (u32 i = 0; i < answers_; ++i)
      EXPECT_EQ(listener.answers().back().type, wire::OptionReply::ack);
    visit.replies = listener.replies(reads_);
    visit.well_formed = listener.good();
    return visit;
  }
  // Says it all, says goodbye, and expects nothing but well-formed replies.
  std::map<u64, Reply> say(Script script) {
    script.goodbye();
    fakes::ScriptedSocket socket(home_, std::move(script.bytes));
    Visit visit = run(socket);
    EXPECT_TRUE(visit.outcome);
    EXPECT_TRUE(visit.well_formed);
    return visit.replies;
  }

  sim::Scheduler scheduler_{1};
  sim::Executor& home_ = scheduler_.make_executor();
  fakes::MemoryDevice device_{home_, 80_MiB};
  fakes::FakeDirectory directory_{device_};
  Limits limits_;
  u32 answers_ = 0;
  std::map<u64, std::pair<u64, u32>> reads_;
};

TEST_F(TransmissionTest, WhatIsWrittenIsReadInEveryDialectAndSize) {
  for (Kind kind : {Kind::simple, Kind::structured})
    for (u32 size : {1u, 511u, 4096u, 4097u, 65536u, 262144u, 262145u, 1u << 20, 32u << 20}) {
      SCOPED_TRACE(size);
      const Bytes data = pattern(size, size);
      Script script = hello(kind);
      script.write(1, 12345, data);
      read(script, 2, 12345, size);
      read(script, 3, 12344, size - 1, kind == Kind::simple ? 0 : wire::kCommandDf);
      auto replies = say(std::move(script));
      EXPECT_EQ(replies.at(1).status, Status::ok);
      EXPECT_EQ(replies.at(2).data, data);
      EXPECT_EQ(replies.at(2).simple, kind == Kind::simple);
      EXPECT_EQ(Bytes(replies.at(3).data.begin() + (size > 1), replies.at(3).data.end()),
                Bytes(data.begin(), data.begin() + (size > 1 ? size - 2 : 0)));
      if (kind == Kind::structured) {
        EXPECT_EQ(replies.at(3).chunks.size(), 1u);
      }
    }
}

// Tracepoints: each command once, then its answer once, also of one that is refused.
TEST_F(TransmissionTest, CommandsAndAnswersAreTold) {
  trace::Recorder recorder({trace::Point::nbd_receive, trace::Point::nbd_reply});
  Script script = hello(Kind::simple);
  script.write(1, 4096, pattern(512, 1));
  read(script, 2, 4096, 512);
  script.write(3, 80_MiB, pattern(512, 1));  // Behind the end.
  EXPECT_EQ(say(std::move(script)).at(3).status, Status::enospc);
  const auto commands = recorder.all<std::array<u64, 5>>(trace::Point::nbd_receive);
  ASSERT_EQ(commands.size(), 3u);
  for (u64 i = 0; i < 3; ++i) EXPECT_EQ(commands[i][1], i + 1);
  EXPECT_EQ(commands[1][2], u64(Command::read));
  EXPECT_EQ(commands[1][3], 4096u);
  EXPECT_EQ(commands[1][4], 512u);
  const auto answers = recorder.all<std::array<u64, 4>>(trace::Point::nbd_reply);
  ASSERT_EQ(answers.size(), 3u);
  for (const auto& each : answers) {
    EXPECT_EQ(each[0], commands[0][0]);
    EXPECT_EQ(each[2], each[1] == 3 ? u64(Status::enospc) : 0);
  }
}

TEST_F(TransmissionTest, HolesAreNotSentUnlessTheReaderForbidsFragments) {
  const Bytes data = pattern(8192, 1);
  Script script = hello(Kind::structured);
  script.write(1, 1_MiB, data);
  read(script, 2, 1_MiB - 4096, 65536);
  read(script, 3, 1_MiB - 4096, 65536, wire::kCommandDf);
  read(script, 4, 8_MiB, 1 << 20);
  read(script, 5, 8_MiB, 4096);
  auto replies = say(std::move(script));
  Bytes expected(65536);
  std::copy(data.begin(), data.end(), expected.begin() + 4096);
  EXPECT_EQ(replies.at(2).data, expected);
  ASSERT_EQ(replies.at(2).chunks.size(), 3u);
  EXPECT_EQ(replies.at(2).chunks[0].type, ChunkType::offset_hole);
  EXPECT_EQ(replies.at(2).chunks[1].type, ChunkType::offset_data);
  EXPECT_EQ(replies.at(2).chunks[2].flags, wire::kChunkDone);
  EXPECT_EQ(replies.at(3).data, expected);
  EXPECT_EQ(replies.at(3).chunks.size(), 1u);
  EXPECT_EQ(replies.at(4).data, Bytes(1 << 20));
  EXPECT_EQ(replies.at(4).chunks[0].body.size(), 12u);
  EXPECT_EQ(replies.at(5).chunks[0].type, ChunkType::offset_data) << "small reads do not ask";
}

TEST_F(TransmissionTest, FlushTrimZeroesAndCacheReachTheDevice) {
  Script script = hello(Kind::contexts);
  script.write(1, 0, pattern(65536, 1), wire::kCommandFua);
  script.request(Command::flush, 2, 0, 0);
  script.request(Command::trim, 3, 4096, 8192, wire::kCommandFua);
  script.request(Command::write_zeroes, 4, 16384, 4096, wire::kCommandNoHole);
  script.request(Command::write_zeroes, 5, 32768, 4096, wire::kCommandFastZero | wire::kCommandFua);
  script.request(Command::cache, 6, 0, 1 << 20);
  script.request(Command::block_status, 7, 0, 65536);
  script.request(Command::block_status, 8, 4096, 65536 - 4096, wire::kCommandReqOne);
  auto replies = say(std::move(script));
  for (u64 cookie = 1; cookie <= 8; ++cookie)
    EXPECT_EQ(replies.at(cookie).status, Status::ok) << cookie;
  EXPECT_EQ(device_.fua_writes, 3u);
  EXPECT_EQ(device_.flushes, 1u);
  EXPECT_EQ(device_.discards, 1u);
  EXPECT_EQ(device_.prefetches, 1u);
  Bytes expected;
  wire::append_be(expected, wire::kBaseAllocationId);
  for (u32 number : {4096u, 0u, 8192u, 3u, 20480u, 0u, 4096u, 3u, 28672u, 0u})
    wire::append_be(expected, number);
  ASSERT_EQ(replies.at(7).chunks.size(), 1u);
  EXPECT_EQ(replies.at(7).chunks[0].body, expected);
  Bytes one;
  for (u32 number : {wire::kBaseAllocationId, 8192u, 3u}) wire::append_be(one, number);
  EXPECT_EQ(replies.at(8).chunks[0].body, one);
}

TEST_F(TransmissionTest, WhatMakesNoSenseIsRefusedAndTheConnectionGoesOn) {
  const u64 size = device_.size_bytes();
  const Bytes page(4096);
  for (Kind kind : {Kind::simple, Kind::structured}) {
    const bool structured = kind == Kind::structured;
    Script script = hello(kind);
    std::map<u64, Status> expected;
    u64 cookie = 0;
    const auto ask = [&](Command command, u64 offset, u32 length, u16 flags, Status status) {
      script.request(command, ++cookie, offset, length, flags);
      if (command == Command::read) reads_[cookie] = {offset, length};
      expected[cookie] = status;
    };
    const auto write = [&](u64 offset, u16 flags, Status status) {
      script.write(++cookie, offset, page, flags);
      expected[cookie] = status;
    };
    ask(Command::read, size, 1, 0, Status::einval);
    ask(Command::read, ~u64{0}, 4096, 0, Status::einval);
    ask(Command::read, 0, (32 << 20) + 1, 0, Status::einval);
    ask(Command::read, size, 0, 0, Status::ok);
    ask(Command::read, 0, 4096, wire::kCommandDf, structured ? Status::ok : Status::einval);
    ask(Command::read, 0, 4096, wire::kCommandReqOne, Status::einval);
    ask(Command::read, 0, 4096, wire::kCommandFua, Status::ok);
    write(size - 1, 0, Status::enospc);
    write(~u64{0} - 1, 0, Status::enospc);
    write(0, wire::kCommandNoHole, Status::einval);
    write(0, 1 << 15, Status::einval);
    write(0, 0, Status::ok);
    ask(Command::trim, size - 1, 2, 0, Status::einval);
    ask(Command::trim, 0, 0, 0, Status::ok);
    ask(Command::write_zeroes, size, 1, 0, Status::enospc);
    ask(Command::write_zeroes, 0, 80 << 20, wire::kCommandFastZero, Status::ok);
    ask(Command::write_zeroes, 0, 1, wire::kCommandFastZero | wire::kCommandNoHole,
        Status::enotsup);
    ask(Command::cache, size, 1, 0, Status::einval);
    ask(Command::flush, 0, 0, wire::kCommandDf, Status::einval);
    ask(Command::block_status, 0, 4096, 0, Status::einval);  // No context was chosen.
    ask(Command{8}, 0, 0, 0, Status::einval);
    ask(Command{999}, 0, 4096, 0, Status::einval);
    ask(Command::flush, 0, 0, 0, Status::ok);
    auto replies = say(std::move(script));
    EXPECT_EQ(replies.size(), expected.size());
    for (const auto& [each, status] : expected) {
      EXPECT_EQ(replies[each].status, status) << each;
      EXPECT_EQ(replies[each].message.empty(), !structured || status == Status::ok) << each;
    }
  }
}

TEST_F(TransmissionTest, BlockStatusOfNothingIsRefused) {
  Script script = hello(Kind::contexts);
  script.request(Command::block_status, 1, 0, 0);
  EXPECT_EQ(say(std::move(script)).at(1).status, Status::einval);
}

TEST_F(TransmissionTest, AReadOnlyExportIsNotChanged) {
  Script script = hello(Kind::simple, "tank/ro");
  script.write(1, 0, Bytes(4096, std::byte{1}));
  script.write(2, 0, Bytes(300000, std::byte{1}));
  script.request(Command::trim, 3, 0, 4096);
  script.request(Command::write_zeroes, 4, 0, 4096);
  read(script, 5, 0, 4096);
  script.request(Command::flush, 6, 0, 0);
  auto replies = say(std::move(script));
  for (u64 cookie : {1, 2, 3, 4}) EXPECT_EQ(replies.at(cookie).status, Status::eperm);
  EXPECT_EQ(replies.at(5).data, Bytes(4096));
  EXPECT_EQ(replies.at(6).status, Status::ok);
}

TEST_F(TransmissionTest, FailuresOfTheDeviceBecomeTheProtocolsErrors) {
  const std::pair<Errc, Status> cases[] = {
      {Errc::io, Status::eio},           {Errc::corrupt, Status::eio},
      {Errc::no_space, Status::enospc},  {Errc::quota, Status::enospc},
      {Errc::read_only, Status::eperm},  {Errc::invalid, Status::einval},
      {Errc::too_big, Status::einval},   {Errc::unsupported, Status::enotsup},
      {Errc::closed, Status::eshutdown}, {Errc::busy, Status::eio},
  };
  for (Kind kind : {Kind::simple, Kind::contexts})
    for (const auto& [code, status] : cases) {
      device_.fault = {1_MiB, 4096, code, true};
      Script script = hello(kind);
      read(script, 1, 1_MiB, 512);
      script.write(2, 1_MiB, Bytes(4096));
      script.write(3, 1_MiB - 4096, Bytes(1 << 20));
      script.request(Command::trim, 4, 0, 2 << 20);
      script.request(Command::write_zeroes, 5, 0, 2 << 20);
      script.request(Command::cache, 6, 0, 2 << 20);
      script.request(Command::flush, 7, 0, 0);
      auto replies = say(std::move(script));
      for (u64 cookie = 1; cookie <= 7; ++cookie)
        EXPECT_EQ(replies.at(cookie).status, status) << cookie;
      if (kind == Kind::contexts) {
        EXPECT_THAT(replies.at(2).message,
                    testing::HasSubstr("asking a device that was told to fail"));
      }
    }
}

TEST_F(TransmissionTest, ASparseReadSaysWhereItFailed) {
  Script script = hello(Kind::structured);
  script.write(1, 0, Bytes(4096));
  script.write(2, 65536, Bytes(4096));
  say(std::move(script));
  device_.fault = {65536, 1, Errc::corrupt};
  script = hello(Kind::structured);
  read(script, 1, 0, 128 << 10);
  auto replies = say(std::move(script));
  ASSERT_EQ(replies.at(1).chunks.size(), 1u);
  const Bytes& body = replies.at(1).chunks[0].body;
  EXPECT_EQ(replies.at(1).chunks[0].type, ChunkType::error_offset);
  EXPECT_EQ(load_be<u64>(body.data() + body.size() - 8), 65536u);
}

TEST_F(TransmissionTest, OversizedWritesAreSkippedOrEndTheConnection) {
  limits_.request_bytes_max = 1_MiB;
  limits_.skip_bytes_max = 4_MiB;
  Script script = hello(Kind::structured);
  script.write(1, 0, Bytes(2_MiB));
  script.request(Command::flush, 2, 0, 0);
  auto replies = say(std::move(script));
  EXPECT_EQ(replies.at(1).status, Status::einval);
  EXPECT_EQ(replies.at(2).status, Status::ok);
  script = hello(Kind::simple);
  script.request(Command::write, 1, 0, 5_MiB);
  fakes::ScriptedSocket socket(home_, std::move(script.bytes));
  EXPECT_EQ(run(socket).outcome.error().code, Errc::too_big);
  EXPECT_TRUE(socket.shut);
}

TEST_F(TransmissionTest, ABadMagicEndsTheConnection) {
  Script script = hello(Kind::simple);
  script.be(u32{0x12560953}).be(u64{0}).be(u64{0}).be(u64{0});
  fakes::ScriptedSocket socket(home_, std::move(script.bytes));
  EXPECT_EQ(run(socket).outcome.error().code, Errc::invalid);
  EXPECT_TRUE(socket.shut);
}

TEST_F(TransmissionTest, NeverMoreInFlightThanAllowed) {
  Prng delays(7);
  device_.delays = &delays;
  limits_.requests_in_flight_max = 8;
  Script script = hello(Kind::simple);
  for (u64 cookie = 0; cookie < 100; ++cookie) read(script, cookie, cookie * 4096, 4096);
  EXPECT_EQ(say(std::move(script)).size(), 100u);
  EXPECT_EQ(device_.running_max, 8u);

  limits_ = Limits{.bytes_in_flight_max = 16384};
  device_.running_max = 0;
  reads_.clear();
  script = hello(Kind::simple);
  for (u64 cookie = 0; cookie < 100; ++cookie) script.write(cookie, cookie * 4096, Bytes(4096));
  read(script, 100, 0, 1 << 20);  // More than all that is allowed: alone, then.
  EXPECT_EQ(say(std::move(script)).size(), 101u);
  EXPECT_EQ(device_.running_max, 4u);
}

TEST_F(TransmissionTest, AClientThatDoesNotListenIsNotReadFrom) {
  Script script = hello(Kind::simple);
  for (u64 cookie = 0; cookie < 50000; ++cookie) script.request(Command::flush, cookie, 0, 0);
  fakes::ScriptedSocket socket(home_, std::move(script.bytes));
  Lobby lobby(home_, directory_, limits_);
  auto negotiated = scheduler_.run(home_, lobby.negotiate(socket));
  ASSERT_TRUE(negotiated);
  socket.deaf = true;
  auto served = serve_transmission(socket, *negotiated, limits_);
  scheduler_.start(home_, served);
  scheduler_.run_for(1'000'000'000);
  EXPECT_FALSE(served.finished());
  EXPECT_EQ(device_.flushes, limits_.requests_in_flight_max);
  EXPECT_GT(socket.unsaid(), 0u);
  socket.shutdown();
  scheduler_.run_for(1'000'000'000);
  EXPECT_TRUE(served.finished());
  *negotiated = Negotiated{};
  lobby.shutdown();
  EXPECT_TRUE(scheduler_.run(home_, lobby.drained()));
}

TEST_F(TransmissionTest, AClientMayDieAnywhereAndLeavesNothing) {
  Script script = hello(Kind::contexts);
  const size_t start = script.bytes.size();
  script.write(1, 0, pattern(5000, 1));
  read(script, 2, 0, 70000);
  script.write(3, 0, pattern(300000, 1));
  script.request(Command::block_status, 4, 0, 1 << 20);
  const size_t end = script.bytes.size();
  for (u64 seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    device_.delays = &prng;
    const size_t cut = seed < 60 ? start + seed : start + prng.below(end - start);
    fakes::ScriptedSocket socket(home_, {script.bytes.begin(), script.bytes.begin() + cut});
    if (prng.chance(1, 2)) socket.hangs_up_after = 300 + prng.below(2000);
    (void)run(socket);
  }
}

TEST_F(TransmissionTest, RepliesOfOneReceiveShareASend) {
  Script script = hello(Kind::simple);
  for (u64 cookie = 0; cookie < 64; ++cookie) script.write(cookie, 0, Bytes(4096));
  script.goodbye();
  fakes::ScriptedSocket socket(home_, std::move(script.bytes));
  const Visit visit = run(socket);
  EXPECT_EQ(visit.replies.size(), 64u);
  EXPECT_LE(visit.counters.sends, 2u);
  EXPECT_EQ(visit.counters.writes, 64u);
  EXPECT_EQ(visit.counters.bytes_written, 64u * 4096);
}

TEST_F(TransmissionTest, RepliesOfOneTurnShareASend) {
  Prng delays(3);
  device_.delays = &delays;
  Script script = hello(Kind::simple);
  for (u64 cookie = 0; cookie < 128; ++cookie) script.request(Command::flush, cookie, 0, 0);
  script.goodbye();
  fakes::ScriptedSocket socket(home_, std::move(script.bytes));
  const Visit visit = run(socket);
  EXPECT_EQ(visit.replies.size(), 128u);
  EXPECT_LE(visit.counters.sends, 20u);
}

// The conversation of `seed`: random requests, some of them nonsense. Writes go to places of their
// own, so that the replies do not depend on the order in which requests end.
TEST_F(TransmissionTest, TheRepliesDoNotDependOnHowTheBytesArrive) {
  for (u64 seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    reads_.clear();
    Script script = hello(Kind(seed % 3));
    const u32 count = 1 + prng.below(60);
    for (u64 cookie = 0; cookie < count; ++cookie) {
      const u64 offset = cookie * 1_MiB + prng.below(8192);
      const u32 length = prng.chance(1, 8) ? prng.below(800000) : prng.below(9000);
      const u16 flags = prng.chance(1, 10) ? 1 << prng.below(6) : 0;
      switch (prng.below(8)) {
        case 0:
        case 1:
        case 2: script.write(cookie, offset, pattern(length, cookie), flags); break;
        case 3:
        case 4: read(script, cookie, offset, length, flags); break;
        case 5: script.request(Command::write_zeroes, cookie, offset, length, flags); break;
        default: script.request(Command(3 + prng.below(7)), cookie, offset, length, flags); break;
      }
    }
    script.goodbye();
    std::map<u64, Reply> first;
    for (u32 way = 0; way < 5; ++way) {
      SCOPED_TRACE(way);
      limits_ = Limits{};
      if (way == 3) limits_.requests_in_flight_max = 2;
      if (way == 4) limits_.bytes_in_flight_max = 10000;
      device_.delays = way >= 2 ? &prng : nullptr;
      fakes::ScriptedSocket socket(home_, script.bytes);
      if (way == 1 && script.bytes.size() < 200000) socket.piece = [] { return 1; };
      if (way >= 2)
        socket.piece = [&] { return prng.chance(1, 2) ? prng.below(64) : prng.below(100000); };
      Visit visit = run(socket);
      ASSERT_TRUE(visit.outcome);
      ASSERT_TRUE(visit.well_formed);
      ASSERT_EQ(visit.replies.size(), count);
      if (way == 0) first = visit.replies;
      for (auto& [cookie, reply] : visit.replies) {
        ASSERT_EQ(reply.status, first[cookie].status) << cookie;
        ASSERT_EQ(reply.data, first[cookie].data) << cookie;
      }
      // Back to the beginning: everything is a hole again.
      auto erased = scheduler_.run(home_, device_.zero(0, (count + 1) * 1_MiB, {}));
      ASSERT_TRUE(erased);
    }
  }
}

}  // namespace
}  // namespace coppice::serve::nbd
