// How a program's end is shown, and where its own options begin.
#include "cli/channel_program.h"

#include <gtest/gtest.h>

namespace coppice::cli {
namespace {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

TEST(Dump, IsThatOfZfsProgram) {
  const struct {
    Json value;
    std::string shown;
  } cases[] = {
      {7, "    return: 7\n"},
      {-7, "    return: -7\n"},
      {1.5, "    return: 1.5\n"},
      {true, "    return: true\n"},
      {"it's", "    return: 'it's'\n"},
      {nullptr, "    return\n"},
      {Json::object(), "    return:\n"},
      {Json::parse(R"({"a":{"b":"c"},"d":2})"),
       "    return:\n        a:\n            b: 'c'\n        d: 2\n"},
      {Json::parse(R"(["x",[1]])"), "    return:\n        1: 'x'\n        2:\n            1: 1\n"},
  };
  for (const auto& [value, shown] : cases) EXPECT_EQ(dump_value("return", value, 4), shown);
}

TEST(Explain, ListsWhatChangesAndSaysWhereAListWasCut) {
  EXPECT_EQ(explain_effects(R"({"verbs":[],"changes":{}})"), "The program changes nothing.\n");
  EXPECT_EQ(explain_effects(R"({"changes":{"created":["tank/a"],"destroyed":["tank/b@s"]}})"),
            "The program changes:\n  create   tank/a\n  destroy  tank/b@s\n");
  EXPECT_EQ(explain_effects(R"({"changes":{"changed_count":1500,"changed":["tank/a"]}})"),
            "The program changes:\n  change   tank/a\n  ... 1 of 1500 are shown\n");
  EXPECT_EQ(explain_effects("nonsense"), "The program changes: nonsense\n");
}

TEST(Options, EndBehindTheScript) {
  const struct {
    Words words, wanted;
  } cases[] = {
      {{"program", "tank", "a.lua", "-n"}, {"program", "tank", "a.lua", "--", "-n"}},
      {{"program", "-n", "-t", "5", "tank", "-", "x"},
       {"program", "-n", "-t", "5", "tank", "-", "--", "x"}},
      {{"--socket", "/s", "program", "tank", "a.lua"},
       {"--socket", "/s", "program", "tank", "a.lua", "--"}},
      {{"program", "--kill", "3"}, {"program", "--kill", "3"}},
      {{"program", "--", "tank", "a.lua", "-n"}, {"program", "--", "tank", "a.lua", "-n"}},
      {{"create", "program", "tank", "x"}, {"create", "program", "tank", "x"}},
      {{}, {}},
  };
  for (const auto& [words, wanted] : cases) EXPECT_EQ(end_options_of_program(words), wanted);
}

}  // namespace
}  // namespace coppice::cli
