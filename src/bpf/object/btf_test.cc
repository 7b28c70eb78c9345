// BTF sections written by hand: what is right reads as it was written, what is wrong is refused
// with the type and the place.
#include "bpf/object/btf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "bpf/testing/btf_section.h"

namespace coppice::bpf {
namespace {

using Kind = Btf::Kind;
using testing::HasSubstr;

TEST(Btf, ReadsAsItWasWritten) {
  BtfSection s;
  const u32 integer = s.integer();
  const u32 byte = s.integer("char", 1);
  const u32 array = s.add(Kind::array, "", 0, 0, {byte, integer, 16});
  const u32 constant = s.add(Kind::const_, "", 0, array);
  const u32 outer = s.add(Kind::structure, "outer", 3, 24,
                          {s.text("number"), integer, 0,            //
                           s.text("bits"), integer, 5u << 24 | 35,  // 5 bits at bit 35.
                           s.text("name"), constant, 64},
                          true);
  const u32 pointer = s.add(Kind::pointer, "", 0, outer);
  const u32 state = s.add(Kind::enumeration, "state", 2, 4,
                          {s.text("kNegative"), 0xffffffff, s.text("kOne"), 1}, true);
  const u32 wide = s.add(Kind::enumeration64, "wide", 1, 8, {s.text("kWide"), 2, 3});
  const u32 prototype = s.add(Kind::prototype, "", 2, integer, {s.text("p"), pointer, 0, 0});
  const u32 function = s.add(Kind::function, "f", 1, prototype);
  const u32 callback = s.add(Kind::pointer, "", 0, prototype);
  const u32 name = s.add(Kind::typedef_, "outer_t", 0, outer);
  const u32 variable = s.add(Kind::variable, "v", 0, name, {1});
  s.add(Kind::section, ".data", 2, 0, {variable, 24, 24, variable, 0, 24});
  s.add(Kind::declaration_tag, "tag", 0, outer, {2});
  s.add(Kind::forward, "elsewhere", 0, 0, {}, true);
  const u32 loop = s.add(Kind::structure, "loop", 1, 8, {s.text("next"), 18, 0});
  s.add(Kind::pointer, "", 0, loop);
  const Btf btf = s.read_good();

  EXPECT_EQ(btf.count(), 19u);
  const auto members = btf.type(outer).members;
  ASSERT_EQ(members.size(), 3u);
  EXPECT_EQ(members[1].name, "bits");
  EXPECT_EQ(members[1].bit_offset, 35u);
  EXPECT_EQ(members[1].bitfield_size, 5u);
  EXPECT_EQ(btf.type(state).enumerators[0].value, ~u64{0});
  EXPECT_EQ(btf.type(wide).enumerators[0].value, 0x300000002u);
  EXPECT_EQ(btf.type(function).linkage, Btf::Linkage::global);
  EXPECT_EQ(btf.skip_modifiers(name), outer);
  EXPECT_EQ(btf.size_of(constant), 16u);
  EXPECT_EQ(btf.size_of(variable), 24u);
  EXPECT_EQ(btf.size_of(function), std::nullopt);
  EXPECT_EQ(btf.size_of(0), std::nullopt);
  EXPECT_EQ(btf.find("outer", Kind::structure), outer);
  EXPECT_EQ(btf.find("outer", Kind::union_), std::nullopt);
  const u32 section = *btf.find(".data", Kind::section);
  EXPECT_EQ(btf.type(section).placed[0].offset, 0u);
  EXPECT_EQ(btf.type(section).placed[1].offset, 24u);

  EXPECT_EQ(btf.describe(constant), "const char[16]");
  EXPECT_EQ(btf.describe(pointer), "struct outer *");
  EXPECT_EQ(btf.describe(function), "int f(struct outer *, ...)");
  EXPECT_EQ(btf.describe(callback), "int (*)(struct outer *, ...)");
  EXPECT_EQ(btf.describe(name), "outer_t");
  EXPECT_EQ(btf.describe(0), "void");
}

TEST(Btf, FindsFlavours) {
  BtfSection s;
  const u32 plain = s.add(Kind::structure, "a", 0, 0);
  const u32 flavour = s.add(Kind::structure, "a___new", 0, 0);
  s.add(Kind::structure, "a__other", 0, 0);
  s.add(Kind::structure, "ab", 0, 0);
  const u32 renamed = s.add(Kind::typedef_, "a", 0, plain);
  EXPECT_THAT(s.read_good().find_flavours("a"), testing::ElementsAre(plain, flavour, renamed));
}

TEST(Btf, SpellsOutTypesThatGoRoundInBoundedWords) {
  BtfSection s;  // typedef of a function that takes pointers to itself.
  s.add(Kind::pointer, "", 0, 2);
  std::vector<u32> parameters(400, 1);
  for (size_t i = 0; i < parameters.size(); i += 2) parameters[i] = 0;
  s.add(Kind::prototype, "", 200, 1, parameters);
  EXPECT_LT(s.read_good().describe(2).size(), 10'000u);
}

struct Wrong {
  const char* words;
  std::function<void(BtfSection&)> write;
};

TEST(Btf, SaysWhichTypeIsWrongAndHow) {
  const Wrong cases[] = {
      {"there is no kind 0", [](BtfSection& s) { s.add(Kind::none, "", 0, 0); }},
      {"there is no kind 20", [](BtfSection& s) { s.add(static_cast<Kind>(20), "", 0, 0); }},
      {"reserved bits are set",
       [](BtfSection& s) {
         s.word(0);
         s.word(0x01ff0000);
         s.word(4);
       }},
      {"fewer than the 12 bytes of a type", [](BtfSection& s) { s.word(0); }},
      {"the types end within this integer", [](BtfSection& s) { s.add(Kind::integer, "i", 0, 4); }},
      {"the types end within this struct",
       [](BtfSection& s) { s.add(Kind::structure, "s", 2, 4, {0, 0, 0}); }},
      {"the types end within this enum",
       [](BtfSection& s) { s.add(Kind::enumeration64, "e", 60000, 8, {0, 0, 0}); }},
      {"its name at 0xffffff lies behind the strings",
       [](BtfSection& s) {
         s.word(0xffffff);
         s.word(2u << 24);
         s.word(0);
       }},
      {"a name of more than 4095 bytes",
       [](BtfSection& s) { s.add(Kind::forward, std::string(4096, 'n'), 0, 0); }},
      {"an integer of 0 bytes", [](BtfSection& s) { s.add(Kind::integer, "i", 0, 0, {8}); }},
      {"an integer of 64 bits in 4 bytes",
       [](BtfSection& s) { s.add(Kind::integer, "i", 0, 4, {64}); }},
      {"an integer that begins at bit 3",
       [](BtfSection& s) { s.add(Kind::integer, "i", 0, 4, {3 << 16 | 8}); }},
      {"a float of 17 bytes", [](BtfSection& s) { s.add(Kind::floating, "f", 0, 17); }},
      {"an enumeration of 3 bytes", [](BtfSection& s) { s.add(Kind::enumeration, "e", 0, 3); }},
      {"a size of 536870912 bytes", [](BtfSection& s) { s.add(Kind::structure, "s", 0, 1 << 29); }},
      {"what it points to is type 9, and 1 is the last",
       [](BtfSection& s) { s.add(Kind::pointer, "", 0, 9); }},
      {"what it points to is type 2, which is a variable",
       [](BtfSection& s) {
         s.add(Kind::pointer, "", 0, 2);
         s.add(Kind::variable, "v", 0, 0, {1});
       }},
      {"it contains itself", [](BtfSection& s) { s.add(Kind::const_, "", 0, 1); }},
      {"it contains itself",
       [](BtfSection& s) {
         s.add(Kind::typedef_, "a", 0, 2);
         s.add(Kind::volatile_, "", 0, 1);
       }},
      {"it contains itself",
       [](BtfSection& s) { s.add(Kind::structure, "s", 1, 8, {s.text("s"), 1, 0}); }},
      {"types nest deeper than 64",
       [](BtfSection& s) {
         for (u32 i = 0; i < 70; ++i) s.add(Kind::const_, "", 0, i + 2);
         s.integer();
       }},
      {"types nest deeper than 64",  // From the inside outwards, too.
       [](BtfSection& s) {
         s.integer();
         for (u32 i = 0; i < 70; ++i) s.add(Kind::const_, "", 0, i + 1);
       }},
      {"its index is type 2, which is no integer",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::pointer, "", 0, 1);
         s.add(Kind::array, "", 0, 0, {1, 2, 4});
       }},
      {"its element is type 0, which has no size",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::array, "", 0, 0, {0, 1, 4});
       }},
      {"4294967295 elements of 4 bytes",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::array, "", 0, 0, {1, 1, 0xffffffff});
       }},
      {"member 'm' is type 2, which has no size",
       [](BtfSection& s) {
         s.add(Kind::structure, "s", 1, 8, {s.text("m"), 2, 0});
         s.add(Kind::forward, "f", 0, 0);
       }},
      {"member 'm' reaches behind the 4 bytes of 's'",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::structure, "s", 1, 4, {s.text("m"), 1, 8});
       }},
      {"member 'm' begins at bit 3",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::structure, "s", 1, 8, {s.text("m"), 1, 3});
       }},
      {"member 'm' has 33 bits of 32",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::structure, "s", 1, 8, {s.text("m"), 1, 33u << 24}, true);
       }},
      {"member 'm' is a bit field of a pointer",
       [](BtfSection& s) {
         s.add(Kind::pointer, "", 0, 0);
         s.add(Kind::structure, "s", 1, 8, {s.text("m"), 1, 3u << 24}, true);
       }},
      {"type 1 is no prototype",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::function, "f", 0, 1);
       }},
      {"there is no linkage 3", [](BtfSection& s) { s.add(Kind::function, "f", 3, 1); }},
      {"there is no linkage 9", [](BtfSection& s) { s.add(Kind::variable, "v", 0, 0, {9}); }},
      {"a parameter is void, and it is not the last",
       [](BtfSection& s) { s.add(Kind::prototype, "", 2, 0, {0, 0, 0, 0}); }},
      {"what it returns is type 5", [](BtfSection& s) { s.add(Kind::prototype, "", 0, 5); }},
      {"type 1 is nothing that lies in a section",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::section, ".data", 1, 4, {1, 0, 4});
       }},
      {"are too far",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::variable, "v", 0, 1, {0});
         s.add(Kind::section, ".data", 1, 4, {2, 0xfffffff0, 4});
       }},
      {"its component is 1, of 1",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::structure, "s", 1, 4, {s.text("m"), 1, 0});
         s.add(Kind::declaration_tag, "t", 0, 2, {1});
       }},
      {"a integer takes no tag",
       [](BtfSection& s) {
         s.integer();
         s.add(Kind::declaration_tag, "t", 0, 1, {0xffffffff});
       }},
  };
  for (const Wrong& each : cases) {
    SCOPED_TRACE(each.words);
    BtfSection section;
    each.write(section);
    const auto btf = section.read();
    ASSERT_FALSE(btf.has_value());
    EXPECT_THAT(describe(btf.error()), HasSubstr(each.words));
    EXPECT_THAT(describe(btf.error()), HasSubstr("type "));
    EXPECT_THAT(describe(btf.error()), HasSubstr(" at offset 0x"));
  }
}

TEST(Btf, SaysWhatIsWrongWithTheHeader) {
  const struct {
    size_t offset;
    u32 word;
    const char* words;
  } cases[] = {
      {0, 0x0001ebff, "offset 0: 0xebff is not its magic number"},
      {0, 0x01009feb, "these are big-endian"},
      {0, 0x0002eb9f, "offset 2: version 2"},
      {4, 20, "offset 4: a header of 20 bytes"},
      {4, 5000, "offset 4: a header of 5000 bytes"},
      {8, 0xfffffff0, "offset 8: types at 0xfffffff0"},
      {12, 4000, "offset 8: types at 0x0 of 4000 bytes reach behind the end"},
      {16, 0xfffffff0, "offset 16: strings at 0xfffffff0"},
      {20, 0, "offset 16: the table of strings must begin and end with a zero"},
      {20, 3, "offset 16: the table of strings must begin and end with a zero"},
  };
  BtfSection section;
  section.integer();
  for (const auto& each : cases) {
    SCOPED_TRACE(each.words);
    auto bytes = section.bytes();
    std::memcpy(bytes.data() + each.offset, &each.word, sizeof each.word);
    const auto btf = Btf::read(bytes);
    ASSERT_FALSE(btf.has_value());
    EXPECT_THAT(describe(btf.error()), HasSubstr(each.words));
  }
  EXPECT_FALSE(Btf::read({}).has_value());
}

}  // namespace
}  // namespace coppice::bpf
