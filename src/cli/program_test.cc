// The command line as a person meets it, without a daemon: what is refused as wrong usage, and the
// help.
#include "cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "cli/failure.h"

namespace coppice::cli {
namespace {

using Words = std::vector<std::string>;

struct Said {
  int exit;
  std::string out, error;
};
Said say(Words words) {
  ::setenv("COPPICE_SOCKET", "/nonexistent/coppice.sock", 1);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int exit = run(std::move(words));
  return {.exit = exit,
          .out = testing::internal::GetCapturedStdout(),
          .error = testing::internal::GetCapturedStderr()};
}

const std::vector<std::string>& commands() {
  static const std::vector<std::string> kCommands = {
      "pool",    "create",   "destroy",  "rename",     "promote",  "resize",  "snapshot",
      "clone",   "rollback", "bookmark", "hold",       "release",  "holds",   "set",
      "inherit", "list",     "get",      "export",     "unexport", "exports", "status",
      "top",     "history",  "version",  "completion", "program"};
  return kCommands;
}

TEST(CommandLine, WrongUsageExitsWith2InOneLine) {
  const Words cases[] = {
      {},
      {"nosuch"},
      {"create"},
      {"create", "--nosuch", "tank/v"},
      {"create", "tank/v", "-V", "12x"},
      {"create", "tank/v", "-V", "0"},
      {"create", "tank/v", "-V"},
      {"create", "tank/v", "-o", "novalue"},
      {"create", "tank/v", "-o", "a:b=1", "-o", "a:b=2"},
      {"create", "tank/a", "tank/b"},
      {"pool"},
      {"pool", "nosuch"},
      {"pool", "create", "tank"},
      {"pool", "create", "tank", "/tmp/x", "--size", "big"},
      {"pool", "scrub", "-p", "-s", "tank"},
      {"destroy"},
      {"destroy", "tank/v", "other/v"},
      {"destroy", "-d", "tank/v"},
      {"snapshot"},
      {"snapshot", "tank/v"},
      {"snapshot", "tank/v@a", "other/v@a"},
      {"clone", "tank/v@s"},
      {"clone", "tank/v", "tank/c"},
      {"rollback", "tank/v"},
      {"bookmark", "tank/v", "tank/v#b"},
      {"hold", "tag"},
      {"hold", "tag", "tank/v"},
      {"rename", "tank/v"},
      {"resize", "tank/v", "-"},
      {"resize", "tank/v"},
      {"set", "tank/v"},
      {"set", "a:b=1"},
      {"set", "=1", "tank/v"},
      {"list", "-t", "nosuch"},
      {"list", "-d", "x"},
      {"get"},
      {"get", "-o", "nosuch", "all"},
      {"get", "-s", "nosuch", "all"},
      {"get", ",", "tank"},
      {"export"},
      {"export", "tank/v", "--nbd", "/run/x.sock"},
      {"export", "tank/v", "--nbd", "tcp:host:port"},
      {"export", "tank/v", "--pin", "--no-pin"},
      {"history"},
      {"history", "-n", "x", "tank"},
      {"history", "tank", "--replay", "3"},
      {"history", "tank", "--onto", "other"},
      {"program"},
      {"program", "tank"},
      {"program", "--kill", "x"},
      {"program", "--kill", "3", "tank", "a.lua"},
      {"program", "--check", "a.lua", "--kill", "3"},
      {"program", "-t", "many", "tank", "a.lua"},
      {"program", "-t", "0", "tank", "a.lua"},
      {"program", "-m", "-1", "tank", "a.lua"},
      {"program", "--yes", "tank", "a.lua"},
      {"program", "--explain", "tank", "-"},
      {"completion", "csh"},
  };
  for (const Words& words : cases) {
    SCOPED_TRACE(testing::PrintToString(words));
    const Said said = say(words);
    EXPECT_EQ(said.exit, kExitUsage);
    EXPECT_EQ(said.out, "");
    EXPECT_THAT(said.error, testing::StartsWith("coppice: "));
    EXPECT_EQ(std::ranges::count(said.error, '\n'), 1);
  }
}

TEST(CommandLine, WithoutADaemonTheLineSaysWhatToDo) {
  const Words cases[] = {{"list"},
                         {"create", "tank/v", "-V", "1G"},
                         {"destroy", "-r", "tank/v@a%b"},
                         {"export", "tank/v", "--nbd", "tcp:[::1]:0"},
                         {"pool", "create", "tank", "/nonexistent/x", "--size", "1G"},
                         {"set", "a:b=-1=2", "tank/v"},
                         {"program", "-nj", "-t", "5K", "tank", "/dev/null", "-n", "--kill", "--"},
                         {"program", "--kill", "3"},
                         {"history", "tank", "--replay", "3", "--onto", "other"},
                         {"get", "used,available", "tank/v", "-rHp"}};
  for (const Words& words : cases) {
    SCOPED_TRACE(testing::PrintToString(words));
    const Said said = say(words);
    EXPECT_EQ(said.exit, kExitRefused);
    EXPECT_EQ(said.out, "");
    EXPECT_THAT(said.error, testing::AllOf(testing::HasSubstr("/nonexistent/coppice.sock"),
                                           testing::HasSubstr("start coppiced")));
    EXPECT_EQ(std::ranges::count(said.error, '\n'), 1);
  }
}

TEST(CommandLine, TheSocketOptionMayStandAnywhere) {
  for (const Words& words :
       {Words{"--socket", "/elsewhere", "list"}, Words{"list", "--socket", "/elsewhere"},
        Words{"pool", "list", "--socket=/elsewhere"}}) {
    EXPECT_THAT(say(words).error, testing::HasSubstr("'/elsewhere'"));
  }
}

TEST(CommandLine, HelpListsEveryCommandAndEachHasAnExample) {
  const Said top = say({"--help"});
  EXPECT_EQ(top.exit, kExitDone);
  for (const std::string& command : commands()) {
    SCOPED_TRACE(command);
    EXPECT_THAT(top.out, testing::HasSubstr("\n  " + command + " "));
    const Said help = say({command, "--help"});
    EXPECT_EQ(help.exit, kExitDone);
    EXPECT_THAT(help.out, testing::HasSubstr("--help"));
    EXPECT_THAT(help.out, testing::HasSubstr("coppice " + command));
    if (command != "pool") {
      EXPECT_THAT(help.out, testing::HasSubstr("Example:\n  "));
    }
  }
  EXPECT_THAT(say({"pool", "scrub", "--help"}).out,
              testing::HasSubstr("coppice pool scrub -w tank"));
}

TEST(CommandLine, VersionNeedsNoDaemon) {
  const Said said = say({"version"});
  EXPECT_EQ(said.exit, kExitDone);
  EXPECT_THAT(said.out, testing::StartsWith("coppice "));
  EXPECT_EQ(say({"--version"}).exit, kExitDone);
}

TEST(Completion, WordsComeFromTheCommandsThemselves) {
  EXPECT_THAT(say({"complete", "pool", "cl"}).out, "close\n");
  EXPECT_THAT(say({"complete", "promo"}).out, "promote\n");
  EXPECT_THAT(say({"complete", "export", "tank/v", "--nb"}).out, "--nbd\n");
  EXPECT_THAT(say({"complete", "list", "-t", "volume,sn"}).out, "volume,snapshot\n");
  EXPECT_THAT(say({"complete", "list", "-r", "-t", "vol"}).out, "volume\n");
  EXPECT_THAT(say({"complete", "completion", "z"}).out, "zsh\n");
  // Without a daemon there are no names, and no noise either.
  const Said silent = say({"complete", "destroy", "ta"});
  EXPECT_EQ(silent.exit, kExitDone);
  EXPECT_EQ(silent.out + silent.error, "");
  EXPECT_EQ(say({"complete"}).exit, kExitDone);
}

TEST(Completion, EveryShellHasAScript) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_THAT(say({"completion", shell}).out, testing::HasSubstr(" complete "));
  }
}

}  // namespace
}  // namespace coppice::cli
