// What a tracepoint costs that nobody wants: three instructions, counted one by one.
#include "trace/testing/disabled.h"

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/types.h"

namespace coppice::trace {
namespace {

// How many instructions one call of `function` executes within its own code: a child makes the
// call, step by step.
int instructions_of(void (*function)()) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    function();
    ::_exit(0);
  }
  EXPECT_GT(child, 0);
  const u64 first = reinterpret_cast<u64>(function);
  int count = 0, status = 0;
  for (;;) {
    if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) break;
    user_regs_struct registers{};
    EXPECT_EQ(::ptrace(PTRACE_GETREGS, child, nullptr, &registers), 0);
    const u64 at = registers.rip;
    count += at >= first && at < first + kFunctionBytes;
    EXPECT_EQ(::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr), 0);
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return count;
}

TEST(Disabled, CostsALoadATestAndABranch) {
  const int plain = instructions_of(without);
  ASSERT_GT(plain, 0);
  EXPECT_LE(instructions_of(with_one), plain + 3);
  EXPECT_LE(instructions_of(with_two), plain + 6);
}

}  // namespace
}  // namespace coppice::trace
