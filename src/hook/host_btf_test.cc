// The daemon's types: headers, live structures, arguments of internal tracepoints, in one BTF.
#include "hook/host_btf.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "bpf/object/btf.h"
#include "hook/types.h"
#include "trace/point.h"

namespace coppice::hook {
namespace {

using bpf::Btf;
using testing::HasSubstr;

// Each structure that an internal tracepoint points at, with one field.
std::vector<trace::Structure> small_structures() {
  std::vector<trace::Structure> structures;
  for (const trace::PointInfo& point : trace::points()) {
    std::string_view rest = point.tier == trace::Tier::internal ? point.arguments : "";
    for (size_t star; (star = rest.find(" *")) != rest.npos; rest.remove_prefix(star + 2)) {
      std::string name(rest.substr(0, star));
      if (const size_t blank = name.rfind(' '); blank != name.npos) name.erase(0, blank + 1);
      const auto known = std::ranges::find(structures, name, &trace::Structure::name);
      if (known == structures.end()) structures.push_back({name, 16, {{"number", "u32", 4, 4}}});
    }
  }
  return structures;
}

TEST(HostBtf, HasTheHeadersStructuresAndArguments) {
  auto structures = small_structures();
  structures.push_back({"live", 24, {{"in", "pool_Volume", 0, 16}, {"to", "live *", 16, 8}}});
  const auto bytes = host_btf(structures);
  ASSERT_TRUE(bytes.has_value()) << describe(bytes.error());
  const auto btf = Btf::read(*bytes);
  ASSERT_TRUE(btf.has_value()) << describe(btf.error());
  for (const trace::PointInfo& point : trace::points()) {
    SCOPED_TRACE(point.name);
    const auto id = btf->find("coppice_" + std::string(point.name), Btf::Kind::structure);
    ASSERT_TRUE(id.has_value());
    EXPECT_EQ(btf->type(*id).size, point.bytes);
  }
  const auto live = btf->find("live", Btf::Kind::structure);
  ASSERT_TRUE(live.has_value());
  EXPECT_EQ(btf->describe(btf->type(*live).members[1].type), "struct live *");
  const auto read = btf->find("coppice_node_read", Btf::Kind::structure);
  ASSERT_EQ(btf->type(*read).members.size(), 3U);
  EXPECT_EQ(btf->type(*read).members[0].name, "store");
  EXPECT_EQ(btf->describe(btf->type(*read).members[0].type), "struct pool_NodeStore *");
  EXPECT_EQ(btf->describe(btf->type(*read).members[1].type), "u64");
}

// A program on an internal tracepoint may read what its arguments point at, member by member.
TEST(HostBtf, TypesTheArgumentsOfInternalTracepoints) {
  const auto bytes = host_btf(small_structures());
  ASSERT_TRUE(bytes.has_value());
  const auto types = Types::make(*bytes);
  ASSERT_TRUE(types.has_value()) << describe(types.error());
  const PointType* point = (*types)->of_section("tracepoint/node_read");
  ASSERT_NE(point, nullptr);
  EXPECT_EQ(point->tier, Tier::internal);
  ASSERT_EQ(point->type.context.fields.size(), 3U);
  const bpf::Field& store = point->type.context.fields[0];
  EXPECT_EQ(store.kind, bpf::FieldKind::btf);
  EXPECT_EQ((*types)->btf().type(store.type).name, "pool_NodeStore");
  EXPECT_FALSE(store.nullable);
  EXPECT_EQ(point->type.context.fields[1].kind, bpf::FieldKind::number);
}

TEST(HostBtf, RefusesWhatMakesNoSense) {
  const auto error_of = [](trace::Structure wrong) {
    auto structures = small_structures();
    structures.push_back(std::move(wrong));
    const auto bytes = host_btf(structures);
    return bytes ? "accepted" : describe(bytes.error());
  };
  EXPECT_EQ(error_of({"live", 8, {{"fine", "u32", 0, 4}}}), "accepted");
  EXPECT_THAT(error_of({"live", 8, {{"x", "nothing *", 0, 8}}}), HasSubstr("no type nothing"));
  EXPECT_THAT(error_of({"live", 8, {{"x", "u32", 0, 8}}}), HasSubstr("live.x has 8 bytes"));
  EXPECT_THAT(error_of({"live", 8, {{"x", "u32", 0, 4}, {"y", "u32", 2, 4}}}),
              HasSubstr("live.y lies over"));
  EXPECT_THAT(error_of({"live", 2, {{"x", "u32", 0, 4}}}), HasSubstr("live.x lies over"));
  EXPECT_THAT(error_of({"pool_Volume", 8, {}}), HasSubstr("two of pool_Volume"));
}

}  // namespace
}  // namespace coppice::hook
