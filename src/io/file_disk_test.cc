#include "io/file_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/prng.h"
#include "io/aligned.h"
#include "io/block_on.h"
#include "rt/scope.h"

namespace coppice::io {
namespace {

class FileDiskTest : public testing::Test {
 protected:
  static constexpr u64 kSize = 16_MiB;
  void SetUp() override {
    path_ = testing::TempDir() + "coppice-disk-XXXXXX";
    fd_ = ::mkstemp(path_.data());
    ASSERT_GE(fd_, 0);
    ASSERT_EQ(::ftruncate(fd_, kSize + 100), 0);
    auto reactor = Reactor::create({});
    ASSERT_TRUE(reactor);
    reactor_ = *std::move(reactor);
    reactor_->start();
  }
  void TearDown() override {
    reactor_.reset();
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  std::string path_;
  int fd_ = -1;
  std::unique_ptr<Reactor> reactor_;
};

void fill(std::span<std::byte> bytes, u64 seed) {
  Prng prng(seed);
  for (std::byte& each : bytes) each = static_cast<std::byte>(prng.next());
}

Task<> write_one(FileDisk& disk, u64 offset, u64 length, size_t part_length, u64 seed) {
  AlignedBuffer buffer(length);
  fill(buffer.span(), seed);
  std::vector<std::span<const std::byte>> parts;
  for (u64 at = 0; at < length; at += part_length) {
    parts.push_back(buffer.span().subspan(at, std::min(part_length, length - at)));
  }
  co_return co_await disk.write(offset, parts);
}
Task<bool> matches(FileDisk& disk, u64 offset, u64 length, u64 seed) {
  AlignedBuffer expected(length);
  fill(expected.span(), seed);
  AlignedBuffer buffer(length);
  co_await ok(disk.read(offset, buffer.span()));
  co_return std::ranges::equal(buffer.span(), expected.span());
}
Task<> write_and_check(FileDisk& disk, u64 offset, u64 length, size_t part_length, u64 seed) {
  co_await ok(write_one(disk, offset, length, part_length, seed));
  const bool same = co_await ok(matches(disk, offset, length, seed));
  if (!same) co_return fail(Errc::corrupt, "comparing what was read");
  co_return {};
}
Task<> work_side_by_side(FileDisk& disk) {
  rt::Scope scope;
  for (u64 i = 0; i < 64; ++i) {
    const u64 length = (1 + i % 16) * kDiskBlock;
    scope.spawn(write_and_check(disk, i * 256_KiB, length, kDiskBlock * (1 + i % 3), i));
  }
  co_await ok(scope.join());
  co_await ok(disk.flush());
  co_return {};
}

TEST_F(FileDiskTest, ReadsBackWhatWasGathered) {
  const auto file = adopt_disk_file(fd_);
  ASSERT_TRUE(file) << describe(file.error());
  EXPECT_EQ(file->size_bytes, kSize);
  EXPECT_FALSE(file->block_device);
  FileDisk disk(*reactor_, *file);
  const auto result = block_on(*reactor_, work_side_by_side(disk));
  EXPECT_TRUE(result) << describe(result.error());
  const auto many = block_on(*reactor_, write_and_check(disk, 0, 1_MiB, kDiskBlock, 7));
  EXPECT_TRUE(many) << "as many parts as there may be";
}

Task<bool> punched(FileDisk& disk) {
  co_await ok(write_one(disk, 0, 1_MiB, 1_MiB, 1));
  co_await ok(disk.flush());
  co_await ok(disk.punch(64_KiB, 512_KiB));
  AlignedBuffer buffer(64_KiB);
  co_await ok(disk.read(64_KiB, buffer.span()));
  co_return std::ranges::all_of(buffer.span(), [](std::byte each) { return each == std::byte{0}; });
}
TEST_F(FileDiskTest, PunchingGivesSpaceBack) {
  const auto file = adopt_disk_file(fd_);
  ASSERT_TRUE(file);
  FileDisk disk(*reactor_, *file);
  const auto zeroes = block_on(*reactor_, punched(disk));
  ASSERT_TRUE(zeroes) << describe(zeroes.error());
  struct stat status{};
  ASSERT_EQ(::fstat(fd_, &status), 0);
  EXPECT_EQ(static_cast<u64>(status.st_size), kSize + 100);
  EXPECT_TRUE(!*zeroes || static_cast<u64>(status.st_blocks) * 512 <= 1_MiB);
}

Task<> read_one(FileDisk& disk, u64 offset) {
  AlignedBuffer buffer(2 * kDiskBlock);
  co_return co_await disk.read(offset, buffer.span());
}
TEST_F(FileDiskTest, FailuresOfTheKernelAreErrors) {
  auto file = adopt_disk_file(fd_);
  ASSERT_TRUE(file);
  FileDisk disk(*reactor_, *file);
  EXPECT_TRUE(block_on(*reactor_, read_one(disk, 0)));
  ASSERT_EQ(::ftruncate(fd_, kDiskBlock), 0);  // Somebody cut it under our feet.
  EXPECT_EQ(block_on(*reactor_, read_one(disk, 0)).error().code, Errc::io);
  EXPECT_EQ(block_on(*reactor_, read_one(disk, 1_MiB)).error().code, Errc::io);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  file->fd = ends[0];
  FileDisk pipe(*reactor_, *file);
  const auto written = block_on(*reactor_, write_one(pipe, 0, kDiskBlock, kDiskBlock, 1));
  EXPECT_EQ(written.error().code, Errc::io);
  EXPECT_NE(written.error().sys, 0);
  EXPECT_FALSE(block_on(*reactor_, pipe.flush()));
  ::close(ends[0]);
  ::close(ends[1]);
  file->fd = ::open("/dev/full", O_RDWR | O_CLOEXEC);
  FileDisk full(*reactor_, *file);
  EXPECT_EQ(block_on(*reactor_, write_one(full, 0, kDiskBlock, kDiskBlock, 1)).error().code,
            Errc::no_space);
  ::close(file->fd);
}

TEST_F(FileDiskTest, ASecondOpenerFindsItBusyUntilTheFirstIsGone) {
  ASSERT_TRUE(adopt_disk_file(fd_));
  EXPECT_TRUE(adopt_disk_file(fd_)) << "the same description may ask again";
  const int other = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  const auto busy = adopt_disk_file(other);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, Errc::busy);
  const int duplicate = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  ::close(fd_);
  EXPECT_FALSE(adopt_disk_file(other)) << "a duplicate holds the lock";
  ::close(duplicate);
  EXPECT_TRUE(adopt_disk_file(other));
  fd_ = other;
}

TEST_F(FileDiskTest, WhatCannotHoldAPoolIsRefused) {
  EXPECT_EQ(adopt_disk_file(-1).error().code, Errc::invalid);
  const auto refused = [&](const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
    CHECK(fd >= 0);
    const auto file = adopt_disk_file(fd);
    ::close(fd);
    return file ? Errc::again : file.error().code;
  };
  EXPECT_EQ(refused("/dev/null", O_RDWR), Errc::invalid);
  EXPECT_EQ(refused("/", O_RDONLY), Errc::invalid);
  EXPECT_EQ(refused(path_, O_RDONLY), Errc::read_only);
  EXPECT_EQ(refused(path_, O_RDWR | O_APPEND), Errc::invalid);
  EXPECT_EQ(refused(path_, O_RDONLY | O_PATH), Errc::read_only);
}

TEST(AlignedBuffer, IsAlignedAndMoves) {
  AlignedBuffer buffer(5000);
  EXPECT_EQ(buffer.size(), 5000u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % kDiskBlock, 0u);
  AlignedBuffer other = std::move(buffer);
  EXPECT_FALSE(buffer);
  EXPECT_EQ(other.size(), 5000u);
  EXPECT_FALSE(AlignedBuffer());
}

}  // namespace
}  // namespace coppice::io
