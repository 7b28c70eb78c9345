// Objects that were compiled against earlier headers load and run as they did.
#include <gmock/gmock.h>

#include <coppice/bpf/views.h>
#include <fstream>
#include <iterator>

#include "hook/runner.h"
#include "hook/testing/workshop.h"

namespace coppice::hook {
namespace {

using testing::Engine;
using testing::Workshop;

std::shared_ptr<const std::vector<std::byte>> kept(const std::string& name) {
  std::ifstream file(COPPICE_GOLDEN "/objects/" + name, std::ios::binary);
  CHECK(file.good());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
}

// What the program of a tracepoint saw of a view: its first and its last number.
using Seen = std::array<u64, 2>;

class FixtureTest : public ::testing::TestWithParam<Engine> {
 protected:
  template <class View>
  Seen run(std::string_view name, View view) {
    const LoadedProgram* program = instance_->find("on_" + std::string(name));
    CHECK(program != nullptr);
    EXPECT_EQ(program->tier, Tier::stable);
    Link link;
    link.id = 1;
    link.instance = instance_;
    link.program = program->name;
    link.point.type = program->point;
    link.counters = std::make_shared<Counters>(1);
    u64 result = 1;
    EXPECT_EQ(runner_.run(*bind(link), &view, nullptr, result), Ran::ok);
    EXPECT_EQ(result, 0U);
    return testing::value_of<Seen>(*instance_, "seen");
  }
  Runner runner_{0, [](std::string_view) {}};
  std::shared_ptr<const Instance> instance_ =
      *Workshop::of(GetParam()).loader().load({.object = kept("first.o")});
};

TEST_P(FixtureTest, TheFirstViewsAreStillRead) {
  EXPECT_EQ(instance_->programs.size(), 20U);
#define EXPECT_SEEN(name, last)                                                                    \
  {                                                                                                \
    coppice_##name view{};                                                                         \
    view.time_ns = 7;                                                                              \
    view.last = 9;                                                                                 \
    EXPECT_EQ(run(#name, view), (Seen{7, 9})) << #name;                                            \
  }
  EXPECT_SEEN(io_submit, flags)
  EXPECT_SEEN(io_complete, verdict)
  EXPECT_SEEN(flush, verdict)
  EXPECT_SEEN(discard, verdict)
  EXPECT_SEEN(txg_open, txg)
  EXPECT_SEEN(txg_close, dirty_bytes)
  EXPECT_SEEN(txg_sync, volumes)
  EXPECT_SEEN(snapshot, txg)
  EXPECT_SEEN(clone, txg)
  EXPECT_SEEN(destroy, txg)
  EXPECT_SEEN(export_connect, error)
  EXPECT_SEEN(export_disconnect, connected_ns)
  EXPECT_SEEN(link_change, links)
  EXPECT_SEEN(program_begin, program)
  EXPECT_SEEN(program_verb, mode)
  EXPECT_SEEN(program_end, began)
  EXPECT_SEEN(cache_miss, disk_offset)
  EXPECT_SEEN(disk_submit, lane)
  EXPECT_SEEN(disk_complete, system_error)
  EXPECT_SEEN(error, kind)
}
INSTANTIATE_TEST_SUITE_P(Engines, FixtureTest,
                         ::testing::Values(Engine::interpreter, Engine::machine_code));

}  // namespace
}  // namespace coppice::hook
