// Every call of a program, its values and its errors; savepoints; what the history keeps.
#include <gmock/gmock.h>

#include <cerrno>

#include "channel/clerk.h"
#include "channel/testing/stage.h"

namespace coppice::channel {
namespace {

using message::Answer;
using message::Ask;
using message::Call;
using message::List;
using message::Record;
using message::Value;
using testing::HasSubstr;

std::vector<std::string> column(const Value& rows, size_t index = 0) {
  std::vector<std::string> texts;
  for (const Value& row : std::get<List>(rows.data)) {
    texts.push_back(row.is_nil() ? "-"
                                 : std::get<std::string>(std::get<List>(row.data)[index].data));
  }
  return texts;
}

class Calls : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<Ask> asks;
    asks.push_back(do_verb("create", {"tank/g"}, {{"properties", Record{{"my:owner", "ann"}}}}));
    asks.push_back(do_verb("create", {"tank/g/v"}, {{"size", i64{1} << 20}}));
    asks.push_back(do_verb("create", {"tank/w"}, {{"size", "2M"}}));
    asks.push_back(do_verb("snapshot", {"tank/g/v@a"}));
    asks.push_back(do_verb("snapshot", {"tank/g/v@b"}));
    asks.push_back(do_verb("clone", {"tank/g/v@a", "tank/c"}));
    asks.push_back(do_verb("bookmark", {"tank/g/v@a", "#m"}));
    asks.push_back(do_verb("hold", {"keep", "tank/g/v@b"}));
    stage.set_up(std::move(asks));
  }
  // All rows of a list, in pages of `count`.
  std::vector<Value> list(std::string what, std::string name, i64 count = 0) {
    stage.play({ask(Call::list, {what, name}), ask(Call::page, {i64{1}, i64{0}, count})}, false);
    EXPECT_EQ(stage.recital.answers.size(), 2U);
    if (stage.recital.answers.size() != 2) return {};
    return std::get<List>(std::get<List>(stage.recital.answers[1].value.data)[0].data);
  }
  Value got(std::string name, std::string property) {
    const Answer answer = stage.answer(ask(Call::get, {name, property}));
    EXPECT_FALSE(answer.fatal) << answer.message;
    return answer.value;
  }
  void expect_fatal(Ask what, int error, std::string_view message) {
    const Answer answer = stage.answer(std::move(what));
    EXPECT_TRUE(answer.fatal);
    EXPECT_EQ(answer.error, error);
    EXPECT_THAT(answer.message, HasSubstr(std::string(message)));
  }
  Stage stage{1};
};

TEST_F(Calls, GetYieldsValuesOfTheirTypesWithTheirSources) {
  EXPECT_TRUE(got("tank/g/v", "volsize") == Value(List{i64{1} << 20, "tank/g/v"}));
  EXPECT_TRUE(got("tank/g/v", "type") == Value(List{"volume", Value()}));
  EXPECT_TRUE(got("tank/g", "type") == Value(List{"group", Value()}));
  EXPECT_TRUE(got("tank/g/v@a", "type") == Value(List{"snapshot", Value()}));
  EXPECT_TRUE(got("tank/g/v#m", "type") == Value(List{"bookmark", Value()}));
  EXPECT_TRUE(got("tank/g/v", "readonly") == Value(List{"off", "default"}));
  EXPECT_TRUE(got("tank/g", "my:owner") == Value(List{"ann", "tank/g"}));
  EXPECT_TRUE(got("tank/g/v", "my:owner") == Value(List{"ann", "tank/g"}));
  EXPECT_TRUE(got("tank/c", "origin") == Value(List{"tank/g/v@a", Value()}));
  EXPECT_TRUE(got("tank/g/v@a", "clones") == Value(List{"tank/c", Value()}));
  EXPECT_TRUE(got("tank/g/v@b", "userrefs") == Value(List{i64{1}, Value()}));
  EXPECT_TRUE(got("tank/g/v@a", "used") == Value(List{i64{0}, Value()}));
  EXPECT_TRUE(got("tank/g/v", "written@a") == Value(List{i64{0}, Value()}));
  EXPECT_TRUE(got("tank", "snapshot_count") == Value(List{i64{2}, Value()}));
  EXPECT_TRUE(got("tank/w", "my:owner").is_nil());
  EXPECT_TRUE(got("tank/g", "volsize").is_nil());
  EXPECT_TRUE(got("tank/w", "origin").is_nil());
}

TEST_F(Calls, GetOfWhatIsNotThereIsFatal) {
  expect_fatal(ask(Call::get, {"tank/no", "used"}), ENOENT,
               "cannot get used of 'tank/no': dataset does not exist");
  expect_fatal(ask(Call::get, {"tank/g/v@no", "used"}), ENOENT, "snapshot does not exist");
  expect_fatal(ask(Call::get, {"tank/g", "nonsense"}), EINVAL, "there is no such property");
  expect_fatal(ask(Call::get, {"other/g", "used"}), EXDEV,
               "cannot get used of 'other/g': it is not in pool 'tank'");
  expect_fatal(ask(Call::get, {"tank/g"}), EINVAL, "usage: get NAME PROPERTY");
  expect_fatal(ask(Call::get, {"tank/g", i64{1}}), EINVAL, "usage");
}

TEST_F(Calls, ExistsTellsOfEveryKind) {
  for (const char* name : {"tank", "tank/g/v", "tank/g/v@a", "tank/g/v#m"})
    EXPECT_TRUE(stage.answer(ask(Call::exists, {name})).value == Value(true)) << name;
  for (const char* name : {"tank/x", "tank/g/v@x", "tank/g/v#x", "tank//", "tank/g/v@a@b"})
    EXPECT_TRUE(stage.answer(ask(Call::exists, {name})).value == Value(false)) << name;
  expect_fatal(ask(Call::exists, {"tanks/g"}), EXDEV, "it is not in pool 'tank'");
  expect_fatal(ask(Call::exists, {}), EINVAL, "usage: exists NAME");
}

TEST_F(Calls, ListsHaveTheirRows) {
  using V = std::vector<std::string>;
  EXPECT_EQ(column(list("children", "tank")), (V{"tank/c", "tank/g", "tank/w"}));
  EXPECT_EQ(column(list("children", "tank/w")), V{});
  EXPECT_EQ(column(list("descendants", "tank")), (V{"tank/c", "tank/g", "tank/g/v", "tank/w"}));
  EXPECT_EQ(column(list("snapshots", "tank/g/v")), (V{"tank/g/v@a", "tank/g/v@b"}));
  EXPECT_EQ(column(list("bookmarks", "tank/g/v")), V{"tank/g/v#m"});
  EXPECT_EQ(column(list("clones", "tank/g/v@a")), V{"tank/c"});
  EXPECT_EQ(column(list("clones", "tank/g/v@b")), V{});
  const auto holds = list("holds", "tank/g/v@b");
  ASSERT_EQ(holds.size(), 1U);
  EXPECT_TRUE(std::get<List>(holds[0].data)[0] == Value("keep"));
  EXPECT_GT(std::get<i64>(std::get<List>(holds[0].data)[1].data), 0);
  const auto own = list("user_properties", "tank/g/v");
  ASSERT_EQ(own.size(), 1U);
  EXPECT_TRUE(own[0] == Value(List{"my:owner", "ann", "tank/g"}));
  const auto names = column(list("system_properties", "tank/g/v#m"));
  EXPECT_EQ(names, (V{"type", "creation", "createtxg", "guid"}));
  const auto all = column(list("properties", "tank/g/v@a"));
  EXPECT_THAT(all, testing::Contains("used"));
  EXPECT_EQ(all.back(), "my:owner");
}

TEST_F(Calls, ListsOfLinksAndObjectsHaveThoseOfTheView) {
  const std::string hash(pool::kObjectHashBytes, 'a');
  stage.exports.objects.push_back({.hash = hash,
                                   .name = {},
                                   .bytes = "object",
                                   .settings = {},
                                   .programs = {{"limit", "volume.submit", pool::Tier::stable}}});
  stage.play({do_verb("link", {"tank/w", hash, "limit", "l"}), ask(Call::list, {"links", "tank"}),
              ask(Call::page, {i64{1}, i64{0}, i64{0}}), ask(Call::list, {"objects", "tank"}),
              ask(Call::page, {i64{2}, i64{0}, i64{0}}),
              do_verb("link", {"other/w", hash, "limit", "m"}),
              do_verb("link", {"tank/w", hash, "limit", "m"}, {{"redirects", "other/w"}})});
  ASSERT_EQ(stage.recital.answers.size(), 7U);
  EXPECT_EQ(stage.recital.answers[0].error, 0) << stage.recital.answers[0].message;
  const auto only_row = [&](size_t number) {
    const Value& page = stage.recital.answers[number].value;
    const List& rows = std::get<List>(std::get<List>(page.data)[0].data);
    EXPECT_EQ(rows.size(), 1U);
    return rows.empty() ? Value() : rows[0];
  };
  EXPECT_TRUE(only_row(2) == Value(List{"l", "tank/w", "volume.submit", hash, "limit", "l"}));
  EXPECT_TRUE(only_row(4) == Value(List{hash, Value(), true}));
  EXPECT_EQ(stage.recital.answers[5].error, EXDEV);
  EXPECT_EQ(stage.recital.answers[6].error, EXDEV);
  expect_fatal(ask(Call::list, {"objects", "tank/w"}), EINVAL, "objects are the pool's");
}

// Refuses snapshots, and remembers what it was asked.
class Keeper final : public verb::Gate {
 public:
  std::optional<verb::Refusal> admit(const Question& question) override {
    seen.push_back(std::string(question.row.name) + " " + question.caller +
                   (question.in_program ? " program" : "") + (question.dry_run ? " dry" : ""));
    if (question.row.name != "snapshot") return std::nullopt;
    return verb::Refusal{EPERM, "no snapshots today", {}};
  }
  std::vector<std::string> seen;
};

TEST_F(Calls, TheGateIsAskedBeforeEachVerb) {
  Keeper keeper;
  stage.exports.keeper = &keeper;
  stage.play({do_verb("snapshot", {"tank/w@s"}), ask(Call::exists, {"tank/w@s"}),
              ask_verb(Call::check, "snapshot", {"tank/w@s"}), do_verb("create", {"tank/x"})});
  ASSERT_EQ(stage.recital.answers.size(), 4U);
  EXPECT_EQ(stage.recital.answers[0].error, EPERM);
  EXPECT_EQ(stage.recital.answers[0].message, "no snapshots today");
  EXPECT_TRUE(stage.recital.answers[1].value == Value(false));
  EXPECT_EQ(stage.recital.answers[2].error, EPERM) << "check tells the truth";
  EXPECT_EQ(stage.recital.answers[3].error, 0);
  stage.play({ask_verb(Call::try_, "create", {"tank/y"})}, false);
  EXPECT_EQ(keeper.seen, (std::vector<std::string>{
                             "snapshot uid=0, pid=1 program", "snapshot uid=0, pid=1 program dry",
                             "create uid=0, pid=1 program", "create uid=0, pid=1 program dry"}));
  stage.exports.keeper = nullptr;
}

TEST_F(Calls, ListsOfExportsHaveThoseOfTheViewAndThoseThatRun) {
  const auto v = find_dataset(stage.bed.pool->catalog(), "tank/g/v");
  stage.exports.running.push_back(
      {.dataset = v, .snapshot = {}, .spec = {"nbd", "tcp:h:1", true, {}}, .pinned = false});
  stage.play({do_verb("export", {"tank/w", "unix:/run/heard.sock"}),
              ask(Call::list, {"exports", "tank"}), ask(Call::page, {i64{1}, i64{0}, i64{0}})});
  ASSERT_EQ(stage.recital.answers.size(), 3U);
  EXPECT_EQ(stage.recital.answers[0].error, 0) << stage.recital.answers[0].message;
  EXPECT_TRUE(stage.recital.answers[2].value ==
              Value(List{List{List{"tank/g/v", "nbd", "tcp:h:1", true, false},
                              List{"tank/w", "nbd", "unix:/run/heard.sock", false, true}},
                         i64{0}}));
}

TEST_F(Calls, ListsOfWhatHasNoneAreFatal) {
  expect_fatal(ask(Call::list, {"children", "tank/no"}), EINVAL,
               "cannot list children of 'tank/no': dataset does not exist");
  expect_fatal(ask(Call::list, {"snapshots", "tank/g/v@a"}), EINVAL,
               "neither a group nor a volume");
  expect_fatal(ask(Call::list, {"clones", "tank/g/v"}), EINVAL, "it is no snapshot");
  expect_fatal(ask(Call::list, {"holds", "tank/g/v"}), EINVAL, "it is no snapshot");
  expect_fatal(ask(Call::list, {"moons", "tank/g/v"}), EINVAL, "there is no such list");
  expect_fatal(ask(Call::list, {"children", "other"}), EXDEV, "it is not in pool 'tank'");
  expect_fatal(ask(Call::list, {"children"}), EINVAL, "usage: list WHAT NAME");
  expect_fatal(ask(Call::page, {i64{7}, i64{0}, i64{0}}), EINVAL, "there is none of that number");
}

TEST_F(Calls, PagesKeepTheirPlacesWhileRowsGo) {
  std::vector<Ask> asks;
  for (int i = 0; i < 10; ++i) asks.push_back(do_verb("snapshot", {"tank/w@" + std::to_string(i)}));
  const size_t first = asks.size();
  asks.push_back(ask(Call::list, {"snapshots", "tank/w"}));
  asks.push_back(ask(Call::page, {i64{1}, i64{0}, i64{4}}));
  asks.push_back(do_verb("destroy", {"tank/w@5"}));
  asks.push_back(do_verb("snapshot", {"tank/w@late"}));
  asks.push_back(ask(Call::page, {i64{1}, i64{4}, i64{4}}));
  asks.push_back(ask(Call::page, {i64{1}, i64{8}, i64{4}}));
  asks.push_back(ask(Call::page, {i64{1}, i64{1000}, i64{4}}));
  asks.push_back(ask(Call::drop, {i64{1}}));
  asks.push_back(ask(Call::drop, {i64{1}}));  // Harmless.
  asks.push_back(ask(Call::page, {i64{1}, i64{0}, i64{4}}));
  stage.play(asks, true);
  const auto& answers = stage.recital.answers;
  ASSERT_EQ(answers.size(), asks.size());
  const auto page = [&](size_t at) { return std::get<List>(answers[first + at].value.data); };
  using V = std::vector<std::string>;
  EXPECT_EQ(column(page(1)[0]), (V{"tank/w@0", "tank/w@1", "tank/w@2", "tank/w@3"}));
  EXPECT_TRUE(page(1)[1] == Value(i64{4}));
  EXPECT_EQ(column(page(4)[0]), (V{"tank/w@4", "-", "tank/w@6", "tank/w@7"}));
  EXPECT_TRUE(page(4)[1] == Value(i64{8}));
  EXPECT_EQ(column(page(5)[0]), (V{"tank/w@8", "tank/w@9"}));
  EXPECT_TRUE(page(5)[1] == Value(i64{0}));
  EXPECT_TRUE(page(6) == (List{List{}, i64{0}}));
  EXPECT_TRUE(answers[first + 9].fatal);
  EXPECT_THAT(answers[first + 9].message, HasSubstr("it was closed"));
}

TEST_F(Calls, MoreListsThanTheLimitCloseTheOneUsedLeast) {
  std::vector<Ask> asks;
  for (size_t i = 0; i <= kListsMax; ++i) {
    asks.push_back(ask(Call::list, {"children", "tank"}));
    if (i == 5) asks.push_back(ask(Call::page, {i64{1}, i64{0}, i64{1}}));
  }
  asks.push_back(ask(Call::page, {i64{1}, i64{0}, i64{0}}));
  asks.push_back(ask(Call::page, {i64{2}, i64{0}, i64{0}}));
  stage.play(asks, false);
  const auto& answers = stage.recital.answers;
  ASSERT_EQ(answers.size(), asks.size());
  EXPECT_FALSE(answers[asks.size() - 2].fatal);
  EXPECT_TRUE(answers[asks.size() - 1].fatal);
  EXPECT_THAT(answers.back().message, HasSubstr("1024 newer ones are open"));
}

TEST_F(Calls, RefusalsAreErrorsWithTheirDetails) {
  const Outcome outcome =
      stage.play({do_verb("destroy", {"tank/g"}), ask_verb(Call::check, "destroy", {"tank/g/v@a"}),
                  do_verb("snapshot", {"tank/g/v@a"}), do_verb("create", {"tank/new"})});
  EXPECT_EQ(outcome.error, 0) << outcome.message;
  const auto& answers = stage.recital.answers;
  ASSERT_EQ(answers.size(), 4U);
  EXPECT_EQ(answers[0].error, EEXIST);
  EXPECT_FALSE(answers[0].fatal);
  EXPECT_TRUE(answers[0].value == Value(List{"tank/g/v"}));
  EXPECT_THAT(answers[0].message, HasSubstr("it has children"));
  EXPECT_EQ(answers[1].error, EEXIST);
  EXPECT_TRUE(answers[1].value == Value(List{"tank/c"}));
  EXPECT_EQ(answers[2].error, EEXIST);
  EXPECT_EQ(answers[3].error, 0);
  EXPECT_NE(raw(find_dataset(stage.bed.pool->catalog(), "tank/new")), 0U);
}

TEST_F(Calls, RollbackTellsItsTarget) {
  stage.play({do_verb("rollback", {"tank/g/v"}), do_verb("create", {"tank/new"})});
  ASSERT_EQ(stage.recital.answers.size(), 2U);
  EXPECT_TRUE(stage.recital.answers[0].value == Value(Record{{"target", "tank/g/v@b"}}));
  EXPECT_TRUE(stage.recital.answers[1].value.is_nil());
}

TEST_F(Calls, MisuseIsFatalWithTheUsage) {
  expect_fatal(ask_verb(Call::check, "create", {}), EINVAL, "usage: create name");
  expect_fatal(ask_verb(Call::check, "create", {"tank/x", "y", "z"}), EINVAL, "too many arguments");
  expect_fatal(ask_verb(Call::check, "create", {"tank/x"}, {{"colour", "red"}}), EINVAL,
               "there is no argument 'colour'");
  expect_fatal(ask_verb(Call::check, "create", {"tank/x"}, {{"size", i64{-1}}}), EINVAL,
               "is negative");
  expect_fatal(ask_verb(Call::check, "create", {"tank/x"}, {{"size", 1.5}}), EINVAL,
               "is no whole number");
  expect_fatal(ask_verb(Call::check, "snapshot", {Value(List{"tank/g@x", Record{}})}), EINVAL,
               "no text");
  expect_fatal(ask_verb(Call::check, "create", {"other/x"}), EXDEV, "it is not in pool 'tank'");
  expect_fatal(ask_verb(Call::check, "snapshot", {Value(List{"tank/g@x", "other/g@x"})}), EXDEV,
               "'other/g@x'");
  // A tag is no name.
  EXPECT_EQ(stage.answer(ask_verb(Call::check, "hold", {"other", "tank/no@x"})).error, ENOENT);
}

TEST_F(Calls, NumbersInEveryFormAreSizes) {
  EXPECT_EQ(stage.answer(ask_verb(Call::check, "resize", {"tank/w", 4194304.0})).error, 0);
  EXPECT_EQ(stage.answer(ask_verb(Call::check, "resize", {"tank/w", "4M"})).error, 0);
  EXPECT_EQ(stage.answer(ask_verb(Call::check, "resize", {"tank/w", i64{4095}})).error, EINVAL);
}

TEST_F(Calls, SyncIsFatalInAReadOnlyProgramAndTryIsThrownAway) {
  const Image before = image_of(stage.bed.pool->catalog());
  const Outcome outcome =
      stage.play({do_verb("create", {"tank/x"}), ask_verb(Call::try_, "create", {"tank/x"}),
                  ask(Call::exists, {"tank/x"}), ask_verb(Call::check, "create", {"tank/x"})},
                 false);
  EXPECT_EQ(outcome.error, 0);
  const auto& answers = stage.recital.answers;
  ASSERT_EQ(answers.size(), 4U);
  EXPECT_TRUE(answers[0].fatal);
  EXPECT_THAT(answers[0].message, HasSubstr("requires passing sync=TRUE"));
  EXPECT_EQ(answers[1].error, 0);
  EXPECT_TRUE(answers[2].value == Value(true));
  EXPECT_EQ(answers[3].error, EEXIST);
  EXPECT_EQ(outcome.report.created, std::vector<std::string>{"tank/x"});
  EXPECT_TRUE(outcome.effects.empty());
  EXPECT_TRUE(image_of(stage.bed.pool->catalog()) == before);
}

TEST_F(Calls, ExportsArePromisedOnlyWhereSomebodyListens) {
  const Answer unheard =
      stage.answer(ask_verb(Call::check, "export", {"tank/w", "unix:/run/unheard.sock"}));
  EXPECT_EQ(unheard.error, ENOENT);
  EXPECT_THAT(unheard.message, HasSubstr("nobody listens at unix:/run/unheard.sock: export "
                                         "something there first, or pass a socket"));
  const Outcome outcome = stage.play({do_verb("export", {"tank/w", "unix:/run/heard.sock"}),
                                      do_verb("rename", {"tank/w", "tank/z"})});
  ASSERT_EQ(outcome.error, 0) << outcome.message;
  ASSERT_EQ(outcome.effects.size(), 1U);
  EXPECT_EQ(std::get<verb::StartExport>(outcome.effects[0]).name, "tank/z");
}

TEST_F(Calls, SavepointsUndoWhatTheyShould) {
  const Outcome outcome = stage.play(
      {do_verb("create", {"tank/stays"}),
       ask(Call::savepoint),  // 1
       do_verb("create", {"tank/goes"}), do_verb("export", {"tank/w", "unix:/run/heard.sock"}),
       ask(Call::savepoint),  // 2
       do_verb("create", {"tank/goes/too"}), ask(Call::keep, {i64{2}}),
       ask(Call::exists, {"tank/goes/too"}), ask(Call::roll_back, {i64{1}}),
       ask(Call::exists, {"tank/goes"}),
       ask(Call::savepoint),  // 3
       do_verb("create", {"tank/kept"}), ask(Call::keep, {i64{3}})});
  ASSERT_EQ(outcome.error, 0) << outcome.message;
  const auto& answers = stage.recital.answers;
  ASSERT_EQ(answers.size(), 13U);
  for (const Answer& each : answers) EXPECT_EQ(each.error, 0) << each.message;
  EXPECT_TRUE(answers[1].value == Value(i64{1}));
  EXPECT_TRUE(answers[7].value == Value(true));
  EXPECT_TRUE(answers[9].value == Value(false));
  EXPECT_EQ(outcome.report.created, (std::vector<std::string>{"tank/stays", "tank/kept"}));
  EXPECT_TRUE(outcome.effects.empty()) << "an export that was undone is brought about";
  const auto history = stage.history();
  EXPECT_THAT(history.back().effects, HasSubstr("tank/kept"));
  EXPECT_THAT(history.back().effects, testing::Not(HasSubstr("tank/goes")));
}

TEST_F(Calls, SavepointsEndOnceAndYoungerOnesWithThem) {
  stage.play({ask(Call::savepoint), ask(Call::savepoint), ask(Call::keep, {i64{1}}),
              ask(Call::roll_back, {i64{2}}), ask(Call::keep, {i64{1}}), ask(Call::keep, {i64{99}}),
              ask(Call::roll_back, {"x"})});
  const auto& answers = stage.recital.answers;
  ASSERT_EQ(answers.size(), 7U);
  for (size_t i = 0; i < 3; ++i) EXPECT_FALSE(answers[i].fatal);
  for (size_t i = 3; i < 7; ++i) {
    EXPECT_TRUE(answers[i].fatal) << i;
    EXPECT_THAT(answers[i].message, HasSubstr("it is not open"));
  }
  std::vector<Ask> many(kSavepointsMax + 1, ask(Call::savepoint));
  stage.play(many);
  EXPECT_FALSE(stage.recital.answers[kSavepointsMax - 1].fatal);
  EXPECT_TRUE(stage.recital.answers[kSavepointsMax].fatal);
}

TEST_F(Calls, TheHistoryKeepsEveryVerbForReplay) {
  std::vector<Ask> asks;
  for (int i = 0; i < 3000; ++i)
    asks.push_back(do_verb("create", {"tank/g/n" + std::to_string(i)}));
  stage.recital = {};
  stage.recital.asks = asks;
  stage.recital.end = {.instructions = 77, .memory_peak_bytes = 88};
  Program program = stage.program();
  program.arguments = {"a b", "c"};
  const Outcome outcome = stage.run(stage.recital.script(), std::move(program));
  ASSERT_EQ(outcome.error, 0) << outcome.message;
  EXPECT_EQ(outcome.verbs, 3000U);
  const auto record = stage.history().back();
  EXPECT_EQ(record.who, "uid=0, pid=1");
  EXPECT_EQ(record.result, "ok");
  EXPECT_EQ(record.txg, outcome.txg);
  EXPECT_EQ(record.command, "program test.lua sha256=" + sha256_hex("return 1") + " 'a b' c");
  EXPECT_THAT(record.effects,
              testing::StartsWith("{\"program\":{\"name\":\"test.lua\",\"sha256\":"));
  EXPECT_THAT(record.effects, HasSubstr("\"instructions\":77,\"verbs\":3000"));
  EXPECT_THAT(record.effects, HasSubstr(R"({"verb":"create","arguments":{"name":"tank/g/n0"}})"));
  EXPECT_THAT(record.effects,
              HasSubstr(R"({"verb":"create","arguments":{"name":"tank/g/n2999"}})"));
  EXPECT_THAT(record.effects, testing::Not(HasSubstr("\"cut\"")));
}

TEST(Journal, SaysWhenItKeepsNoMore) {
  Journal journal;
  const verb::Arguments arguments{{"name", std::string(1'000'000, 'x')}};
  for (int i = 0; i < 10; ++i) journal.add("create", arguments);
  EXPECT_THAT(journal.effects("{}"), testing::Not(HasSubstr("\"cut\"")));
  const auto mark = journal.mark();
  for (int i = 0; i < 10; ++i) journal.add("create", arguments);
  EXPECT_THAT(journal.effects("{}"), HasSubstr("\"cut\":true,\"verbs_count\":20"));
  EXPECT_LT(journal.effects("{}").size(), kVerbsBytesMax + 1000);
  journal.roll_back(mark);
  EXPECT_THAT(journal.effects("{}"), testing::Not(HasSubstr("\"cut\"")));
  EXPECT_EQ(journal.verbs(), 10U);
}

TEST(Sha256, IsThatOfTheStandard) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace coppice::channel
