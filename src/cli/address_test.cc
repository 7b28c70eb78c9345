#include "cli/address.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace coppice::cli {
namespace {

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "coppice-cli-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

Address local(std::string path) { return {.path = std::move(path), .host = {}, .port = {}}; }

TEST(Address, ReadsAndWritesBothFamilies) {
  const std::pair<const char*, const char*> cases[] = {
      {"unix:/run/x.sock", "unix:/run/x.sock"},
      {"unix:/run/../tmp//x", "unix:/tmp/x"},
      {"tcp:localhost:10809", "tcp:localhost:10809"},
      {"tcp:localhost", "tcp:localhost:10809"},
      {"tcp:[::1]:99", "tcp:[::1]:99"},
      {"tcp:[::1]", "tcp:[::1]:10809"},
      {"tcp:*:99", "tcp:*:99"},
      {"tcp::99", "tcp:*:99"},
      {"tcp:", "tcp:*:10809"},
  };
  for (const auto& [text, canonical] : cases) {
    SCOPED_TRACE(text);
    const Result<Address> address = parse_address(text);
    ASSERT_TRUE(address);
    EXPECT_EQ(address->text(), canonical);
    EXPECT_EQ(*parse_address(address->text()), *address);
  }
  EXPECT_EQ(parse_address("unix:x.sock")->path, std::filesystem::current_path() / "x.sock");
}

TEST(Address, RefusesWhatItCannotRead) {
  const std::string long_path = "unix:/" + std::string(120, 'x');
  for (const char* text : {"", "x", "/run/x.sock", "unix:", "udp:a:1", "tcp:a:b", "tcp:a:65536",
                           "tcp:::1:99", "tcp:[::1", "tcp:[::1]99", "tcp:a:", long_path.c_str()}) {
    SCOPED_TRACE(text);
    const Result<Address> address = parse_address(text);
    ASSERT_FALSE(address);
    EXPECT_FALSE(address.error().detail.empty());
  }
}

TEST(Address, MakesUris) {
  EXPECT_EQ(parse_address("unix:/run/a b.sock")->nbd_uri("tank/vm"),
            "nbd+unix:///tank/vm?socket=/run/a%20b.sock");
  EXPECT_EQ(parse_address("tcp:host:10809")->nbd_uri("tank/vm@s"), "nbd://host/tank/vm@s");
  EXPECT_EQ(parse_address("tcp:*:99")->nbd_uri("t/a:b"), "nbd://localhost:99/t/a%3Ab");
  EXPECT_EQ(parse_address("tcp:[::1]:99")->nbd_uri("t"), "nbd://[::1]:99/t");
}

TEST(Listen, ReplacesASocketThatNobodyAnswersOn) {
  const Folder folder;
  const std::string path = folder / "nbd.sock";
  {
    const Result<Listener> first = listen_at(local(path));
    ASSERT_TRUE(first);
    const Result<Listener> second = listen_at(local(path));
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::busy);
    EXPECT_TRUE(connect_to(path));
  }
  EXPECT_FALSE(connect_to(path));
  EXPECT_TRUE(listen_at(local(path)));
}

TEST(Listen, LeavesAFileThatIsNoSocketAlone) {
  const Folder folder;
  const std::string path = folder / "precious";
  std::ofstream(path) << "data";
  const Result<Listener> listener = listen_at(local(path));
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, Errc::exists);
  EXPECT_EQ(std::filesystem::file_size(path), 4u);
}

TEST(Listen, TellsThePortTheKernelChose) {
  const Result<Listener> listener = listen_at(*parse_address("tcp:127.0.0.1:0"));
  ASSERT_TRUE(listener);
  EXPECT_NE(listener->address.port, "0");
  const Result<Listener> again = listen_at(listener->address);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::busy);
}

}  // namespace
}  // namespace coppice::cli
