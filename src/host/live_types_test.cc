// Whatever an internal tracepoint points at is described, and programs can be checked against it.
#include "host/live_types.h"

#include <gmock/gmock.h>

#include "hook/types.h"
#include "pool/types.h"

namespace coppice::host {
namespace {

TEST(LiveTypes, DescribeAllThatTracepointsPointAt) {
  const auto types = hook::Types::make(live_types());
  ASSERT_TRUE(types.has_value()) << describe(types.error());
  const bpf::Btf& btf = (*types)->btf();
  for (const trace::PointInfo& point : trace::points()) {
    SCOPED_TRACE(point.name);
    const auto* type = (*types)->of_section("tracepoint/" + std::string(point.name));
    ASSERT_NE(type, nullptr);
    EXPECT_EQ(type->tier, point.tier);
    EXPECT_EQ(type->type.context.size, point.bytes);
    for (const bpf::Field& field : type->type.context.fields) {
      if (field.kind != bpf::FieldKind::btf) continue;
      EXPECT_FALSE(btf.type(field.type).members.empty()) << field.name;
    }
  }
  const auto volume = btf.find("pool_Volume", bpf::Btf::Kind::structure);
  ASSERT_TRUE(volume.has_value());
  const auto& members = btf.type(*volume).members;
  const auto root = std::ranges::find(members, "root", &bpf::Btf::Member::name);
  ASSERT_NE(root, members.end());
  EXPECT_EQ(btf.describe(root->type), "struct pool_NodePtr");
}

}  // namespace
}  // namespace coppice::host
