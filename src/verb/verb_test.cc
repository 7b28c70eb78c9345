// Every verb: what it changes, and every reason to refuse, by value, errno and message.
#include "verb/verb.h"

#include <gtest/gtest.h>

#include "verb/testing/world.h"

namespace coppice::verb {
namespace {

using testing::Test;

TEST(Create, MakesGroupsAndVolumes) {
  World w;
  EXPECT_EQ(w.run("create tank/vm"), "ok");
  EXPECT_EQ(w.run("create tank/vm/a size=1G properties={readonly=on;a:b=c}"), "ok");
  EXPECT_EQ(w.changes.report.created, Names{"tank/vm/a"});
  const pool::Dataset& made = *w.catalog->dataset(w.id("tank/vm/a"));
  EXPECT_EQ(made.type, pool::DatasetType::volume);
  EXPECT_EQ(made.volsize_bytes, 1_GiB);
  EXPECT_EQ(made.creation_s, 1000u);
  EXPECT_EQ(made.properties, (Pairs{{"a:b", "c"}, {"readonly", "on"}}));
  EXPECT_NE(raw(made.createtxg), 0u);
  EXPECT_EQ(w.run("create tank/x/y/z size=4096 parents=true"), "ok");
  EXPECT_EQ(w.changes.report.created, (Names{"tank/x", "tank/x/y", "tank/x/y/z"}));
  EXPECT_EQ(w.run("create tank/x/y parents=true"), "ok");
  EXPECT_TRUE(w.changes.report.created.empty());
  EXPECT_EQ(w.listing(), "tank tank/vm tank/vm/a tank/x tank/x/y tank/x/y/z");
}

TEST(Create, Refuses) {
  World w;
  ASSERT_EQ(w.run("create tank/v size=1M"), "ok");
  const std::string long_part(256, 'x');
  std::string deep = "tank";
  for (int i = 0; i < 50; ++i) deep += "/d";
  std::string long_name = "tank";
  while (long_name.size() <= 1023) long_name += "/" + std::string(200, 'y');
  const std::pair<std::string, std::string> cases[] = {
      {"create tank/v size=1M", "EEXIST: cannot create 'tank/v': dataset already exists"},
      {"create tank/v parents=1", "EEXIST: cannot create 'tank/v': dataset already exists"},
      {"create tank", "EEXIST: cannot create 'tank': dataset already exists"},
      {"create tank/a/b",
       "ENOENT: cannot create 'tank/a/b': parent does not exist; use -p (parents) to make it"},
      {"create tank/v/w",
       "EINVAL: cannot create 'tank/v/w': 'tank/v' is a volume, which has no children"},
      {"create dozer/a", "EXDEV: cannot create 'dozer/a': it is not in pool 'tank'"},
      {"create tank/a@b",
       "EINVAL: cannot create 'tank/a@b': it must be the name of a group or volume, without @ or "
       "#"},
      {"create tank/a$b",
       "EINVAL: cannot create 'tank/a$b': 'a$b' is no name: use letters, digits, space and any of "
       "-_.:"},
      {"create tank/..",
       "EINVAL: cannot create 'tank/..': '..' is no name: use letters, digits, space and any of "
       "-_.:"},
      {"create tank//a", "EINVAL: cannot create 'tank//a': a part of the name is empty"},
      {"create tank/" + long_part, "ENAMETOOLONG: cannot create 'tank/" + long_part +
                                       "': a part of the name is longer than 255 bytes"},
      {"create " + deep,
       "ENAMETOOLONG: cannot create '" + deep + "': the name has more than 50 levels"},
      {"create " + long_name,
       "ENAMETOOLONG: cannot create '" + long_name + "': the name is longer than 1023 bytes"},
      {"create tank/a size=5000",
       "EINVAL: cannot create 'tank/a': a volume's size must be a multiple of 4096 bytes"},
      {"create tank/a size=0",
       "EINVAL: cannot create 'tank/a': a volume's size must lie between 4K and 8E"},
      {"create tank/a size=9E",
       "EINVAL: cannot create 'tank/a': a volume's size must lie between 4K and 8E"},
      {"create tank/a properties={color=red}",
       "EINVAL: cannot create 'tank/a': there is no property 'color'; properties of your own have "
       "a colon in their name: module:name"},
      {"create tank/a properties={guid=3}",
       "EINVAL: cannot create 'tank/a': property 'guid' is read-only"},
      {"create tank/a properties={readonly=maybe}",
       "EINVAL: cannot create 'tank/a': property 'readonly' cannot be 'maybe': it is on | off"},
      {"create tank/a properties={quota=lots}",
       "EINVAL: cannot create 'tank/a': property 'quota' cannot be 'lots': it is <size> | none"},
      {"create tank/a size=1M properties={quota=1G}",
       "EINVAL: cannot create 'tank/a': property 'quota' does not apply to volumes"},
      {"create tank/a size=1M properties={volsize=2M}",
       "EINVAL: cannot create 'tank/a': the size is not given as a property: use -V (size)"},
      {"create tank/a properties={A:b=c}",
       "EINVAL: cannot create 'tank/a': 'A:b' is no property name: use lower-case letters, digits "
       "and :-._"},
      {"create tank/a properties={quota=1G;reservation=2G}",
       "ENOSPC: cannot create 'tank/a': the reservation of 2G exceeds the quota of 1G"},
      {"create tank/a properties={reservation=11G}",
       "ENOSPC: cannot create 'tank/a': reserving 11G more exceeds the 10G that are available"},
      {"create",
       "EINVAL: create: argument 'name' is missing; usage: create name [size=number] "
       "[properties=map of text] [parents=flag]"},
      {"create a b",
       "EINVAL: create: too many arguments; usage: create name [size=number] [properties=map of "
       "text] [parents=flag]"},
      {"create tank/a colour=red",
       "EINVAL: create: there is no argument 'colour'; usage: create name [size=number] "
       "[properties=map of text] [parents=flag]"},
      {"create tank/a parents=perhaps",
       "EINVAL: create: argument 'parents' must be a flag; usage: create name [size=number] "
       "[properties=map of text] [parents=flag]"},
      {"create tank/a name=tank/b",
       "EINVAL: create: argument 'name' is given twice; usage: create name [size=number] "
       "[properties=map of text] [parents=flag]"},
  };
  for (const auto& [command, answer] : cases) EXPECT_EQ(w.run(command), answer);
  EXPECT_EQ(w.run("create tank/a properties={a:b=" + std::string(8193, 'x') + "}"),
            "E2BIG: cannot create 'tank/a': the value of 'a:b' is longer than 8192 bytes");
  EXPECT_EQ(w.run("create tank/a properties={a:" + std::string(254, 'x') + "=c}"),
            "ENAMETOOLONG: cannot create 'tank/a': a property's name is longer than 255 bytes");
  EXPECT_EQ(w.listing(), "tank tank/v");
}

TEST(Snapshot, TakesManyAtOnePointInTime) {
  World w;
  for (const char* each : {"create tank/a", "create tank/a/v size=1M", "create tank/b size=2M"}) {
    ASSERT_EQ(w.run(each), "ok");
  }
  EXPECT_EQ(w.run("snapshot tank/a@s|tank/b@t properties={who:me=1}"), "ok");
  EXPECT_EQ(w.changes.report.created, (Names{"tank/a@s", "tank/b@t"}));
  const pool::Snapshot& taken = *w.catalog->snapshot(w.snapshot_id("tank/b@t"));
  EXPECT_EQ(taken.volsize_bytes, 2_MiB);
  EXPECT_EQ(taken.properties, (Pairs{{"who:me", "1"}}));
  EXPECT_EQ(taken.createtxg, w.catalog->snapshot(w.snapshot_id("tank/a@s"))->createtxg);
  EXPECT_EQ(w.run("snapshot tank@all recursive=true"), "ok");
  EXPECT_EQ(w.listing(), "tank @all tank/a @s @all tank/a/v @all tank/b @t @all");
}

TEST(Snapshot, Refuses) {
  World w;
  ASSERT_EQ(w.run("create tank/a size=1M"), "ok");
  ASSERT_EQ(w.run("snapshot tank/a@s"), "ok");
  EXPECT_EQ(w.run("snapshot tank/a@s"),
            "EEXIST: cannot create snapshot 'tank/a@s': snapshot already exists");
  EXPECT_EQ(w.run("snapshot tank@s recursive=1"),
            "EEXIST: cannot create snapshot 'tank/a@s': snapshot already exists");
  EXPECT_EQ(w.details, Names{"tank/a@s"});
  EXPECT_EQ(w.run("snapshot tank/a@t|tank/a@t"),
            "EEXIST: cannot create snapshot 'tank/a@t': the name is given twice");
  EXPECT_EQ(w.run("snapshot tank/b@s"),
            "ENOENT: cannot create snapshot 'tank/b@s': dataset does not exist");
  EXPECT_EQ(w.run("snapshot tank/a"),
            "EINVAL: cannot create snapshot 'tank/a': it names no snapshot: write "
            "DATASET@SNAPSHOT");
  EXPECT_EQ(w.run("snapshot tank/a@b@c"),
            "EINVAL: cannot create snapshot 'tank/a@b@c': 'b@c' is no name: use letters, digits, "
            "space and any of -_.:");
  EXPECT_EQ(w.run("snapshot tank/a@t properties={readonly=on}"),
            "EINVAL: cannot create snapshot 'tank/a@t': property 'readonly' does not apply to "
            "snapshots");
  EXPECT_EQ(w.run("snapshot tank/a@t|tank/zz@t"),
            "ENOENT: cannot create snapshot 'tank/zz@t': dataset does not exist");
  EXPECT_EQ(w.listing(), "tank tank/a @s");
}

TEST(Clone, BeginsAsItsSnapshot) {
  World w;
  ASSERT_EQ(w.run("create tank/a size=3M"), "ok");
  ASSERT_EQ(w.run("snapshot tank/a@s|tank@g"), "ok");
  EXPECT_EQ(w.run("clone tank/a@s tank/x/c parents=1 properties={readonly=on}"), "ok");
  EXPECT_EQ(w.changes.report.created, (Names{"tank/x", "tank/x/c"}));
  const pool::Dataset& clone = *w.catalog->dataset(w.id("tank/x/c"));
  EXPECT_EQ(clone.origin, w.snapshot_id("tank/a@s"));
  EXPECT_EQ(clone.volsize_bytes, 3_MiB);
  EXPECT_EQ(clone.properties, (Pairs{{"readonly", "on"}}));
  EXPECT_EQ(w.run("clone tank@g tank/y"),
            "EINVAL: cannot clone 'tank@g': it is a snapshot of a group, which has no data: create "
            "a group instead");
  EXPECT_EQ(w.run("clone tank/a@t tank/y"),
            "ENOENT: cannot clone 'tank/a@t': snapshot does not exist");
  EXPECT_EQ(w.run("clone tank/a tank/y"),
            "EINVAL: cannot clone 'tank/a': it names no snapshot: write DATASET@SNAPSHOT");
  EXPECT_EQ(w.run("clone tank/a@s tank/a"),
            "EEXIST: cannot create 'tank/a': dataset already exists");
  EXPECT_EQ(w.run("clone tank/a@s tank/q/w"),
            "ENOENT: cannot create 'tank/q/w': parent does not exist; use -p (parents) to make it");
  EXPECT_EQ(w.run("clone tank/a@s other/w"),
            "EXDEV: cannot create 'other/w': it is not in pool 'tank'");
}

// tank/a with snapshots 1..5, tank/c a clone of 2, tank/c@x.
void plant(World& w) {
  ASSERT_EQ(w.run("create tank/a size=1M"), "ok");
  for (const char* each : {"1", "2", "3", "4", "5"}) {
    ASSERT_EQ(w.run(std::string("snapshot tank/a@") + each), "ok");
  }
  ASSERT_EQ(w.run("clone tank/a@2 tank/c"), "ok");
  ASSERT_EQ(w.run("snapshot tank/c@x"), "ok");
}

TEST(Destroy, SnapshotsByNameListAndRange) {
  const std::pair<std::string, std::string> cases[] = {
      {"tank/a@1", "@2 @3 @4 @5"},       {"tank/a@3%5", "@1 @2"},
      {"tank/a@1,4,5", "@2 @3"},         {"tank/a@3%", "@1 @2"},
      {"tank/a@%1", "@2 @3 @4 @5"},      {"tank/a@1,4%5", "@2 @3"},
      {"tank/a@1|tank/a@3", "@2 @4 @5"}, {"tank/a@3,3%4", "@1 @2 @5"},
  };
  for (const auto& [what, left] : cases) {
    World w;
    plant(w);
    EXPECT_EQ(w.run("destroy " + what), "ok") << what;
    EXPECT_EQ(w.listing(), "tank tank/a " + left + " tank/c @x") << what;
  }
}

TEST(Destroy, TakesEverythingThatHangsOnIt) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("create tank/g"), "ok");
  ASSERT_EQ(w.run("clone tank/c@x tank/g/d"), "ok");
  ASSERT_EQ(w.run("bookmark tank/a@1 #mark"), "ok");
  w.dry = true;
  EXPECT_EQ(w.run("destroy tank/a clones=1"), "ok");
  EXPECT_EQ(w.changes.report.destroyed,
            (Names{"tank/g/d", "tank/c@x", "tank/c", "tank/a#mark", "tank/a@1", "tank/a@2",
                   "tank/a@3", "tank/a@4", "tank/a@5", "tank/a"}));
  w.dry = false;
  EXPECT_EQ(w.listing(), "tank tank/a @1 @2 @3 @4 @5 #mark tank/c @x tank/g tank/g/d");
  EXPECT_EQ(w.run("destroy tank/g|tank/g/d"), "ok");
  EXPECT_EQ(w.run("destroy tank/a|tank/c recursive=1"), "ok");
  EXPECT_EQ(w.listing(), "tank");
}

TEST(Destroy, RecursiveSnapshotsAndBookmarks) {
  World w;
  for (const char* each : {"create tank/a", "create tank/a/v size=1M", "create tank/a/w size=1M",
                           "snapshot tank/a@s recursive=1", "snapshot tank/a/v@t",
                           "bookmark tank/a/v@t tank/a/v#m", "destroy tank/a@s recursive=1"}) {
    ASSERT_EQ(w.run(each), "ok") << each;
  }
  EXPECT_EQ(w.listing(), "tank tank/a tank/a/v @t #m tank/a/w");
  EXPECT_EQ(w.run("destroy tank/a/v#m"), "ok");
  EXPECT_EQ(w.listing(), "tank tank/a tank/a/v @t tank/a/w");
  EXPECT_EQ(w.run("destroy tank/a recursive=1"), "ok");
  EXPECT_EQ(w.listing(), "tank");
}

TEST(Destroy, DeferredSnapshotsGoWithTheirLastCloneOrHold) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("hold keep tank/a@2"), "ok");
  EXPECT_EQ(w.run("destroy tank/a@2 defer=1"), "ok");
  EXPECT_EQ(w.changes.report.deferred, Names{"tank/a@2"});
  EXPECT_TRUE(w.catalog->snapshot(w.snapshot_id("tank/a@2"))->defer_destroy);
  EXPECT_EQ(w.run("destroy tank/c recursive=1"), "ok");
  EXPECT_EQ(w.listing(), "tank tank/a @1 @2 @3 @4 @5");
  w.facts.busy_snapshots = {w.snapshot_id("tank/a@2")};
  EXPECT_EQ(w.run("release keep tank/a@2"),
            "EBUSY: cannot release 'tank/a@2': it would be destroyed now, as was asked before, but "
            "it is in use");
  w.facts.busy_snapshots.clear();
  EXPECT_EQ(w.run("release keep tank/a@2"), "ok");
  EXPECT_EQ(w.changes.report.destroyed, Names{"tank/a@2"});
  EXPECT_EQ(w.run("destroy tank/a@3 defer=1"), "ok") << "nothing keeps it: it goes at once";
  EXPECT_EQ(w.listing(), "tank tank/a @1 @4 @5");

  ASSERT_EQ(w.run("clone tank/a@4 tank/c"), "ok");
  EXPECT_EQ(w.run("destroy tank/a@4 defer=1"), "ok");
  w.facts.busy_snapshots = {w.snapshot_id("tank/a@4")};
  EXPECT_EQ(w.run("destroy tank/c"),
            "EBUSY: cannot destroy 'tank/a@4': it would go with its last clone, as was asked "
            "before, but it is in use");
  w.facts.busy_snapshots.clear();
  EXPECT_EQ(w.run("destroy tank/c"), "ok");
  EXPECT_EQ(w.changes.report.destroyed, (Names{"tank/c", "tank/a@4"}));
}

TEST(Destroy, Refuses) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("create tank/g"), "ok");
  ASSERT_EQ(w.run("create tank/g/v size=1M"), "ok");
  ASSERT_EQ(w.run("hold keep tank/a@1"), "ok");
  w.facts.busy_snapshots = {w.snapshot_id("tank/a@5")};
  w.facts.busy_datasets = {w.id("tank/g/v")};
  const std::pair<std::string, std::string> cases[] = {
      {"tank/zz", "ENOENT: cannot destroy 'tank/zz': dataset does not exist"},
      {"tank/a@zz", "ENOENT: cannot destroy 'tank/a@zz': snapshot 'tank/a@zz' does not exist"},
      {"tank/zz@1", "ENOENT: cannot destroy 'tank/zz@1': dataset does not exist"},
      {"tank/a@3%zz", "ENOENT: cannot destroy 'tank/a@3%zz': snapshot 'tank/a@zz' does not exist"},
      {"tank/a@4%3",
       "EINVAL: cannot destroy 'tank/a@4%3': '4' is younger than '3': write OLDEST%YOUNGEST"},
      {"tank/a@",
       "EINVAL: cannot destroy 'tank/a@': '' is no snapshot: write NAME, NAME,NAME or "
       "OLDEST%YOUNGEST"},
      {"tank/a@1,,2",
       "EINVAL: cannot destroy 'tank/a@1,,2': '' is no snapshot: write NAME, NAME,NAME or "
       "OLDEST%YOUNGEST"},
      {"tank/g@%", "ENOENT: cannot destroy 'tank/g@%': it has no snapshots"},
      {"tank@zz recursive=1",
       "ENOENT: cannot destroy 'tank@zz': neither it nor what is below has such a snapshot"},
      {"tank/a#zz", "ENOENT: cannot destroy 'tank/a#zz': bookmark does not exist"},
      {"tank/zz#zz", "ENOENT: cannot destroy 'tank/zz#zz': dataset does not exist"},
      {"tank", "EINVAL: cannot destroy 'tank': it is the pool itself; a pool goes with its file"},
      {"tank/c",
       "EBUSY: cannot destroy 'tank/c': it has snapshots; use -r (recursive) to destroy "
       "them too"},
      {"tank/g",
       "EEXIST: cannot destroy 'tank/g': it has children; use -r (recursive) to destroy "
       "them too"},
      {"tank/g recursive=1",
       "EBUSY: cannot destroy 'tank/g/v': it is in use; disconnect its clients first"},
      {"tank/a@1",
       "EBUSY: cannot destroy 'tank/a@1': it is held; release its holds first, or use "
       "-d (defer)"},
      {"tank/a@2",
       "EEXIST: cannot destroy 'tank/a@2': it has clones; use -R (clones) to destroy "
       "them too, or -d (defer)"},
      {"tank/a@5", "EBUSY: cannot destroy 'tank/a@5': it is in use; disconnect its clients first"},
      {"tank/g defer=1", "EINVAL: cannot destroy 'tank/g': only snapshots can be deferred (-d)"},
  };
  for (const auto& [what, answer] : cases) EXPECT_EQ(w.run("destroy " + what), answer);
  EXPECT_EQ(w.run("destroy tank/a@2 "),
            "EEXIST: cannot destroy 'tank/a@2': it has clones; use -R "
            "(clones) to destroy them too, or -d (defer)");
  EXPECT_EQ(w.details, Names{"tank/c"});
  w.run("destroy tank/a@1");
  EXPECT_EQ(w.details, Names{"keep"});
  w.run("destroy tank/g");
  EXPECT_EQ(w.details, Names{"tank/g/v"});
  w.facts.busy_datasets.clear();
  w.facts.exports = {{w.id("tank/g/v"), {}, {"nbd", "unix:/x"}, false}};
  EXPECT_EQ(w.run("destroy tank/g/v"),
            "EBUSY: cannot destroy 'tank/g/v': it is exported; unexport it first");
  w.facts.exports = {{w.id("tank/a"), w.snapshot_id("tank/a@4"), {"nbd", "unix:/x"}, false}};
  EXPECT_EQ(w.run("destroy tank/a@4"),
            "EBUSY: cannot destroy 'tank/a@4': it is exported; unexport it first");
  EXPECT_EQ(w.listing(), "tank tank/a @1 @2 @3 @4 @5 tank/c @x tank/g tank/g/v");
}

TEST(Promote, TurnsHistoryRound) {
  World w;
  plant(w);
  EXPECT_EQ(w.run("promote tank/c"), "ok");
  EXPECT_EQ(w.listing(), "tank tank/a @3 @4 @5 tank/c @1 @2 @x");
  EXPECT_EQ(raw(w.catalog->dataset(w.id("tank/c"))->origin), 0u);
  EXPECT_EQ(w.catalog->dataset(w.id("tank/a"))->origin, w.snapshot_id("tank/c@2"));
  EXPECT_EQ(w.run("destroy tank/a recursive=1"), "ok");
  EXPECT_EQ(w.listing(), "tank tank/c @1 @2 @x");
}

TEST(Promote, OfACloneOfAClonePassesOnTheOrigin) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("clone tank/c@x tank/d"), "ok");
  w.facts.exports = {{w.id("tank/c"), w.snapshot_id("tank/c@x"), {"nbd", "unix:/x"}, true}};
  EXPECT_EQ(w.run("promote tank/d"), "ok");
  EXPECT_EQ(w.listing(), "tank tank/a @1 @2 @3 @4 @5 tank/c tank/d @x");
  EXPECT_EQ(w.catalog->dataset(w.id("tank/d"))->origin, w.snapshot_id("tank/a@2"));
  EXPECT_EQ(w.catalog->dataset(w.id("tank/c"))->origin, w.snapshot_id("tank/d@x"));
  ASSERT_EQ(w.changes.effects.size(), 1u);
  EXPECT_EQ(std::get<RenameExport>(w.changes.effects[0]).old_name, "tank/c@x");
  EXPECT_EQ(std::get<RenameExport>(w.changes.effects[0]).new_name, "tank/d@x");
}

TEST(Promote, Refuses) {
  World w;
  plant(w);
  EXPECT_EQ(w.run("promote tank/a"), "EINVAL: cannot promote 'tank/a': it is not a clone");
  EXPECT_EQ(w.run("promote tank/zz"), "ENOENT: cannot promote 'tank/zz': dataset does not exist");
  EXPECT_EQ(w.run("promote tank/a@1"),
            "EINVAL: cannot promote 'tank/a@1': it must be the name of a group or volume, without "
            "@ or #");
  ASSERT_EQ(w.run("snapshot tank/c@1"), "ok");
  ASSERT_EQ(w.run("snapshot tank/c@2"), "ok");
  EXPECT_EQ(w.run("promote tank/c"),
            "EEXIST: cannot promote 'tank/c': snapshots of this name would move to it, where there "
            "are others: 1, ...; rename them first");
  EXPECT_EQ(w.details, (Names{"1", "2"}));
}

TEST(Rollback, GoesBackToASnapshot) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("resize tank/a 8M"), "ok");
  EXPECT_EQ(w.run("rollback tank/a"), "ok");
  EXPECT_EQ(w.changes.report.target, "tank/a@5");
  EXPECT_EQ(w.catalog->dataset(w.id("tank/a"))->volsize_bytes, 1_MiB);
  ASSERT_EQ(w.run("bookmark tank/a@4 #m4"), "ok");
  ASSERT_EQ(w.run("bookmark tank/a@3 #m3"), "ok");
  EXPECT_EQ(w.run("rollback tank/a@3"),
            "EEXIST: cannot roll back to 'tank/a@3': there are younger snapshots or bookmarks; use "
            "-r (recursive) to destroy them");
  EXPECT_EQ(w.details, (Names{"tank/a@4", "tank/a@5", "tank/a#m4"}));
  EXPECT_EQ(w.run("rollback tank/a@3 recursive=1"), "ok");
  EXPECT_EQ(w.changes.report.destroyed, (Names{"tank/a#m4", "tank/a@4", "tank/a@5"}));
  EXPECT_EQ(w.listing(), "tank tank/a @1 @2 @3 #m3 tank/c @x");
  EXPECT_EQ(
      w.run("rollback tank/a@1 recursive=1"),
      "EEXIST: cannot destroy 'tank/a@2': it has clones; use -R (clones) to destroy them too, "
      "or -d (defer)");
  EXPECT_EQ(w.run("rollback tank/a@1 clones=1"), "ok");
  EXPECT_EQ(w.listing(), "tank tank/a @1");
}

TEST(Rollback, Refuses) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("create tank/n size=1M"), "ok");
  w.facts.busy_datasets = {w.id("tank/a")};
  EXPECT_EQ(w.run("rollback tank/a@5"),
            "EBUSY: cannot roll back to 'tank/a@5': the volume is in use; disconnect its clients "
            "first");
  EXPECT_EQ(w.run("rollback tank/a@9"),
            "ENOENT: cannot roll back to 'tank/a@9': snapshot does not exist");
  EXPECT_EQ(w.run("rollback tank/n"), "EINVAL: cannot roll back to 'tank/n': it has no snapshots");
  EXPECT_EQ(w.run("rollback tank"),
            "EINVAL: cannot roll back to 'tank': a group has no data that could be rolled back");
  w.facts.busy_datasets.clear();
  ASSERT_EQ(w.run("hold keep tank/a@5"), "ok");
  EXPECT_EQ(w.run("rollback tank/a@4 recursive=1"),
            "EBUSY: cannot destroy 'tank/a@5': it is held; release its holds first, or use -d "
            "(defer)");
}

TEST(Rename, MovesTreesAndSnapshots) {
  World w;
  for (const char* each :
       {"create tank/a", "create tank/a/v size=1M", "snapshot tank@s recursive=1", "create tank/b",
        "rename tank/a tank/b/x", "rename tank/b/x/v tank/n/m/v parents=1", "rename tank/n/m/v@s t",
        "rename tank/b/x@s @u", "rename tank/n/m/v@t tank/n/m/v@w",
        "rename tank@s z recursive=1"}) {
    ASSERT_EQ(w.run(each), "ok") << each;
  }
  EXPECT_EQ(w.listing(), "tank @z tank/b tank/b/x @u tank/n tank/n/m tank/n/m/v @w");
  ASSERT_EQ(w.run("snapshot tank/n@q recursive=1"), "ok");
  EXPECT_EQ(w.run("rename tank/n@q r recursive=1"), "ok");
  EXPECT_EQ(w.changes.report.changed, (Names{"tank/n@r", "tank/n/m@r", "tank/n/m/v@r"}));
}

TEST(Rename, TakesRunningExportsAlong) {
  World w;
  ASSERT_EQ(w.run("create tank/a"), "ok");
  ASSERT_EQ(w.run("create tank/a/v size=1M"), "ok");
  ASSERT_EQ(w.run("snapshot tank/a/v@s"), "ok");
  w.facts.exports = {{w.id("tank/a/v"), {}, {"nbd", "unix:/x"}, true},
                     {w.id("tank/a/v"), w.snapshot_id("tank/a/v@s"), {"nbd", "unix:/x"}, true}};
  EXPECT_EQ(w.run("rename tank/a tank/b"), "ok");
  ASSERT_EQ(w.changes.effects.size(), 2u);
  EXPECT_EQ(std::get<RenameExport>(w.changes.effects[0]).old_name, "tank/a/v");
  EXPECT_EQ(std::get<RenameExport>(w.changes.effects[0]).new_name, "tank/b/v");
  EXPECT_EQ(std::get<RenameExport>(w.changes.effects[1]).new_name, "tank/b/v@s");
  EXPECT_EQ(w.run("rename tank/b/v@s t"), "ok");
  ASSERT_EQ(w.changes.effects.size(), 1u);
  EXPECT_EQ(std::get<RenameExport>(w.changes.effects[0]).new_name, "tank/b/v@t");
}

TEST(Rename, Refuses) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("create tank/g properties={quota=1M}"), "ok");
  w.fill("tank/a", 300);
  const std::string name_200(200, 'n');
  ASSERT_EQ(w.run("create tank/l/" + name_200 + "/" + name_200 + "/" + name_200 + "/" + name_200 +
                  " parents=1"),
            "ok");
  const std::pair<std::string, std::string> cases[] = {
      {"tank/zz tank/y", "ENOENT: cannot rename 'tank/zz': dataset does not exist"},
      {"tank/a tank/c", "EEXIST: cannot rename 'tank/c': dataset already exists"},
      {"tank/a tank/a", "EEXIST: cannot rename 'tank/a': dataset already exists"},
      {"tank/a dozer/a", "EXDEV: cannot rename 'dozer/a': it is not in pool 'tank'"},
      {"tank/a tank/y/z",
       "ENOENT: cannot rename 'tank/y/z': parent does not exist; use -p (parents) to make it"},
      {"tank/a tank/c/z",
       "EINVAL: cannot rename 'tank/c/z': 'tank/c' is a volume, which has no children"},
      {"tank/g tank/g/h", "EINVAL: cannot rename 'tank/g': 'tank/g/h' lies inside of it"},
      {"tank other",
       "EINVAL: cannot rename 'tank': it is the pool itself, which is named when it is opened"},
      {"tank/a tank/b recursive=1",
       "EINVAL: cannot rename 'tank/a': only snapshots are renamed recursively (-r)"},
      {"tank/a#x tank/a#y", "EINVAL: cannot rename 'tank/a#x': bookmarks are not renamed"},
      {"tank/a@9 8", "ENOENT: cannot rename 'tank/a@9': snapshot does not exist"},
      {"tank/a@1 2", "EEXIST: cannot rename 'tank/a@1': 'tank/a@2' already exists"},
      {"tank/a@1 tank/c@q", "EXDEV: cannot rename 'tank/a@1': a snapshot stays with its dataset"},
      {"tank/a@1 a/b", "EINVAL: cannot rename 'tank/a@1': 'a/b' is no snapshot's name"},
      {"tank/a@1 9 parents=1",
       "EINVAL: cannot rename 'tank/a@1': a snapshot has no parents to make (-p)"},
      {"tank@zz y recursive=1",
       "ENOENT: cannot rename 'tank@zz': neither it nor what is below has that snapshot"},
      {"tank/a tank/g/a",
       "EDQUOT: cannot rename 'tank/a': its 1.17M do not fit under the quota of 'tank/g'"},
  };
  for (const auto& [what, answer] : cases) EXPECT_EQ(w.run("rename " + what), answer);
  const std::string outcome = w.run("rename tank/l tank/" + std::string(250, 'k'));
  EXPECT_TRUE(outcome.starts_with("ENAMETOOLONG: cannot rename 'tank/l': the name of")) << outcome;
}

TEST(Bookmark, RemembersASnapshot) {
  World w;
  plant(w);
  EXPECT_EQ(w.run("bookmark tank/a@1 tank/a#one"), "ok");
  EXPECT_EQ(w.run("bookmark tank/a#one #two"), "ok");
  const pool::Bookmark& two = *w.catalog->bookmark(w.id("tank/a"), "two");
  const pool::Snapshot& snapshot = *w.catalog->snapshot(w.snapshot_id("tank/a@1"));
  EXPECT_EQ(two.guid, snapshot.guid);
  EXPECT_EQ(two.createtxg, snapshot.createtxg);
  EXPECT_EQ(w.run("bookmark tank/a@2 #two"),
            "EEXIST: cannot create bookmark 'tank/a#two': bookmark already exists");
  EXPECT_EQ(w.run("bookmark tank/a@9 #q"),
            "ENOENT: cannot bookmark 'tank/a@9': snapshot does not exist");
  EXPECT_EQ(w.run("bookmark tank/a#9 #q"),
            "ENOENT: cannot bookmark 'tank/a#9': bookmark does not exist");
  EXPECT_EQ(w.run("bookmark tank/z@9 #q"),
            "ENOENT: cannot bookmark 'tank/z@9': dataset does not exist");
  EXPECT_EQ(w.run("bookmark tank/a #q"),
            "EINVAL: cannot bookmark 'tank/a': a bookmark is made of a snapshot or of a bookmark");
  EXPECT_EQ(w.run("bookmark tank/a@1 tank/c#q"),
            "EXDEV: cannot create bookmark 'tank/c#q': a bookmark belongs to the dataset of its "
            "snapshot");
  EXPECT_EQ(w.run("bookmark tank/a@1 tank/a@q"),
            "EINVAL: cannot create bookmark 'tank/a@q': it names no bookmark: write "
            "DATASET#BOOKMARK");
}

TEST(Hold, KeepsSnapshots) {
  World w;
  ASSERT_EQ(w.run("create tank/v size=1M"), "ok");
  ASSERT_EQ(w.run("snapshot tank@s recursive=1"), "ok");
  EXPECT_EQ(w.run("hold keep tank@s recursive=1"), "ok");
  EXPECT_EQ(w.changes.report.changed, (Names{"tank@s", "tank/v@s"}));
  EXPECT_EQ(w.catalog->snapshot(w.snapshot_id("tank/v@s"))->holds.at("keep"), 1000u);
  EXPECT_EQ(w.run("hold keep tank/v@s"),
            "EEXIST: cannot hold 'tank/v@s': it is held with tag 'keep' already");
  EXPECT_EQ(w.run("hold keep tank/v@t"), "ENOENT: cannot hold 'tank/v@t': snapshot does not exist");
  EXPECT_EQ(w.run("hold keep tank@t recursive=1"),
            "ENOENT: cannot hold 'tank@t': neither it nor what is below has that snapshot");
  EXPECT_EQ(w.run("hold keep tank/v"),
            "EINVAL: cannot hold 'tank/v': it names no snapshot: write DATASET@SNAPSHOT");
  EXPECT_EQ(w.run("hold " + std::string(256, 't') + " tank/v@s").substr(0, 5), "E2BIG");
  EXPECT_EQ(w.run("release gone tank/v@s"),
            "ESRCH: cannot release 'tank/v@s': it has no hold with tag 'gone'");
  EXPECT_EQ(w.run("release gone tank@s recursive=1"),
            "ESRCH: cannot release 'tank@s': no snapshot has a hold with tag 'gone'");
  EXPECT_EQ(w.run("release keep tank@s recursive=1"), "ok");
  EXPECT_TRUE(w.catalog->snapshot(w.snapshot_id("tank/v@s"))->holds.empty());
}

TEST(Set, ChangesProperties) {
  World w;
  plant(w);
  EXPECT_EQ(w.run("set tank {quota=5G;a:b=c}"), "ok");
  EXPECT_EQ(w.run("set tank/a|tank/a@1 {a:b=d}"), "ok");
  EXPECT_EQ(w.run("set tank/a {volsize=2M;readonly=on;reservation=1G}"), "ok");
  EXPECT_EQ(w.catalog->dataset(w.id("tank/a"))->properties,
            (Pairs{{"a:b", "d"}, {"readonly", "on"}, {"reservation", "1073741824"}}));
  EXPECT_EQ(w.catalog->dataset(w.id("tank/a"))->volsize_bytes, 2_MiB);
  EXPECT_EQ(w.catalog->snapshot(w.snapshot_id("tank/a@1"))->properties, (Pairs{{"a:b", "d"}}));
  EXPECT_EQ(w.run("set tank/a {reservation=none}"), "ok");
  EXPECT_EQ(w.run("inherit tank a:b recursive=1"), "ok");
  EXPECT_EQ(w.run("inherit tank/a@1 a:b"), "ok");
  EXPECT_EQ(w.run("inherit tank/a rdonly"), "ok");
  EXPECT_EQ(w.catalog->dataset(w.id("tank/a"))->properties, Pairs{});
  EXPECT_EQ(w.catalog->snapshot(w.snapshot_id("tank/a@1"))->properties, Pairs{});
  EXPECT_EQ(w.catalog->dataset(w.id("tank"))->properties, (Pairs{{"quota", "5368709120"}}));
}

TEST(Set, ReadOnlyReachesWhatIsServed) {
  World w;
  ASSERT_EQ(w.run("create tank/g"), "ok");
  ASSERT_EQ(w.run("create tank/g/v size=1M"), "ok");
  ASSERT_EQ(w.run("create tank/g/w size=1M properties={readonly=on}"), "ok");
  w.facts.exports = {{w.id("tank/g/v"), {}, {"nbd", "unix:/x"}, true},
                     {w.id("tank/g/w"), {}, {"nbd", "unix:/x"}, true}};
  EXPECT_EQ(w.run("set tank {readonly=on}"), "ok");
  ASSERT_EQ(w.changes.effects.size(), 1u) << "the other was read-only before";
  EXPECT_EQ(std::get<SetReadOnly>(w.changes.effects[0]).name, "tank/g/v");
  EXPECT_TRUE(std::get<SetReadOnly>(w.changes.effects[0]).read_only);
  EXPECT_EQ(w.run("inherit tank readonly"), "ok");
  ASSERT_EQ(w.changes.effects.size(), 1u);
  EXPECT_FALSE(std::get<SetReadOnly>(w.changes.effects[0]).read_only);
}

TEST(Set, Refuses) {
  World w;
  plant(w);
  ASSERT_EQ(w.run("create tank/g"), "ok");
  ASSERT_EQ(w.run("create tank/g/v size=1M"), "ok");
  w.fill("tank/g/v", 1024);
  const std::pair<std::string, std::string> cases[] = {
      {"set tank/zz {a:b=c}", "ENOENT: cannot open 'tank/zz': dataset does not exist"},
      {"set tank/a {}", "EINVAL: cannot set property of 'tank/a': no property is given"},
      {"set tank/a|tank/a {a:b=c}", "EINVAL: cannot set property of 'tank/a': it is named twice"},
      {"set tank/a {used=1}",
       "EINVAL: cannot set property of 'tank/a': property 'used' is read-only"},
      {"set tank/a {volsize=1}",
       "EINVAL: cannot set property of 'tank/a': a volume's size must be a multiple of 4096 bytes"},
      {"set tank/a {volsize=none}",
       "EINVAL: cannot set property of 'tank/a': property 'volsize' cannot be 'none': it is "
       "<size>"},
      {"set tank/g {volsize=1M}",
       "EINVAL: cannot set property of 'tank/g': property 'volsize' does not apply to groups"},
      {"set tank/a@1 {readonly=on}",
       "EINVAL: cannot set property of 'tank/a@1': property 'readonly' does not apply to "
       "snapshots"},
      {"set tank/g {quota=1M}",
       "ENOSPC: cannot set property of 'tank/g': the quota of 1M is below the 4M that are used"},
      {"set tank/g {reservation=11G}",
       "ENOSPC: cannot set property of 'tank/g': reserving 11.0G more exceeds the 10G that are "
       "available"},
      {"set tank/a|tank/c {reservation=6G}",
       "ENOSPC: cannot set property of 'tank/c': reserving 6G more exceeds the 4G that are "
       "available"},
      {"inherit tank/a quota",
       "EINVAL: cannot inherit property 'quota': it is never inherited; set it to none instead"},
      {"inherit tank/a used", "EINVAL: cannot inherit property 'used': it is read-only"},
      {"inherit tank/a nonsense",
       "EINVAL: cannot inherit property 'nonsense': there is no such property"},
      {"inherit tank/zz a:b", "ENOENT: cannot open 'tank/zz': dataset does not exist"},
      {"inherit tank/a@1 readonly",
       "EINVAL: cannot set property of 'tank/a@1': property 'readonly' does not apply to "
       "snapshots"},
  };
  for (const auto& [command, answer] : cases) EXPECT_EQ(w.run(command), answer) << command;
  ASSERT_EQ(w.run("bookmark tank/a@1 #m"), "ok");
  EXPECT_EQ(w.run("set tank/a#m {a:b=c}"),
            "EINVAL: cannot set property of 'tank/a#m': bookmarks have no properties");
}

TEST(Resize, ChangesTheSize) {
  World w;
  ASSERT_EQ(w.run("create tank/v size=1M"), "ok");
  auto transaction = w.catalog->begin();
  EXPECT_EQ(w.run_in(*transaction, "resize tank/v 1T"), "ok");
  EXPECT_EQ(w.run_in(*transaction, "resize tank/v 1T"), "ok") << "the same size changes nothing";
  ASSERT_EQ(transaction->tree_ops().size(), 1u);
  const auto& op = std::get<pool::ResizeVolume>(transaction->tree_ops()[0]);
  EXPECT_EQ(op.old_bytes, 1_MiB);
  EXPECT_EQ(op.new_bytes, u64{1} << 40);
  transaction.reset();
  EXPECT_EQ(w.run("resize tank 1T"),
            "EINVAL: cannot resize 'tank': it is a group, which has no size");
  EXPECT_EQ(w.run("resize tank/v 1"),
            "EINVAL: cannot resize 'tank/v': a volume's size must be a multiple of 4096 bytes");
  w.facts.busy_datasets = {w.id("tank/v")};
  EXPECT_EQ(w.run("resize tank/v 8K"),
            "EBUSY: cannot resize 'tank/v': a volume in use can grow, but not shrink; disconnect "
            "its clients");
  EXPECT_EQ(w.run("resize tank/v 2M"), "ok");
  ASSERT_EQ(w.run("set tank/v {readonly=on}"), "ok");
  EXPECT_EQ(w.run("resize tank/v 3M"),
            "EROFS: cannot resize 'tank/v': the volume is read-only; set readonly=off first");
}

TEST(Export, IsDesiredState) {
  World w;
  plant(w);
  EXPECT_EQ(w.run("export tank/a unix:/run/x.sock"), "ok");
  ASSERT_EQ(w.changes.effects.size(), 1u);
  const auto start = std::get<StartExport>(w.changes.effects[0]);
  EXPECT_EQ(start.name, "tank/a");
  EXPECT_EQ(start.spec, (pool::ExportSpec{"nbd", "unix:/run/x.sock", false, {}}));
  EXPECT_TRUE(start.pinned);
  EXPECT_EQ(w.run("export tank/a@1 tcp:localhost:10809"), "ok");
  EXPECT_TRUE(std::get<StartExport>(w.changes.effects[0]).spec.read_only);
  EXPECT_EQ(w.catalog->dataset(w.id("tank/a"))->exports.size(), 2u);
  EXPECT_EQ(w.run("export tank/c unix:/y pin=false read_only=true"), "ok");
  EXPECT_TRUE(w.catalog->dataset(w.id("tank/c"))->exports.empty());
  EXPECT_FALSE(std::get<StartExport>(w.changes.effects[0]).pinned);

  EXPECT_EQ(w.run("export tank/a unix:/run/x.sock"),
            "EEXIST: cannot export 'tank/a': it is exported at unix:/run/x.sock already");
  EXPECT_EQ(w.run("export tank unix:/x"),
            "EINVAL: cannot export 'tank': a group has no data; export the volumes in it");
  EXPECT_EQ(w.run("export tank/zz unix:/x"),
            "ENOENT: cannot open 'tank/zz': dataset does not exist");
  for (const char* bad : {"unix:", "tcp:host", "tcp::1", "tcp:host:", "/run/x"}) {
    EXPECT_EQ(w.run(std::string("export tank/a ") + bad),
              std::string("EINVAL: cannot export 'tank/a': '") + bad +
                  "' is no address: use unix:PATH or tcp:HOST:PORT");
  }
  EXPECT_EQ(w.run("export tank/a unix:/x protocol=ftp"),
            "EINVAL: cannot export 'tank/a': there is no protocol 'ftp': use nbd");
  EXPECT_EQ(w.run("destroy tank/a@1"),
            "EBUSY: cannot destroy 'tank/a@1': it is exported; unexport it first");
  EXPECT_EQ(w.run("promote tank/c"), "ok");
  EXPECT_EQ(w.catalog->dataset(w.id("tank/c"))->exports.size(), 1u) << "it moved with its snapshot";

  EXPECT_EQ(w.run("unexport tank/a unix:/zz"),
            "ENOENT: cannot unexport 'tank/a': it is not exported at unix:/zz");
  EXPECT_EQ(w.run("unexport tank/a"), "ok");
  ASSERT_EQ(w.changes.effects.size(), 1u);
  EXPECT_EQ(std::get<StopExport>(w.changes.effects[0]).spec.address, "unix:/run/x.sock");
  EXPECT_EQ(w.run("unexport tank/a"), "ENOENT: cannot unexport 'tank/a': it is not exported");
  EXPECT_EQ(w.run("unexport tank/c@1"), "ok");
  EXPECT_EQ(w.run("destroy tank/c@1"), "ok");
}

TEST(Export, OfAVolumeRenamedInTheSameTransactionHasItsLastName) {
  World w;
  ASSERT_EQ(w.run("create tank/v size=1M"), "ok");
  auto transaction = w.catalog->begin();
  ASSERT_EQ(w.run_in(*transaction, "export tank/v unix:/x"), "ok");
  std::vector<Effect> effects = w.changes.effects;
  ASSERT_EQ(w.run_in(*transaction, "rename tank/v tank/w"), "ok");
  settle_names(*transaction, effects);
  EXPECT_EQ(std::get<StartExport>(effects[0]).name, "tank/w");
}

TEST(Transactions, HoldManyVerbsAndNothingOfARefusedOne) {
  World w;
  auto transaction = w.catalog->begin();
  for (const char* each : {"create tank/v size=1M", "snapshot tank/v@s", "clone tank/v@s tank/c",
                           "snapshot tank/c@t", "promote tank/c", "rollback tank/c@t",
                           "rename tank/c tank/d", "hold h tank/d@s", "bookmark tank/d@s #m"}) {
    EXPECT_EQ(w.run_in(*transaction, each), "ok") << each;
  }
  EXPECT_EQ(w.run_in(*transaction, "destroy tank/d recursive=1").substr(0, 5), "EBUSY");
  EXPECT_EQ(w.run_in(*transaction, "release h tank/d@s"), "ok");
  EXPECT_EQ(w.run_in(*transaction, "destroy tank/d clones=1"), "ok");
  w.catalog->accept(std::move(transaction));
  w.commit();
  EXPECT_EQ(w.listing(), "tank");
}

TEST(Table, IsSortedAndComplete) {
  std::string names;
  for (const Row& row : table()) {
    EXPECT_EQ(find(row.name), &row);
    EXPECT_FALSE(row.summary.empty());
    int position = 0;
    for (const Argument& each : row.arguments) {
      if (each.position >= 0) {
        EXPECT_EQ(each.position, position++) << row.name;
      }
      EXPECT_FALSE(each.summary.empty());
    }
    names.append(row.name).append(" ");
  }
  EXPECT_EQ(names,
            "bookmark clone create destroy export hold inherit link load promote release relink "
            "rename resize rollback set snapshot unexport unlink unload ");
  EXPECT_EQ(find("format"), nullptr);
}

TEST(Arguments, AreShownAsTheyWereGiven) {
  const Row& row = *find("create");
  Arguments named{{"properties", Pairs{{"a:b", "it's"}}}, {"parents", true}, {"size", u64{4096}}};
  const auto bound = bind(row, {std::string("tank/a b")}, named);
  ASSERT_TRUE(bound);
  EXPECT_EQ(command_text(row, *bound),
            "create 'tank/a b' size=4096 properties=a:b='it?s' parents=true");
}

TEST(Arguments, SizesInEveryUnit) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("64G"), 64_GiB);
  EXPECT_EQ(parse_size("1.5k"), 1536u);
  EXPECT_EQ(parse_size("2MiB"), 2_MiB);
  EXPECT_EQ(parse_size("2MB"), 2_MiB);
  EXPECT_EQ(parse_size("8E"), u64{1} << 63);
  EXPECT_EQ(parse_size("512B"), 512u);
  EXPECT_EQ(parse_size("18446744073709551615"), ~u64{0});
  for (const char* bad : {"", "G", "-1", "1.5", "16E", "1X", "1GiBx", "1 G", "18446744073709551616",
                          "0x10", "1.5.5G", "+1"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace coppice::verb
