#include "cli/table.h"

#include <gtest/gtest.h>

#include "base/types.h"

namespace coppice::cli {
namespace {

Table sample() {
  return {.columns = {{"name"}, {"used", true}, {"origin"}},
          .rows = {{Cell::text("tank"), Cell::bytes(1536_MiB), Cell()},
                   {Cell::text("tank/a"), Cell::bytes(4096), Cell::text("tank/b@s")}}};
}

TEST(Table, AlignsColumnsUnderTheirHeaders) {
  EXPECT_EQ(render(sample(), {}),
            "NAME     USED  ORIGIN\n"
            "tank    1.50G  -\n"
            "tank/a     4K  tank/b@s\n");
}

TEST(Table, WithoutHeadersTabsSeparateValues) {
  EXPECT_EQ(render(sample(), {.headers = false}), "tank\t1.50G\t-\ntank/a\t4K\ttank/b@s\n");
  EXPECT_EQ(render(sample(), {.headers = false, .exact = true}),
            "tank\t1610612736\t-\ntank/a\t4096\ttank/b@s\n");
}

TEST(Table, JsonHasNumbersAndNulls) {
  const auto parsed = nlohmann::json::parse(render(sample(), {.json = true}));
  ASSERT_EQ(parsed.size(), 2u);
  EXPECT_EQ(parsed[0]["name"], "tank");
  EXPECT_EQ(parsed[0]["used"], 1610612736u);
  EXPECT_TRUE(parsed[0]["origin"].is_null());
  EXPECT_EQ(render({.columns = {{"name"}}, .rows = {}}, {.json = true}), "[]\n");
}

TEST(Table, AValueNeverBreaksARow) {
  const Table table{.columns = {{"a"}, {"b"}}, .rows = {{Cell::text("x\ny\tz"), Cell::text("")}}};
  EXPECT_EQ(render(table, {.headers = false}), "x y z\t-\n");
  // What is no UTF-8 does not stop JSON either.
  const Table broken{.columns = {{"a"}}, .rows = {{Cell::text("\xff")}}};
  EXPECT_FALSE(render(broken, {.json = true}).empty());
}

TEST(Table, SortsNothingThenNumbersThenTextsAndKeepsTheOrderOfEquals) {
  Table table{.columns = {{"key"}, {"at"}}, .rows = {}};
  u64 at = 0;
  for (Cell key : {Cell::text("b"), Cell::bytes(9), Cell(), Cell::bytes(10), Cell::text("a"),
                   Cell::bytes(9)}) {
    table.rows.push_back({std::move(key), Cell::exact(at++)});
  }
  const auto order = [&] {
    std::string text;
    for (const auto& row : table.rows) text += row[1].show(true);
    return text;
  };
  sort_rows(table, 0, false);
  EXPECT_EQ(order(), "215340");
  sort_rows(table, 1, false);
  EXPECT_EQ(order(), "012345");
  sort_rows(table, 0, true);
  EXPECT_EQ(order(), "043152");
}

}  // namespace
}  // namespace coppice::cli
