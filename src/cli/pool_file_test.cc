#include "cli/pool_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace coppice::cli {
namespace {

class PoolFileTest : public testing::Test {
 protected:
  PoolFileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "coppice-cli-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~PoolFileTest() override { std::filesystem::remove_all(folder_); }
  std::string path(const char* name) const { return folder_ / name; }
  void write(const char* name, size_t offset, const std::string& bytes, size_t size) const {
    std::ofstream(path(name)).close();
    std::filesystem::resize_file(path(name), size);
    std::fstream file(path(name), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(PoolFileTest, MakesAFileOfTheSizeAskedFor) {
  {
    const Result<PoolFile> file = make_pool_file({.path = path("p"), .size_bytes = 64_MiB});
    ASSERT_TRUE(file);
    EXPECT_TRUE(file->created);
    EXPECT_EQ(std::filesystem::file_size(path("p")), 64_MiB);
    abandon(*file);
  }
  EXPECT_FALSE(std::filesystem::exists(path("p")));
  EXPECT_EQ(make_pool_file({.path = path("p")}).error().code, Errc::not_found);
  EXPECT_FALSE(std::filesystem::exists(path("p")));
}

TEST_F(PoolFileTest, TakesAnEmptyOrZeroedFileAndNeverRemovesIt) {
  write("zeroes", 0, "", 3_MiB);
  const Result<PoolFile> file = make_pool_file({.path = path("zeroes")});
  ASSERT_TRUE(file);
  EXPECT_FALSE(file->created);
  EXPECT_EQ(file->size_bytes, 3_MiB);
  abandon(*file);
  EXPECT_TRUE(std::filesystem::exists(path("zeroes")));
}

TEST_F(PoolFileTest, RefusesAFileThatLooksUsedUnlessForced) {
  write("ext4", 1080, "\x53\xef", 8_MiB);
  write("tail", 8_MiB - 5, "data", 8_MiB);
  write("small", 0, "x", 1);
  for (const char* name : {"ext4", "tail", "small"}) {
    SCOPED_TRACE(name);
    const Result<PoolFile> refused = make_pool_file({.path = path(name), .size_bytes = 1_MiB});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::exists);
    EXPECT_NE(refused.error().detail.find("--force"), std::string::npos);
    EXPECT_NE(std::filesystem::file_size(path(name)), 1_MiB);  // Untouched.
    EXPECT_TRUE(make_pool_file({.path = path(name), .size_bytes = 1_MiB, .force = true}));
  }
}

TEST_F(PoolFileTest, RefusesWhatIsNoFile) {
  EXPECT_FALSE(open_pool_file(path("none")));
  EXPECT_EQ(open_pool_file(path("none")).error().code, Errc::not_found);
  EXPECT_FALSE(open_pool_file(std::filesystem::temp_directory_path().string()));
  EXPECT_EQ(make_pool_file({.path = "/dev/null"}).error().code, Errc::invalid);
}

}  // namespace
}  // namespace coppice::cli
