#include "hook/types.h"

#include <gmock/gmock.h>

#include <coppice/bpf/views.h>
#include "hook/testing/workshop.h"

namespace coppice::hook {
namespace {

using testing::Engine;
using testing::Workshop;

const Types& types() { return Workshop::of(Engine::interpreter).types(); }

struct Expected {
  const char* name;
  size_t offset, size;
  bool writable = false;
  bpf::FieldKind kind = bpf::FieldKind::number;
};
#define FIELD(type, name, ...)                                                                     \
  {#name, offsetof(type, name), sizeof(type::name) __VA_OPT__(, ) __VA_ARGS__}

void expect_layout(const char* structure, size_t size, const std::vector<Expected>& fields) {
  SCOPED_TRACE(structure);
  const auto layout = layout_of(types().btf(), structure);
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->name, structure);
  EXPECT_EQ(layout->size, size);
  ASSERT_EQ(layout->fields.size(), fields.size());
  for (size_t i = 0; i < fields.size(); ++i) {
    SCOPED_TRACE(fields[i].name);
    EXPECT_EQ(layout->fields[i].name, fields[i].name);
    EXPECT_EQ(layout->fields[i].offset, fields[i].offset);
    EXPECT_EQ(layout->fields[i].size, fields[i].size);
    EXPECT_EQ(layout->fields[i].writable, fields[i].writable);
    EXPECT_EQ(layout->fields[i].kind, fields[i].kind);
  }
}

// What clang's BTF says of a context is what this compiler makes of it; tags say what is writable.
TEST(Types, LayoutsAreThoseOfTheDaemon) {
  using Submit = coppice_submit;
  expect_layout(
      "coppice_submit", sizeof(Submit),
      {FIELD(Submit, request), FIELD(Submit, time_ns), FIELD(Submit, pool), FIELD(Submit, volume),
       FIELD(Submit, client), FIELD(Submit, offset), FIELD(Submit, length),
       FIELD(Submit, volume_bytes), FIELD(Submit, operation), FIELD(Submit, flags, true),
       FIELD(Submit, error, true), FIELD(Submit, target, true), FIELD(Submit, delay_ns, true),
       FIELD(Submit, data, false, bpf::FieldKind::packet),
       FIELD(Submit, data_end, false, bpf::FieldKind::packet_end)});
  using Complete = coppice_complete;
  expect_layout("coppice_complete", sizeof(Complete),
                {FIELD(Complete, request), FIELD(Complete, time_ns), FIELD(Complete, latency_ns),
                 FIELD(Complete, pool), FIELD(Complete, volume), FIELD(Complete, client),
                 FIELD(Complete, offset), FIELD(Complete, length), FIELD(Complete, operation),
                 FIELD(Complete, flags), FIELD(Complete, error), FIELD(Complete, verdict)});
  using Admin = coppice_admin;
  expect_layout("coppice_admin", sizeof(Admin),
                {FIELD(Admin, time_ns), FIELD(Admin, wall_ns), FIELD(Admin, pool),
                 FIELD(Admin, dataset), FIELD(Admin, uid), FIELD(Admin, pid), FIELD(Admin, right),
                 FIELD(Admin, in_program), FIELD(Admin, dry_run), FIELD(Admin, error, true)});
  using Connect = coppice_connect;
  expect_layout(
      "coppice_connect", sizeof(Connect),
      {FIELD(Connect, time_ns), FIELD(Connect, pool), FIELD(Connect, volume),
       FIELD(Connect, snapshot), FIELD(Connect, client), FIELD(Connect, bytes_max, true),
       FIELD(Connect, uid), FIELD(Connect, pid), FIELD(Connect, read_only, true),
       FIELD(Connect, requests_max, true), FIELD(Connect, error, true), FIELD(Connect, reserved)});
  using Timer = coppice_timer;
  expect_layout("coppice_timer", sizeof(Timer),
                {FIELD(Timer, time_ns), FIELD(Timer, wall_ns), FIELD(Timer, count),
                 FIELD(Timer, missed), FIELD(Timer, interval_ns)});
}

// Every stable tracepoint's view is as long as the daemon's, and nothing of it may be written.
TEST(Types, ViewsAreThoseOfTheDaemon) {
  const auto expect = [](const char* name, size_t size) {
    SCOPED_TRACE(name);
    const auto layout = layout_of(types().btf(), std::string("coppice_") + name);
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->size, size);
    EXPECT_EQ(layout->fields.front().name, "time_ns");
    for (const bpf::Field& field : layout->fields) EXPECT_FALSE(field.writable);
  };
#define EXPECT_VIEW(name) expect(#name, sizeof(coppice_##name));
  COPPICE_STABLE_POINTS(EXPECT_VIEW)
}

// A section names its hook by itself, or with more behind a slash.
TEST(Types, AreFoundBySection) {
  const auto name_of = [](std::string_view section) {
    const PointType* found = types().of_section(section);
    return found == nullptr ? "" : found->name;
  };
  EXPECT_EQ(name_of("volume.submit"), "volume.submit");
  EXPECT_EQ(name_of("volume.submit/second"), "volume.submit");
  EXPECT_EQ(name_of("tracepoint/io_complete"), "tracepoint/io_complete");
  EXPECT_EQ(name_of("tracepoint/flush/mine"), "tracepoint/flush");
  for (const char* none : {"", "volume", "volume.submitted", "tracepoint", "tracepoint/", "xdp",
                           "tracepoint/io", "/volume.submit"})
    EXPECT_EQ(name_of(none), "") << none;
}

// There is a point for each hook and each tracepoint, and those of the list "internal" are.
TEST(Types, HaveEveryTracepointInItsTier) {
  EXPECT_EQ(types().all().size(), 5 + trace::kPoints);
  for (const PointType& point : types().all()) {
    const bool internal =
        point.hook == Hook::tracepoint && trace::info(point.tracepoint).tier == Tier::internal;
    EXPECT_EQ(point.tier, internal ? Tier::internal : Tier::stable) << point.name;
    EXPECT_GT(point.instructions_max, 0U) << point.name;
    EXPECT_GT(point.type.context.size, 0U) << point.name;
  }
}

}  // namespace
}  // namespace coppice::hook
