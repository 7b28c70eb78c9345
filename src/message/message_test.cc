// What is encoded comes back equal; what was not encoded here is refused without harm.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/prng.h"
#include "message/program.h"

namespace coppice::message {
namespace {

std::string random_text(Prng& prng) {
  std::string text(prng.below(20), ' ');
  for (char& c : text) c = static_cast<char>(prng.below(256));
  return text;
}

Value random_value(Prng& prng, size_t depth = 0) {
  switch (prng.below(depth < 4 ? 8 : 6)) {
    case 0: return {};
    case 1: return prng.chance(1, 2);
    case 2: return static_cast<i64>(prng.next());
    case 3: return static_cast<double>(static_cast<i64>(prng.next())) / 3;
    case 4:
    case 5: return random_text(prng);
    case 6: {
      List list;
      for (u64 i = prng.below(5); i > 0; --i) list.push_back(random_value(prng, depth + 1));
      return list;
    }
    default: {
      Record record;
      for (u64 i = prng.below(5); i > 0; --i) {
        std::string name = random_text(prng);
        record.emplace_back(std::move(name), random_value(prng, depth + 1));
      }
      return record;
    }
  }
}

List random_list(Prng& prng) {
  List list;
  for (u64 i = prng.below(5); i > 0; --i) list.push_back(random_value(prng));
  return list;
}

Record random_record(Prng& prng) {
  Record record;
  for (u64 i = prng.below(5); i > 0; --i) {
    std::string name = random_text(prng);
    record.emplace_back(std::move(name), random_value(prng));
  }
  return record;
}

Ask random_ask(Prng& prng) {
  return {.call = static_cast<Call>(prng.between(1, 12)),
          .verb = static_cast<u16>(prng.next()),
          .positional = random_list(prng),
          .named = random_record(prng)};
}

Begin random_begin(Prng& prng) {
  return {.sync = prng.chance(1, 2),
          .instructions_max = prng.next(),
          .memory_bytes_max = prng.next(),
          .pool = random_text(prng),
          .name = random_text(prng),
          .source = random_text(prng),
          .argument = random_value(prng)};
}

Answer random_answer(Prng& prng) {
  return {.error = static_cast<i32>(prng.next()),
          .fatal = prng.chance(1, 2),
          .value = random_value(prng),
          .message = random_text(prng)};
}

End random_end(Prng& prng) {
  return {.ending = static_cast<Ending>(prng.below(6)),
          .too_big = prng.chance(1, 2),
          .value = random_value(prng),
          .message = random_text(prng),
          .traceback = random_text(prng),
          .instructions = prng.next(),
          .memory_peak_bytes = prng.next()};
}

// The message in a frame whose head says what the frame is.
template <class Message>
std::optional<Message> unframe(const std::vector<std::byte>& frame, FrameKind kind) {
  if (frame.size() < kFrameHeadBytes) return std::nullopt;
  const auto head =
      decode_head(std::span<const std::byte, kFrameHeadBytes>(frame.data(), kFrameHeadBytes));
  if (!head || head->kind != kind || head->length != frame.size() - sizeof(u32))
    return std::nullopt;
  return decode<Message>(std::span(frame).subspan(kFrameHeadBytes));
}

TEST(Value, ComesBackEqual) {
  for (u64 seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    const Value value = random_value(prng);
    Encoder encoder;
    encoder.put(value);
    Decoder decoder(encoder.bytes());
    EXPECT_TRUE(decoder.get_value() == value);
    EXPECT_TRUE(decoder.done());
  }
}

TEST(Value, ExtremesComeBackEqual) {
  const List list = {std::numeric_limits<i64>::min(),
                     std::numeric_limits<i64>::max(),
                     std::numeric_limits<double>::infinity(),
                     -0.0,
                     "",
                     std::string(1, '\0'),
                     List{},
                     Record{},
                     Value{}};
  Encoder encoder;
  encoder.put(Value(list));
  Decoder decoder(encoder.bytes());
  EXPECT_TRUE(decoder.get_value() == Value(list));
  EXPECT_TRUE(decoder.done());
}

TEST(Value, PiecesEncodeAsTheWholeDoes) {
  Encoder whole, pieces;
  whole.put(Value(Record{{"rows", List{Value(List{"a", i64{7}})}}}));
  pieces.put_record_head(1);
  pieces.put(std::string_view("rows"));
  pieces.put_list_head(1);
  pieces.put_list_head(2);
  pieces.put_text_value("a");
  pieces.put_integer_value(7);
  EXPECT_TRUE(std::ranges::equal(whole.bytes(), pieces.bytes()));
}

TEST(Value, DeeperThanTheLimitIsRefused) {
  for (const bool records : {false, true}) {
    for (const size_t depth : {kDepthMax, kDepthMax + 1, size_t{100'000}}) {
      SCOPED_TRACE(depth);
      Encoder encoder;
      for (size_t i = 0; i < depth; ++i) {
        records ? encoder.put_record_head(1) : encoder.put_list_head(1);
        if (records) encoder.put(std::string_view());
      }
      encoder.put(Tag::nil);
      Decoder decoder(encoder.bytes());
      decoder.get_value();
      EXPECT_EQ(decoder.done(), depth <= kDepthMax);
    }
  }
}

TEST(Value, CountsThatTheBytesCannotHoldAreRefused) {
  for (const Tag tag : {Tag::text, Tag::list, Tag::record}) {
    for (const u32 count : {u32{2}, u32{1} << 30, ~u32{0}}) {
      SCOPED_TRACE(count);
      Encoder encoder;
      encoder.put(tag);
      encoder.put(count);
      encoder.put(u8{0});
      Decoder decoder(encoder.bytes());
      EXPECT_TRUE(decoder.get_value().is_nil());
      EXPECT_FALSE(decoder.good());
    }
  }
}

TEST(Value, MoreValuesThanTheLimitAreRefused) {
  for (const size_t count : {kValuesMax - 1, kValuesMax}) {  // And the list itself.
    SCOPED_TRACE(count);
    Encoder encoder;
    encoder.put_list_head(count);
    for (size_t i = 0; i < count; ++i) encoder.put(Tag::nil);
    Decoder decoder(encoder.bytes());
    decoder.get_value();
    EXPECT_EQ(decoder.done(), count < kValuesMax);
  }
}

TEST(Value, UnknownTagsAndOddFlagsAreRefused) {
  for (unsigned tag = 8; tag < 256; ++tag) {
    const std::byte byte[] = {static_cast<std::byte>(tag)};
    Decoder decoder(byte);
    EXPECT_TRUE(decoder.get_value().is_nil());
    EXPECT_FALSE(decoder.good()) << tag;
  }
  const std::byte two[] = {std::byte{2}};
  Decoder decoder(two);
  EXPECT_FALSE(decoder.get_bool());
  EXPECT_FALSE(decoder.good());
}

TEST(Frames, ComeBackEqual) {
  for (u64 seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    const Begin begin = random_begin(prng);
    const auto begin2 = unframe<Begin>(encode(begin), FrameKind::begin);
    ASSERT_TRUE(begin2);
    EXPECT_EQ(std::tie(begin.sync, begin.instructions_max, begin.memory_bytes_max, begin.pool,
                       begin.name, begin.source),
              std::tie(begin2->sync, begin2->instructions_max, begin2->memory_bytes_max,
                       begin2->pool, begin2->name, begin2->source));
    EXPECT_TRUE(begin.argument == begin2->argument);

    const Ask ask = random_ask(prng);
    const auto ask2 = unframe<Ask>(encode(ask), FrameKind::ask);
    ASSERT_TRUE(ask2);
    EXPECT_TRUE(ask.call == ask2->call && ask.verb == ask2->verb);
    EXPECT_TRUE(ask.positional == ask2->positional && ask.named == ask2->named);

    const Answer answer = random_answer(prng);
    const auto answer2 = unframe<Answer>(encode(answer), FrameKind::answer);
    ASSERT_TRUE(answer2);
    EXPECT_TRUE(answer.error == answer2->error && answer.fatal == answer2->fatal);
    EXPECT_TRUE(answer.value == answer2->value && answer.message == answer2->message);

    const End end = random_end(prng);
    const auto end2 = unframe<End>(encode(end), FrameKind::end);
    ASSERT_TRUE(end2);
    EXPECT_TRUE(end.ending == end2->ending && end.too_big == end2->too_big);
    EXPECT_TRUE(end.value == end2->value && end.message == end2->message);
    EXPECT_EQ(std::tie(end.traceback, end.instructions, end.memory_peak_bytes),
              std::tie(end2->traceback, end2->instructions, end2->memory_peak_bytes));
  }
}

TEST(Packets, ComeBackEqual) {
  const Nursery nursery{.version = 3, .verbs = {{"create", "create NAME"}, {"", ""}}};
  const auto nursery2 = decode<Nursery>(encode(nursery));
  ASSERT_TRUE(nursery2);
  ASSERT_EQ(nursery2->verbs.size(), 2U);
  EXPECT_EQ(nursery2->version, 3U);
  EXPECT_EQ(nursery2->verbs[0].name, "create");
  EXPECT_EQ(nursery2->verbs[0].usage, "create NAME");
  EXPECT_EQ(nursery2->verbs[1].name, "");

  const auto spawn = decode<Spawn>(encode(Spawn{.id = 1, .cpu_ns_max = 2, .memory_bytes_max = 3}));
  ASSERT_TRUE(spawn);
  EXPECT_TRUE(spawn->id == 1 && spawn->cpu_ns_max == 2 && spawn->memory_bytes_max == 3);
  const auto started = decode<Started>(encode(Started{.id = 1, .pid = 2, .error = -3}));
  ASSERT_TRUE(started);
  EXPECT_TRUE(started->id == 1 && started->pid == 2 && started->error == -3);
  const auto ended = decode<Ended>(encode(Ended{.id = 1, .signal = 2, .status = 3}));
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->id == 1 && ended->signal == 2 && ended->status == 3);
}

TEST(Packets, OfOneKindAreNoneOfAnother) {
  EXPECT_FALSE(decode<Ended>(encode(Started{})));
  EXPECT_FALSE(decode<Started>(encode(Ended{})));
  EXPECT_FALSE(decode<Nursery>(encode(Spawn{})));
}

TEST(Frames, HeadsOfNoFrameAreRefused) {
  const auto head = [](u32 length, u8 kind) {
    std::byte bytes[kFrameHeadBytes];
    store_le(bytes, length);
    store_le(bytes + 4, kind);
    return decode_head(bytes);
  };
  for (unsigned kind = 0; kind < 256; ++kind)
    EXPECT_EQ(head(1, static_cast<u8>(kind)).has_value(), kind >= 1 && kind <= 4) << kind;
  for (u8 kind = 1; kind <= 4; ++kind) {
    const u32 most = static_cast<u32>(length_max(static_cast<FrameKind>(kind)));
    EXPECT_FALSE(head(0, kind));
    EXPECT_TRUE(head(most, kind));
    EXPECT_FALSE(head(most + 1, kind));
    EXPECT_FALSE(head(~u32{0}, kind));
  }
}

template <class Message>
void expect_prefixes_refused(const Message& message, size_t skip) {
  std::vector<std::byte> bytes = encode(message);
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(skip));
  for (size_t size = 0; size < bytes.size(); ++size)
    ASSERT_FALSE(decode<Message>(std::span(bytes).first(size))) << size << " of " << bytes.size();
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode<Message>(bytes)) << "with a byte too many";
}

TEST(Messages, CutOrWithMoreBehindAreRefused) {
  for (u64 seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    expect_prefixes_refused(random_begin(prng), kFrameHeadBytes);
    expect_prefixes_refused(random_ask(prng), kFrameHeadBytes);
    expect_prefixes_refused(random_answer(prng), kFrameHeadBytes);
    expect_prefixes_refused(random_end(prng), kFrameHeadBytes);
    expect_prefixes_refused(Nursery{.version = 1, .verbs = {{"a", "b"}}}, 0);
    expect_prefixes_refused(Spawn{}, 0);
    expect_prefixes_refused(Started{}, 0);
    expect_prefixes_refused(Ended{}, 0);
  }
}

// Bytes that were changed either do not decode, or decode to what encodes to the same bytes again.
TEST(Messages, ChangedBytesDoNoHarm) {
  size_t decoded = 0, refused = 0;
  for (u64 seed = 1; seed <= 3000; ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    std::vector<std::byte> bytes = encode(random_ask(prng));
    bytes.erase(bytes.begin(), bytes.begin() + kFrameHeadBytes);
    for (u64 i = prng.between(1, 4); i > 0; --i)
      bytes[prng.below(bytes.size())] = static_cast<std::byte>(prng.next());
    if (const auto ask = decode<Ask>(bytes)) {
      ++decoded;
      const std::vector<std::byte> again = encode(*ask);
      ASSERT_TRUE(std::ranges::equal(std::span(again).subspan(kFrameHeadBytes), bytes));
    } else {
      ++refused;
    }
  }
  EXPECT_GT(decoded, 100U);
  EXPECT_GT(refused, 100U);
}

TEST(Messages, UnknownCallsAndEndingsAreRefused) {
  for (unsigned value = 0; value < 256; ++value) {
    const auto ask = unframe<Ask>(encode(Ask{.call = static_cast<Call>(value)}), FrameKind::ask);
    EXPECT_EQ(ask.has_value(), value >= 1 && value <= 12) << value;
    End end;
    end.ending = static_cast<Ending>(value);
    EXPECT_EQ(unframe<End>(encode(end), FrameKind::end).has_value(), value <= 5) << value;
  }
}

}  // namespace
}  // namespace coppice::message
