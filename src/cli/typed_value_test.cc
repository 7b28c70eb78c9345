#include "cli/typed_value.h"

#include <gtest/gtest.h>

#include "base/prng.h"
#include "bpf/testing/btf_section.h"

namespace coppice::cli {
namespace {

using bpf::Btf;
using Kind = Btf::Kind;

// enum colour { red, blue = 7 };
// struct thing { u64 wide; i32 less; bool on; char name[7]; u8 raw[4]; u32 list[3]; enum colour
// paint;
//                struct { u16 in; u16 side; }; };
struct Thing {
  u64 wide;
  i32 less;
  bool on;
  char name[7];
  u8 raw[4];
  u32 list[3];
  u32 paint;
  u16 in, side;
};
static_assert(sizeof(Thing) == 48);

struct Types {
  Types() {
    bpf::BtfSection section;
    const auto array = [&](u32 of, u32 count) {
      return section.add(Kind::array, "", 0, 0, {of, integer, count});
    };
    const auto member = [&](const char* name, u32 type, u32 offset) {
      return std::vector<u32>{section.text(name), type, offset * 8};
    };
    const auto structure = [&](const char* name, u32 size, std::vector<std::vector<u32>> members) {
      std::vector<u32> words;
      for (const auto& each : members) words.insert(words.end(), each.begin(), each.end());
      return section.add(Kind::structure, name, static_cast<u32>(members.size()), size, words);
    };
    integer = section.integer("int", 4, 1);
    word = section.integer("unsigned int", 4, 0);
    const u32 wide = section.integer("unsigned long long", 8, 0);
    const u32 half = section.integer("unsigned short", 2, 0);
    const u32 byte = section.integer("unsigned char", 1, 0);
    const u32 flag = section.integer("_Bool", 1, 4);
    const u32 letter = section.integer("char", 1, 1);
    const u32 colour = section.add(Kind::enumeration, "colour", 2, 4,
                                   {section.text("red"), 0, section.text("blue"), 7});
    const u32 inner = structure("", 4, {member("in", half, 0), member("side", half, 2)});
    thing = structure(
        "thing", sizeof(Thing),
        {member("wide", wide, 0), member("less", integer, 8), member("on", flag, 12),
         member("name", array(letter, 7), 13), member("raw", array(byte, 4), 20),
         member("list", array(word, 3), 24), member("paint", colour, 36), member("", inner, 40)});
    bytes = array(byte, 4);
    open = structure("open", 4, {member("count", word, 0), member("data", array(byte, 0), 4)});
    btf = section.read_good();
  }
  ValueType of(u32 id) const { return {.types = &*btf, .id = id}; }
  u32 integer = 0, word = 0, thing = 0, bytes = 0, open = 0;
  std::optional<Btf> btf;
};

template <class T>
std::span<std::byte> bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

TEST(TypedValue, ShowsFieldsByTheirNames) {
  const Types types;
  Thing thing{.wide = ~u64{0},
              .less = -3,
              .on = true,
              .name = {'v', 'm'},
              .raw = {1, 0xab, 0, 0},
              .list = {1, 2, 3},
              .paint = 7,
              .in = 4,
              .side = 5};
  EXPECT_EQ(show_value(value_of_bytes(types.of(types.thing), bytes_of(thing))),
            "{wide: 18446744073709551615, less: -3, on: true, name: \"vm\", raw: \"01ab0000\", "
            "list: [1, 2, 3], paint: \"blue\", in: 4, side: 5}");
  EXPECT_EQ(value_of_bytes({}, bytes_of(thing.list[0])), "01000000");
}

TEST(TypedValue, ReadsWhatItShows) {
  const Types types;
  for (const u64 seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    for (int i = 0; i < 100; ++i) {
      Thing thing{}, copy{};
      thing.wide = prng.next();
      thing.less = static_cast<i32>(prng.next());
      thing.on = prng.below(2) == 1;
      for (u64 at = 0; at < prng.below(8); ++at) thing.name[at] = "abcdefg"[at];
      for (u8& each : thing.raw) each = static_cast<u8>(prng.next());
      for (u32& each : thing.list) each = static_cast<u32>(prng.next());
      thing.paint = static_cast<u32>(prng.below(9));
      thing.side = static_cast<u16>(prng.next());
      const std::string text = value_of_bytes(types.of(types.thing), bytes_of(thing)).dump();
      ASSERT_TRUE(put_text(types.of(types.thing), text, bytes_of(copy))) << text;
      EXPECT_EQ(std::memcmp(&thing, &copy, sizeof thing), 0) << text;
      // Digits that look like numbers are digits.
      for (const ValueType& type : {ValueType{}, types.of(types.bytes)}) {
        u32 number = static_cast<u32>(prng.below(2) == 0 ? prng.next() : 0x10203040), back = 0;
        const Json digits = value_of_bytes(type, bytes_of(number));
        ASSERT_TRUE(put_text(type, digits.get<std::string>(), bytes_of(back))) << digits;
        EXPECT_EQ(back, number);
      }
    }
  }
}

TEST(TypedValue, ChangesWhatIsNamedAndNothingElse) {
  const Types types;
  Thing thing{};
  thing.less = 9;
  thing.list[2] = 8;
  ASSERT_TRUE(put_text(types.of(types.thing), R"({"wide": "64K", "list": [5], "side": "0x11"})",
                       bytes_of(thing)));
  EXPECT_EQ(thing.wide, 65536u);
  EXPECT_EQ(thing.less, 9);
  EXPECT_EQ(thing.list[0], 5u);
  EXPECT_EQ(thing.list[2], 8u);
  EXPECT_EQ(thing.side, 0x11);
}

TEST(TypedValue, RefusesWhatDoesNotFit) {
  const Types types;
  Thing thing{};
  for (const char* text :
       {R"({"wide": -1})", R"({"less": 2147483648})", R"({"on": 2})", R"({"nothing": 1})",
        R"({"name": "12345678"})", R"({"raw": "0102"})", R"({"list": [1, 2, 3, 4]})",
        R"({"paint": "green"})", R"({"in": 65536})", R"({"in": {}})", R"([1])", "7", "x"}) {
    EXPECT_FALSE(put_text(types.of(types.thing), text, bytes_of(thing))) << text;
  }
  u32 number = 0;
  EXPECT_FALSE(put_text({}, "0102", bytes_of(number)));
  EXPECT_TRUE(put_text({}, "01020304", bytes_of(number)));
}

TEST(TypedValue, AnOpenArrayReachesToTheEndOfItsRecord) {
  const Types types;
  const u8 record[] = {2, 0, 0, 0, 0xaa, 0xbb, 0xcc};
  const Json shown = value_of_bytes(types.of(types.open), std::as_bytes(std::span(record)));
  EXPECT_EQ(show_value(shown), "{count: 2, data: \"aabbcc\"}");
}

TEST(TypedValue, ShortensRunsOfZeroes) {
  EXPECT_EQ(show_value(Json({0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0})), "[0 x4, 1, 0, 0, 2, 0 x5]");
}

}  // namespace
}  // namespace coppice::cli
