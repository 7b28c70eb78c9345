#include "bpf/probe.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "base/prng.h"
#include "bpf/interpreter.h"

namespace coppice::bpf {
namespace {

constexpr size_t kPage = 4096;

// Two pages, of which the second cannot be touched.
class Edge {
 public:
  Edge() {
    base_ = static_cast<std::byte*>(
        ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(base_, MAP_FAILED);
    EXPECT_EQ(::mprotect(base_ + kPage, kPage, PROT_NONE), 0);
    for (size_t i = 0; i < kPage; ++i) base_[i] = static_cast<std::byte>(i % 251 + 1);
  }
  ~Edge() { ::munmap(base_, 2 * kPage); }
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;
  std::byte* end() const { return base_ + kPage; }

 private:
  std::byte* base_;
};

u64 address(const void* of) { return reinterpret_cast<u64>(of); }

u64 call(i32 number, void* to, u64 size, u64 from) {
  HelperTable table;
  add_probe_helpers(table);
  Machine machine({});
  return table.find(number)->function(machine, address(to), size, from, 0, 0);
}

TEST(Probe, CopiesWhatThereIsAndSaysHowMuch) {
  const Edge edge;
  for (size_t before = 0; before <= 64; ++before) {
    std::vector<std::byte> to(64, std::byte{0xee});
    EXPECT_EQ(probe_copy(to.data(), address(edge.end()) - before, 64), before);
    EXPECT_EQ(std::memcmp(to.data(), edge.end() - before, before), 0);
    for (size_t i = before; i < 64; ++i) EXPECT_EQ(to[i], std::byte{0xee});
  }
}

TEST(Probe, SurvivesAddressesOfEveryKindByTheThousand) {
  const Edge edge;
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(seed);
  Prng prng(seed);
  u64 unread = 0;
  for (int i = 0; i < 5000; ++i) {
    // Null pages, holes, the kernel's half, addresses that are none at all, and freed memory.
    u64 from = prng.next() >> (prng.next() % 64);
    if (i % 5 == 0) from = address(edge.end()) + prng.next() % kPage;
    if (i % 7 == 0) from |= u64{1} << 63;
    u64 to[4] = {1, 1, 1, 1};
    const i64 got = static_cast<i64>(call(113, to, sizeof to, from));
    if (got == 0) continue;
    ++unread;
    EXPECT_EQ(got, -EFAULT);
    for (const u64 each : to) EXPECT_EQ(each, 0u);
  }
  EXPECT_GT(unread, 2000u);
}

TEST(Probe, ReadsTextUpToItsEndThoughNothingFollows) {
  const Edge edge;
  std::byte* text = edge.end() - 6;
  std::memcpy(text, "hello", 6);
  char to[32];
  std::memset(to, 'x', sizeof to);
  EXPECT_EQ(call(115, to, sizeof to, address(text)), 6u);
  EXPECT_STREQ(to, "hello");
  EXPECT_EQ(call(115, to, 3, address(text)), 3u);
  EXPECT_STREQ(to, "he");
  text[5] = std::byte{'!'};
  EXPECT_EQ(static_cast<i64>(call(115, to, sizeof to, address(text))), -EFAULT);
  for (const char each : to) EXPECT_EQ(each, 0);
  EXPECT_EQ(call(115, to, 0, address(text)), 0u);
}

TEST(Probe, ManyThreadsFaultAtOnce) {
  const Edge edge;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      u64 to = 0;
      for (int n = 0; n < 1000; ++n) EXPECT_EQ(probe_copy(&to, address(edge.end()), 8), 0u);
    });
  }
  for (std::thread& each : threads) each.join();
}

TEST(ProbeDeathTest, LeavesOtherFaultsToWhoeverHadThem) {
  const Edge edge;
  EXPECT_EXIT(
      {
        std::signal(SIGSEGV, [](int) { ::_exit(7); });
        u64 to = 0;
        probe_copy(&to, address(edge.end()), 8);
        *reinterpret_cast<volatile char*>(edge.end()) = 1;
      },
      ::testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace coppice::bpf
