// What BtfWriter writes, Btf reads: every type as it was told, and those of the base as they were.
#include "bpf/object/btf_writer.h"

#include <gmock/gmock.h>

#include "bpf/testing/btf_section.h"

namespace coppice::bpf {
namespace {

using Kind = Btf::Kind;

BtfSection small_base() {
  BtfSection base;
  const u32 integer = base.integer("__u64", 8, 0);
  base.add(Kind::structure, "view", 1, 8, {base.text("time_ns"), integer, 0});
  return base;
}

Btf written(const BtfWriter& writer) {
  auto read = Btf::read(writer.bytes());
  CHECK(read.has_value());
  return *std::move(read);
}

TEST(BtfWriter, AddsNothingOfItsOwn) {
  const auto base = small_base().bytes();
  auto writer = BtfWriter::behind(base);
  ASSERT_TRUE(writer.has_value());
  EXPECT_EQ(writer->bytes(), base);
}

TEST(BtfWriter, KeepsTheBaseAndAddsTypesBehindIt) {
  auto writer = BtfWriter::behind(small_base().bytes());
  ASSERT_TRUE(writer.has_value());
  const u32 small = writer->number("u16", 2, false);
  const u32 large = writer->number("i64", 8, true);
  const u32 truth = writer->number("bool", 1, false, true);
  const u32 outer = writer->declare_structure("outer", 48);
  const u32 inner = writer->declare_structure("inner", 8);
  const u32 to_outer = writer->pointer(outer);
  const u32 bytes = writer->array(small, small, 5);
  writer->define_structure(inner, {{"back", to_outer, 0}});
  writer->define_structure(
      outer, {{"flag", truth, 0}, {"number", large, 8}, {"in", inner, 16}, {"array", bytes, 24}});
  const Btf btf = written(*writer);

  EXPECT_EQ(small, 3U);  // Behind the base's two.
  EXPECT_EQ(btf.find("view", Kind::structure), 2U);
  EXPECT_EQ(btf.describe(to_outer), "struct outer *");
  EXPECT_FALSE(btf.type(small).is_signed);
  EXPECT_TRUE(btf.type(large).is_signed);
  EXPECT_TRUE(btf.type(truth).is_bool);
  EXPECT_EQ(btf.size_of(bytes), 10U);
  const Btf::Type& type = btf.type(outer);
  EXPECT_EQ(type.size, 48U);
  ASSERT_EQ(type.members.size(), 4U);
  EXPECT_EQ(type.members[2].name, "in");
  EXPECT_EQ(type.members[2].type, inner);
  EXPECT_EQ(type.members[2].bit_offset, 128U);
  EXPECT_EQ(btf.type(inner).members[0].type, to_outer);
}

TEST(BtfWriter, TakesNoBaseThatIsNone) {
  EXPECT_FALSE(BtfWriter::behind({}).has_value());
  auto bytes = small_base().bytes();
  bytes[0] = std::byte{0};
  EXPECT_FALSE(BtfWriter::behind(bytes).has_value());
}

}  // namespace
}  // namespace coppice::bpf
