#include "cli/link_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coppice::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kGood = R"({
  "revision": 17,
  "objects": {"limit": {"file": "rate_limit", "set": {"iops": 1000, "deny": true, "name": "x"}},
              "own": {"file": "build/filter.o"}},
  "points": [
    {"target": "tank/vm", "hook": "volume.submit", "links": [
      {"name": "limit", "object": "limit"},
      {"name": "filter", "object": "own", "program": "count", "on_error": "deny",
       "go_on": ["pass", "delay"], "redirect": ["tank/spare"]}]},
    {"target": "tank", "hook": "timer", "links": [
      {"name": "tick", "object": "own", "program": "tick", "every": "10ms",
       "replaces": "filter:weigh"}]},
    {"target": "tank/vm", "hook": "volume.complete", "links": []}]
})";

TEST(LinkSet, SaysWhatEachPointShallHave) {
  const auto set = parse_link_set(kGood, "/etc/coppice");
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(set->revision, 17u);
  ASSERT_EQ(set->objects.size(), 2u);
  EXPECT_EQ(set->objects[0].file, "rate_limit");  // One that ships, wherever the file is.
  EXPECT_THAT(set->objects[0].settings, ElementsAre("iops=1000", "deny=true", "name=x"));
  EXPECT_EQ(set->objects[1].file, "/etc/coppice/build/filter.o");
  ASSERT_EQ(set->points.size(), 3u);
  EXPECT_EQ(set->points[0].hook, "volume.submit");
  ASSERT_EQ(set->points[0].links.size(), 2u);
  EXPECT_EQ(set->points[0].links[0].name, "limit");
  EXPECT_EQ(set->points[0].links[0].object, 0u);
  const LinkSet::Link& filter = set->points[0].links[1];
  EXPECT_EQ(filter.object, 1u);
  EXPECT_EQ(filter.program, "count");
  EXPECT_EQ(filter.wishes.on_error, "deny");
  EXPECT_THAT(filter.wishes.go_on, ElementsAre("pass", "delay"));
  EXPECT_THAT(filter.wishes.redirects, ElementsAre("tank/spare"));
  EXPECT_EQ(set->points[1].links[0].wishes.every, "10ms");
  EXPECT_EQ(set->points[1].links[0].wishes.replaces, "filter:weigh");
  EXPECT_THAT(set->points[2].links, IsEmpty());
}

TEST(LinkSet, NamesThePlaceOfAMistake) {
  const auto wrong = [](const char* text) {
    const auto set = parse_link_set(text, "");
    return set ? std::string("no mistake") : set.error().message;
  };
  EXPECT_THAT(wrong("{"), HasSubstr("no JSON"));
  EXPECT_THAT(wrong("[]"), HasSubstr("the file: an object is wanted"));
  EXPECT_THAT(wrong("{}"), HasSubstr("'points' is missing"));
  EXPECT_THAT(wrong(R"({"points": []})"), HasSubstr("is empty"));
  EXPECT_THAT(wrong(R"({"points": [], "ponits": 1})"), HasSubstr("no 'ponits'"));
  EXPECT_THAT(wrong(R"({"revision": -1, "points": [{}]})"), HasSubstr("'revision' is no number"));
  EXPECT_THAT(wrong(R"({"objects": {"a": {}}, "points": [{}]})"),
              HasSubstr("object 'a': 'file' is missing"));
  EXPECT_THAT(wrong(R"({"points": [{"hook": "admin", "links": []}]})"),
              HasSubstr("point 1: 'target' is missing"));
  EXPECT_THAT(wrong(R"({"points": [{"target": "a", "hook": "admin", "links": []},
                                   {"target": "b", "hook": "admin", "links": []}]})"),
              HasSubstr("point 2: 'target' is in another pool"));
  EXPECT_THAT(wrong(R"({"points": [{"target": "a", "hook": "admin", "links": [
                        {"name": "x", "object": "o"}]}]})"),
              HasSubstr("point 1, link 1: 'object' is 'o', and 'objects' has no such"));
  EXPECT_THAT(wrong(R"({"objects": {"o": {"file": "f"}},
                        "points": [{"target": "a", "hook": "admin", "links": [
                        {"name": "x", "object": "o", "go_on": "pass"}]}]})"),
              HasSubstr("'go_on' is the string \"pass\", not a list"));
  EXPECT_THAT(wrong(R"({"objects": {"o": {"file": "f"}},
                        "points": [{"target": "a", "hook": "admin", "links": [
                        {"name": "x", "object": "o", "goon": ["pass"]}]}]})"),
              HasSubstr("there is no 'goon' here"));
}

}  // namespace
}  // namespace coppice::cli
