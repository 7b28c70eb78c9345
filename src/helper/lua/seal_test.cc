// The sealed process proved sealed by trying.
#include "helper/lua/seal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "helper/lua/testing/daemon.h"

namespace coppice::lua {
namespace {

using ::testing::HasSubstr;

constexpr int kNothing = -1000;  // The attempt said nothing before it died.

struct Fate {
  int signal = 0;
  long said = kNothing;  // What the attempt returned, or -errno.
};

// Runs `attempt` in a sealed child.
Fate sealed(long (*attempt)(), u64 cpu_ns_max = 10'000'000'000) {
  int sockets[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto made = shed();
    if (!made || !seal(*made, sockets[1], cpu_ns_max)) _exit(3);
    errno = 0;
    long result = attempt();
    if (result < 0 && errno != 0) result = -errno;
    send(kStreamDescriptor, &result, sizeof result, 0);
    _exit(0);
  }
  close(sockets[1]);
  Fate fate;
  long said = 0;
  if (recv(sockets[0], &said, sizeof said, MSG_WAITALL) == sizeof said) fate.said = said;
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 3) << "could not be sealed";
  fate.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  close(sockets[0]);
  return fate;
}

TEST(Seal, LeavesTheStreamAndTheEnd) {
  const Fate fate = sealed([]() -> long { return 42; });
  EXPECT_EQ(fate.signal, 0);
  EXPECT_EQ(fate.said, 42);
  const Fate heard = sealed([]() -> long {
    char byte = 0;
    return recv(kStreamDescriptor, &byte, 1, MSG_DONTWAIT);
  });
  EXPECT_EQ(heard.said, -EAGAIN);
}

TEST(Seal, KillsEveryOtherAttempt) {
  const struct {
    const char* name;
    long (*attempt)();
  } kAttempts[] = {
      {"open", [] { return syscall(SYS_open, "/etc/passwd", O_RDONLY); }},
      {"openat", [] { return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY); }},
      {"openat2", [] { return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", nullptr, 0); }},
      {"creat", [] { return syscall(SYS_creat, "/tmp/never", 0600); }},
      {"unlink", [] { return syscall(SYS_unlink, "/tmp/never"); }},
      {"memfd_create", [] { return syscall(SYS_memfd_create, "x", 0); }},
      {"read",
       [] {
         char byte;
         return syscall(SYS_read, kStreamDescriptor, &byte, 1);
       }},
      {"write", [] { return syscall(SYS_write, kStreamDescriptor, "x", 1); }},
      {"socket", [] { return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
      {"socketpair",
       [] {
         int pair[2];
         return syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair);
       }},
      {"connect",
       [] {
         const sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
         return syscall(SYS_connect, kStreamDescriptor, &to, sizeof to);
       }},
      {"sendto an address",
       [] {
         const sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
         return syscall(SYS_sendto, kStreamDescriptor, "x", 1, 0, &to, sizeof to);
       }},
      {"sendto another", [] { return syscall(SYS_sendto, 4, "x", 1, 0, nullptr, 0); }},
      {"recvfrom another",
       [] {
         char byte;
         return syscall(SYS_recvfrom, 5, &byte, 1, 0, nullptr, nullptr);
       }},
      {"sendmsg",
       [] {
         msghdr none = {};
         return syscall(SYS_sendmsg, kStreamDescriptor, &none, 0);
       }},
      {"recvmsg",
       [] {
         msghdr none = {};
         return syscall(SYS_recvmsg, kStreamDescriptor, &none, 0);
       }},
      {"dup", [] { return syscall(SYS_dup, kStreamDescriptor); }},
      {"close", [] { return syscall(SYS_close, kStreamDescriptor); }},
      {"fcntl", [] { return syscall(SYS_fcntl, kStreamDescriptor, F_GETFL); }},
      {"execve", [] { return syscall(SYS_execve, "/bin/true", nullptr, nullptr); }},
      {"execveat", [] { return syscall(SYS_execveat, -1, "/bin/true", nullptr, nullptr, 0); }},
      {"fork", [] { return syscall(SYS_fork); }},
      {"clone", [] { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
      {"clone3", [] { return syscall(SYS_clone3, nullptr, 0); }},
      {"kill", [] { return syscall(SYS_kill, 1, 0); }},
      {"tgkill", [] { return syscall(SYS_tgkill, 1, 1, 0); }},
      {"ptrace", [] { return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0); }},
      {"process_vm_readv",
       [] { return syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0); }},
      {"mprotect to code",
       [] {
         const auto page = reinterpret_cast<std::uintptr_t>(&sealed) & ~std::uintptr_t{4095};
         return syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
       }},
      {"clock_gettime",
       [] {
         timespec now;
         return syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
       }},
      {"gettimeofday",
       [] {
         timeval now;
         return syscall(SYS_gettimeofday, &now, nullptr);
       }},
      {"time", [] { return syscall(SYS_time, nullptr); }},
      {"nanosleep",
       [] {
         timespec none = {};
         return syscall(SYS_nanosleep, &none, nullptr);
       }},
      {"getrandom",
       [] {
         char byte;
         return syscall(SYS_getrandom, &byte, 1, 0);
       }},
      {"setitimer",
       [] {
         itimerval none = {};
         return syscall(SYS_setitimer, ITIMER_PROF, &none, 0);
       }},
      {"sigaction", [] { return syscall(SYS_rt_sigaction, SIGPROF, nullptr, nullptr, 8); }},
      {"sigprocmask", [] { return syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, nullptr, 8); }},
      {"prctl", [] { return syscall(SYS_prctl, PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0); }},
      {"seccomp", [] { return syscall(SYS_seccomp, 0, 0, nullptr); }},
      {"prlimit64", [] { return syscall(SYS_prlimit64, 0, RLIMIT_AS, nullptr, nullptr); }},
      {"setuid", [] { return syscall(SYS_setuid, 0); }},
      {"unshare", [] { return syscall(SYS_unshare, 0); }},
      {"mount", [] { return syscall(SYS_mount, "a", "b", "c", 0, nullptr); }},
      {"bpf", [] { return syscall(SYS_bpf, 0, nullptr, 0); }},
      {"io_uring_setup", [] { return syscall(SYS_io_uring_setup, 1, nullptr); }},
      {"userfaultfd", [] { return syscall(SYS_userfaultfd, 0); }},
      {"perf_event_open", [] { return syscall(SYS_perf_event_open, nullptr, 0, 0, 0, 0); }},
      {"ioctl", [] { return syscall(SYS_ioctl, kStreamDescriptor, 0, 0); }},
      {"futex", [] { return syscall(SYS_futex, nullptr, 0, 0, nullptr, nullptr, 0); }},
      {"getppid", [] { return syscall(SYS_getppid); }},
      {"no such call", [] { return syscall(100'000); }},
      {"a call of 32 bits",
       [] {
         long result = 20;  // getpid
         __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
         return result;
       }},
  };
  for (const auto& each : kAttempts) {
    SCOPED_TRACE(each.name);
    const Fate fate = sealed(each.attempt);
    EXPECT_EQ(fate.signal, SIGSYS);
    EXPECT_EQ(fate.said, kNothing);
  }
}

TEST(Seal, LeavesNoClock) {
  if (kRelaxed) GTEST_SKIP() << "a sanitizer's runtime needs it";
  EXPECT_EQ(sealed([] { return static_cast<long>(__rdtsc()); }).signal, SIGSEGV);
  // Through the kernel's page: it is not there any more.
  const Fate monotonic = sealed([]() -> long {
    timespec now;
    return clock_gettime(CLOCK_MONOTONIC, &now);
  });
  EXPECT_EQ(monotonic.signal, SIGSEGV);
  const Fate coarse = sealed([]() -> long {
    timespec now;
    return clock_gettime(CLOCK_REALTIME_COARSE, &now);
  });
  EXPECT_EQ(coarse.signal, SIGSEGV);
}

TEST(Seal, GivesNoMoreMemory) {
  if (kRelaxed) GTEST_SKIP() << "a sanitizer's runtime needs it";
  for (const int protection : {PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, PROT_NONE}) {
    static int wanted;
    wanted = protection;
    const Fate fate = sealed([]() -> long {
      return reinterpret_cast<long>(
          mmap(nullptr, 4096, wanted, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    });
    EXPECT_EQ(fate.signal, 0);
    EXPECT_EQ(fate.said, -ENOMEM);
  }
  const Fate broken =
      sealed([]() -> long { return sbrk(1 << 20) == reinterpret_cast<void*>(-1) ? 1 : 2; });
  EXPECT_EQ(broken.said, 1);
  const Fate hungry = sealed([]() -> long {
    for (size_t bytes = 1 << 20;; bytes *= 2) {
      void* block = malloc(bytes);
      if (block == nullptr) return 1;
      *static_cast<volatile char*>(block) = 1;
    }
  });
  EXPECT_EQ(hungry.said, 1);
  EXPECT_EQ(sealed([]() -> long { return syscall(SYS_munmap, nullptr, 4096); }).signal, SIGSYS);
}

TEST(Seal, LetsNoCodeBeMade) {
  const Fate fate = sealed([]() -> long {
    void* page =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : 1;
  });
  EXPECT_TRUE(fate.signal == SIGSYS || fate.said == -ENOMEM) << fate.signal << " " << fate.said;
}

TEST(Seal, EndsWhoUsesUpTheCpu) {
  const Fate fate = sealed(
      []() -> long {
        for (;;) __asm__ volatile("");
      },
      50'000'000);
  EXPECT_EQ(fate.signal, SIGPROF);
}

// The stack that Lua may need is there although the address space cannot grow.
TEST(Seal, KeepsTheStack) {
  const Fate fate = sealed([]() -> long {
    auto* deep = static_cast<volatile char*>(__builtin_alloca(5 << 20));
    for (size_t i = 0; i < (5 << 20); i += 4096) deep[i] = 1;
    return deep[0];
  });
  EXPECT_EQ(fate.signal, 0);
  EXPECT_EQ(fate.said, 1);
}

// What the kernel says of a real child that waits for its Begin.
TEST(Seal, IsOnBeforeTheProgramIsRead) {
  testing::Daemon& daemon = testing::shared_daemon();
  const auto child = daemon.spawn();
  const std::string folder = "/proc/" + std::to_string(child.pid);
  std::string status;
  for (int i = 0; i < 1000; ++i) {
    std::ifstream file(folder + "/status");
    std::stringstream text;
    text << file.rdbuf();
    status = text.str();
    if (status.find("Seccomp:\t2") != std::string::npos) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_THAT(status, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(status, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapPrm:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapInh:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapAmb:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("Threads:\t1"));
  std::error_code wrong;
  std::vector<std::string> descriptors;
  for (const auto& each : std::filesystem::directory_iterator(folder + "/fd", wrong)) {
    descriptors.push_back(each.path().filename());
  }
  if (!wrong && !kRelaxed) {  // Only who may trace it sees them.
    EXPECT_THAT(descriptors, ::testing::ElementsAre(std::to_string(kStreamDescriptor)));
  }
  const message::Ended ended = daemon.wait(child);  // Closes the stream: it has nothing to do.
  EXPECT_EQ(ended.signal, 0);
  EXPECT_EQ(ended.status, 1);
}

}  // namespace
}  // namespace coppice::lua
