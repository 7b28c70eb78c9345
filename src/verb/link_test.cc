// Verbs for links and objects: what they accept and refuse, what they leave, and that what goes
// together does.
#include <gtest/gtest.h>

#include "verb/testing/world.h"

namespace coppice::verb {
namespace {

std::string hash_of(char digit) { return std::string(pool::kObjectHashBytes, digit); }

pool::StoredObject object_of(char digit, std::vector<pool::ObjectProgram> programs) {
  pool::StoredObject object;
  object.hash = hash_of(digit);
  object.bytes = std::string("object ") + digit;
  object.programs = std::move(programs);
  return object;
}

class LinkWorld : public World {
 public:
  LinkWorld() {
    const auto add = [this](pool::StoredObject object) {
      facts.objects.emplace(object.hash, std::move(object));
    };
    add(object_of('a', {{"limit", "volume.submit", pool::Tier::stable},
                        {"done", "volume.complete", pool::Tier::stable},
                        {"guard", "admin", pool::Tier::stable}}));
    add(object_of('b', {{"limit", "volume.submit", pool::Tier::internal}}));
    add(object_of('c', {{"tick", "timer", pool::Tier::stable},
                        {"see", "tracepoint/io_complete", pool::Tier::stable}}));
    add(object_of('d', {{"decide", "freplace/decide", pool::Tier::stable},
                        {"odd", "xdp", pool::Tier::internal}}));
    for (const char* command :
         {"create tank/g", "create tank/g/v size=1M", "create tank/w size=1M"})
      EXPECT_EQ(run(command), "ok");
  }
  // "link to TARGET OBJECT PROGRAM NAME REST", the object by the digit of its hash.
  std::string link(const std::string& target, char object, const std::string& program,
                   const std::string& name, const std::string& rest = {}) {
    return run("link " + target + " " + hash_of(object) + " " + program + " " + name +
               (rest.empty() ? "" : " " + rest));
  }
  std::string links(std::string_view dataset) const {
    std::string names;
    for (const pool::PinnedLink& each : catalog->dataset(id(dataset))->links) {
      names += (names.empty() ? "" : " ") + each.name;
    }
    return names;
  }
  std::string objects() const {
    std::string digits;
    for (const std::string& hash : catalog->objects()) digits += hash[0];
    return digits;
  }
  const pool::PinnedLink& at(std::string_view name) const {
    const pool::PinnedLink* link = find_link(*catalog, name);
    CHECK(link != nullptr);
    return *link;
  }
  // Of the last command: the datasets whose links changed.
  std::string effects() const {
    std::string names;
    for (const Effect& each : changes.effects) {
      const auto* changed = std::get_if<LinksChanged>(&each);
      if (changed != nullptr) names += (names.empty() ? "" : " ") + changed->name;
    }
    return names;
  }
};

TEST(Link, KeepsWhatItWasTold) {
  LinkWorld world;
  ASSERT_EQ(world.link("tank/g/v", 'a', "limit", "l",
                       "go_on=3 on_error=deny redirects=tank/w instance=shared"),
            "ok");
  EXPECT_EQ(world.changes.report.changed, Names{"tank/g/v"});
  EXPECT_EQ(world.effects(), "tank/g/v");
  const pool::PinnedLink& link = world.at("l");
  EXPECT_NE(link.id, 0u);
  EXPECT_EQ(link.hook, "volume.submit");
  EXPECT_EQ(link.object, hash_of('a'));
  EXPECT_EQ(link.program, "limit");
  EXPECT_EQ(link.instance, "shared");
  EXPECT_EQ(link.go_on, 3u);
  EXPECT_EQ(link.on_error, pool::OnError::deny);
  EXPECT_EQ(link.redirects, std::vector<pool::DatasetId>{world.id("tank/w")});
  EXPECT_EQ(link.author, "uid=7");
  EXPECT_EQ(link.created_s, 1000u);
  EXPECT_EQ(world.catalog->object(hash_of('a'))->programs.size(), 3u);

  ASSERT_EQ(world.link("tank", 'c', "tick", "t", "interval_ns=5000000"), "ok");
  EXPECT_EQ(world.at("t").interval_ns, 5'000'000u);
  EXPECT_EQ(world.at("t").instance, "t") << "its own maps, if nothing is said";
  ASSERT_EQ(world.link("tank", 'c', "see", "s"), "ok");
  EXPECT_EQ(world.links("tank"), "t s");
}

TEST(Link, RefusesWhatMakesNoSense) {
  LinkWorld world;
  ASSERT_EQ(world.link("tank/w", 'a', "limit", "l"), "ok");
  const auto refused = [&](const std::string& outcome, std::string_view part) {
    EXPECT_TRUE(outcome.starts_with(part)) << outcome;
  };
  refused(world.link("tank/none", 'a', "limit", "m"), "ENOENT: cannot link to 'tank/none'");
  refused(world.link("tank/w@s", 'a', "limit", "m"), "EINVAL");
  refused(world.link("tank/w", 'f', "limit", "m"),
          "ENOENT: cannot link to 'tank/w': there is no object");
  refused(
      world.link("tank/w", 'a', "none", "m"),
      "ENOENT: cannot link to 'tank/w': the object has no program 'none'; there are: limit, done");
  refused(world.link("tank/w", 'a', "limit", "l"),
          "EEXIST: cannot link to 'tank/w': there is a link 'l' already, of 'tank/w'");
  refused(world.link("tank/g", 'a', "limit", "l"), "EEXIST");
  refused(world.link("tank/w", 'a', "limit", "a/b"), "EINVAL");
  refused(world.link("tank/w", 'c', "tick", "m", "interval_ns=5000000"),
          "EINVAL: cannot link to 'tank/w': a program for timer sees the whole daemon");
  refused(world.link("tank/g", 'c', "see", "m"), "EINVAL");
  refused(world.link("tank/w", 'd', "odd", "m"),
          "EINVAL: cannot link to 'tank/w': its program is for 'xdp'");
  refused(world.link("tank", 'c', "tick", "m"), "EINVAL: cannot link to 'tank': a timer needs");
  refused(world.link("tank", 'c', "tick", "m", "interval_ns=99"), "EINVAL");
  refused(world.link("tank/w", 'a', "limit", "m", "interval_ns=5000000"), "EINVAL");
  refused(world.link("tank/w", 'a', "done", "m", "redirects=tank/g/v"), "EINVAL");
  refused(world.link("tank/w", 'a', "limit", "m", "redirects=tank/g"), "EINVAL");
  refused(world.link("tank/w", 'a', "limit", "m", "redirects=tank/none"), "ENOENT");
  refused(world.link("tank/w", 'a', "limit", "m", "on_error=ignore"), "EINVAL");
  refused(world.link("tank/w", 'a', "limit", "m", "go_on=4294967296"), "EINVAL");
  refused(world.link("tank/w", 'a', "limit", "m", "before=none"), "ENOENT");
  refused(world.link("tank/w", 'a', "limit", "m", "before=l first=true"), "EINVAL");
  refused(world.link("tank/w", 'a', "done", "m", "before=l"), "EINVAL");
  refused(world.link("tank/g", 'a', "limit", "m", "after=l"), "EINVAL");
  refused(world.link("tank/w", 'a', "limit", "m", "keep=m"), "ENOENT");
  refused(world.link("tank/w", 'a', "limit", "m", "replaces=l"), "EINVAL");
  refused(world.link("tank/w", 'a', "limit", "m", "function=f"), "EINVAL");
  refused(world.run("unlink none"), "ENOENT: cannot unlink 'none': there is no such link");
  refused(world.run("relink none"), "ENOENT");
  EXPECT_EQ(world.links("tank/w"), "l");
  EXPECT_EQ(world.objects(), "a") << "what was refused left no object behind";
}

TEST(Link, IsPutWhereItIsWanted) {
  LinkWorld world;
  for (const char* name : {"b", "c"}) ASSERT_EQ(world.link("tank/w", 'a', "limit", name), "ok");
  ASSERT_EQ(world.link("tank/w", 'a', "limit", "a", "first=true"), "ok");
  ASSERT_EQ(world.link("tank/w", 'a', "limit", "x", "before=c"), "ok");
  ASSERT_EQ(world.link("tank/w", 'a', "limit", "y", "after=c"), "ok");
  EXPECT_EQ(world.links("tank/w"), "a b x c y");
  ASSERT_EQ(world.run("relink x last=true"), "ok");
  EXPECT_EQ(world.links("tank/w"), "a b c y x");
  ASSERT_EQ(world.run("relink y before=a"), "ok");
  EXPECT_EQ(world.links("tank/w"), "y a b c x");
  ASSERT_EQ(world.run("relink b go_on=1"), "ok");
  EXPECT_EQ(world.links("tank/w"), "y a b c x");
  ASSERT_EQ(world.run("unlink a"), "ok");
  EXPECT_EQ(world.links("tank/w"), "y b c x");
}

TEST(Link, HasSixtyFourPlacesAtAPoint) {
  LinkWorld world;
  for (int i = 0; i < 64; ++i) {
    ASSERT_EQ(world.link("tank/w", 'a', "limit", "l" + std::to_string(i)), "ok");
  }
  EXPECT_TRUE(world.link("tank/w", 'a', "limit", "one-more").starts_with("E2BIG"));
  EXPECT_EQ(world.link("tank/w", 'a', "done", "elsewhere"), "ok") << "another hook has its own 64";
  EXPECT_EQ(world.link("tank/g/v", 'a', "limit", "beside"), "ok");
  ASSERT_EQ(world.run("unlink l7"), "ok");
  EXPECT_EQ(world.link("tank/w", 'a', "limit", "one-more"), "ok");
}

TEST(Relink, ChangesTheProgramIfItIsTheExpectedOne) {
  LinkWorld world;
  ASSERT_EQ(world.link("tank/w", 'a', "limit", "l"), "ok");
  const u64 id = world.at("l").id;
  EXPECT_TRUE(
      world.run("relink l " + hash_of('b') + " expect=" + hash_of('c')).starts_with("ESTALE"));
  EXPECT_TRUE(world.run("unlink l expect=" + hash_of('c')).starts_with("ESTALE"));
  EXPECT_TRUE(world.run("relink l program=done").starts_with("EINVAL")) << "another hook";
  EXPECT_TRUE(world.run("relink l " + hash_of('c')).starts_with("ENOENT")) << "no program limit";
  ASSERT_EQ(world.run("relink l " + hash_of('b') + " expect=" + hash_of('a')), "ok");
  EXPECT_EQ(world.at("l").object, hash_of('b'));
  EXPECT_EQ(world.at("l").id, id);
  EXPECT_EQ(world.objects(), "b") << "nobody uses the old one any more";
  EXPECT_EQ(world.run("unlink l expect=" + hash_of('b')), "ok");
  EXPECT_EQ(world.objects(), "");
}

TEST(Link, KeepsContentsOfItsMaps) {
  LinkWorld world;
  world.facts.maps["l/m"] = {{"k", "v"}};
  world.facts.maps["other/m"] = {{"x", "y"}};
  ASSERT_EQ(world.link("tank/w", 'a', "limit", "l", "keep=m"), "ok");
  EXPECT_EQ(world.at("l").contents, (pool::MapContents{{"m", {{"k", "v"}}}}));
  ASSERT_EQ(world.run("relink l go_on=1"), "ok");
  EXPECT_EQ(world.at("l").contents.size(), 1u);
  world.facts.maps["l/m"] = {{"k", "w"}};
  ASSERT_EQ(world.run("relink l keep=m"), "ok");
  EXPECT_EQ(world.at("l").contents.at("m")[0].second, "w");
  ASSERT_EQ(world.run("relink l instance=other"), "ok");
  EXPECT_TRUE(world.at("l").contents.empty()) << "they were other maps'";
  ASSERT_EQ(world.run("relink l instance=other keep=m"), "ok");
  EXPECT_EQ(world.at("l").contents.at("m")[0].first, "x");
  world.facts.maps["other/m"] = {{"k", std::string(1_MiB, 'v')}};
  EXPECT_TRUE(world.run("relink l keep=m").starts_with("E2BIG"));
}

TEST(Link, ReplacementsLeaveWithTheirTarget) {
  LinkWorld world;
  ASSERT_EQ(world.link("tank/w", 'a', "limit", "l"), "ok");
  EXPECT_TRUE(world.link("tank/w", 'd', "decide", "r").starts_with("EINVAL")) << "of which link?";
  EXPECT_TRUE(world.link("tank/w", 'd', "decide", "r", "replaces=none").starts_with("ENOENT"));
  EXPECT_TRUE(world.link("tank/g", 'd', "decide", "r", "replaces=l").starts_with("EINVAL"));
  ASSERT_EQ(world.link("tank/w", 'd', "decide", "r", "replaces=l"), "ok");
  EXPECT_EQ(world.at("r").function, "decide");
  EXPECT_EQ(world.at("r").replaces, world.at("l").id);
  EXPECT_TRUE(world.link("tank/w", 'd', "decide", "q", "replaces=l").starts_with("EEXIST"));
  EXPECT_TRUE(world.link("tank/w", 'd', "decide", "q", "replaces=r").starts_with("EINVAL"));
  ASSERT_EQ(world.link("tank/w", 'd', "decide", "q", "replaces=l function=other"), "ok");
  ASSERT_EQ(world.run("unlink l"), "ok");
  EXPECT_EQ(world.links("tank/w"), "");
  EXPECT_EQ(world.objects(), "");
}

TEST(Load, KeepsAnObjectWithoutLinks) {
  LinkWorld world;
  EXPECT_TRUE(world.run("load o " + hash_of('f')).starts_with("ENOENT"));
  EXPECT_TRUE(world.run("load " + hash_of('1') + " " + hash_of('a')).starts_with("EINVAL"));
  ASSERT_EQ(world.run("load o " + hash_of('a')), "ok");
  EXPECT_TRUE(world.run("load o " + hash_of('b')).starts_with("EEXIST"));
  EXPECT_TRUE(world.run("load p " + hash_of('a')).starts_with("EEXIST"));
  world.facts.objects.clear();  // As after a restart.
  ASSERT_EQ(world.run("link tank/w o limit l"), "ok");
  ASSERT_EQ(world.run("relink l expect=o go_on=1"), "ok");
  ASSERT_EQ(world.run("unlink l"), "ok");
  EXPECT_EQ(world.objects(), "a");
  ASSERT_EQ(world.run("link tank/w o limit l"), "ok");
  ASSERT_EQ(world.run("unload o"), "ok");
  EXPECT_EQ(world.objects(), "a") << "a link uses it";
  EXPECT_TRUE(world.run("unload " + hash_of('a')).starts_with("EINVAL"));
  EXPECT_TRUE(world.run("unload o").starts_with("ENOENT"));
  ASSERT_EQ(world.run("unlink l"), "ok");
  EXPECT_EQ(world.objects(), "");
}

// Names in objects are whatever their authors wrote.
TEST(Load, RefusesWhatCannotBeKept) {
  LinkWorld world;
  pool::StoredObject odd = object_of('e', {{"a\nb", "volume.submit", pool::Tier::stable}});
  world.facts.objects.emplace(odd.hash, odd);
  EXPECT_TRUE(world.run("load o " + odd.hash).starts_with("EINVAL"));
  EXPECT_TRUE(world.run("link tank/w " + odd.hash + " a l").starts_with("EINVAL"));
  odd.programs[0].name.assign(256, 'p');
  world.facts.objects[odd.hash] = odd;
  EXPECT_TRUE(world.run("load o " + odd.hash).starts_with("EINVAL"));
  world.facts.maps["l/\tm"] = {};
  EXPECT_TRUE(world.link("tank/w", 'a', "limit", "l", "keep=\tm").starts_with("ENOENT"));
  ASSERT_EQ(world.link("tank/w", 'a', "limit", "l"), "ok");
  EXPECT_TRUE(
      world.link("tank/w", 'd', "decide", "r", "replaces=l function=\tf").starts_with("EINVAL"));
}

TEST(Load, NeedsRoom) {
  LinkWorld world;
  world.facts.available = 10;
  EXPECT_TRUE(world.run("load o " + hash_of('a')).starts_with("ENOSPC"));
  EXPECT_TRUE(world.link("tank/w", 'a', "limit", "l").starts_with("ENOSPC"));
  EXPECT_EQ(world.objects(), "");
}

TEST(Link, GoesWithItsDatasetAndStaysWithItsName) {
  LinkWorld world;
  ASSERT_EQ(world.link("tank/g/v", 'a', "limit", "l"), "ok");
  ASSERT_EQ(world.link("tank/g", 'b', "limit", "m"), "ok");
  ASSERT_EQ(world.run("snapshot tank/g/v@s"), "ok");
  ASSERT_EQ(world.run("clone tank/g/v@s tank/c"), "ok");
  EXPECT_EQ(world.links("tank/c"), "") << "a clone starts without links";
  ASSERT_EQ(world.run("promote tank/c"), "ok");
  EXPECT_EQ(world.links("tank/g/v"), "l");
  EXPECT_EQ(world.links("tank/c"), "");
  ASSERT_EQ(world.run("rename tank/g tank/h"), "ok");
  EXPECT_EQ(world.effects(), "") << "nothing lies elsewhere";
  EXPECT_EQ(world.links("tank/h/v"), "l");
  ASSERT_EQ(world.run("rename tank/h/v tank/v"), "ok");
  EXPECT_EQ(world.effects(), "tank/v") << "it has left the group's links";
  ASSERT_EQ(world.run("rename tank/v tank/h/v"), "ok");
  EXPECT_EQ(world.effects(), "tank/h/v");
  ASSERT_EQ(world.run("destroy tank/h recursive=true"), "ok");
  EXPECT_EQ(world.effects(), "tank/h/v tank/h");
  EXPECT_EQ(world.objects(), "");
  EXPECT_EQ(raw(world.catalog->link_owner("l")), 0u);
}

}  // namespace
}  // namespace coppice::verb
