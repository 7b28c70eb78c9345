// The sealed compiler proved sealed by trying.
#include "helper/jit/seal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "bpf/native/helper_process.h"

namespace coppice::jit {
namespace {

using ::testing::HasSubstr;

constexpr long kNothing = -1000;  // The attempt said nothing before it died.

struct Fate {
  int signal = 0;
  long said = kNothing;  // What the attempt returned, or -errno.
};

long say(const void* bytes, size_t size) {
  iovec part = {.iov_base = const_cast<void*>(bytes), .iov_len = size};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  return sendmsg(kSocket, &message, 0);
}

// Runs `attempt` in a sealed child.
Fate sealed(long (*attempt)()) {
  int sockets[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (!seal(sockets[1])) _exit(3);
    errno = 0;
    long result = attempt();
    if (result < 0 && errno != 0) result = -errno;
    say(&result, sizeof result);
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

TEST(JitSeal, LeavesTheSocketMemoryAndFilesToGiveAway) {
  EXPECT_EQ(sealed([] { return 42L; }).said, 42);
  const Fate heard = sealed([]() -> long {
    char byte = 0;
    return recv(kSocket, &byte, 1, MSG_DONTWAIT);
  });
  EXPECT_EQ(heard.said, -EAGAIN);
  const Fate filed = sealed([]() -> long {
    const int file = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) return -1;
    if (write(file, "code", 4) != 4) return -2;
    return fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == 0 && close(file) == 0 ? 1 : -3;
  });
  EXPECT_EQ(filed.said, 1);
  const Fate grown = sealed([]() -> long {
    auto* block = static_cast<volatile char*>(malloc(64 << 20));
    if (block == nullptr) return -1;
    block[0] = 1;
    return 1;
  });
  EXPECT_EQ(grown.said, 1);
}

TEST(JitSeal, KillsEveryOtherAttempt) {
  const struct {
    const char* name;
    long (*attempt)();
  } kAttempts[] = {
      {"open", [] { return syscall(SYS_open, "/etc/passwd", O_RDONLY); }},
      {"openat", [] { return syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY); }},
      {"openat2", [] { return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", nullptr, 0); }},
      {"unlink", [] { return syscall(SYS_unlink, "/tmp/never"); }},
      {"read",
       [] {
         char byte;
         return syscall(SYS_read, kSocket, &byte, 1);
       }},
      {"socket", [] { return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
      {"connect",
       [] {
         const sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
         return syscall(SYS_connect, kSocket, &to, sizeof to);
       }},
      {"sendto", [] { return syscall(SYS_sendto, kSocket, "x", 1, 0, nullptr, 0); }},
      {"sendmsg on another",
       [] {
         msghdr none = {};
         return syscall(SYS_sendmsg, 4, &none, 0);
       }},
      {"recvmsg",
       [] {
         msghdr none = {};
         return syscall(SYS_recvmsg, kSocket, &none, 0);
       }},
      {"recvfrom another",
       [] {
         char byte;
         return syscall(SYS_recvfrom, 5, &byte, 1, 0, nullptr, nullptr);
       }},
      {"dup", [] { return syscall(SYS_dup, kSocket); }},
      {"fcntl for flags", [] { return syscall(SYS_fcntl, kSocket, F_GETFL); }},
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
      {"mmap of code",
       [] {
         return syscall(SYS_mmap, nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                        -1, 0);
       }},
      {"mprotect to code",
       [] {
         const auto page = reinterpret_cast<std::uintptr_t>(&sealed) & ~std::uintptr_t{4095};
         return syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
       }},
      {"pkey_mprotect",
       [] { return syscall(SYS_pkey_mprotect, nullptr, 4096, PROT_READ | PROT_EXEC, -1); }},
      {"a timer of real time",
       [] {
         itimerval none = {};
         return syscall(SYS_setitimer, ITIMER_REAL, &none, nullptr);
       }},
      {"sigaction", [] { return syscall(SYS_rt_sigaction, SIGPROF, nullptr, nullptr, 8); }},
      {"prctl", [] { return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
      {"seccomp", [] { return syscall(SYS_seccomp, 0, 0, nullptr); }},
      {"prlimit64", [] { return syscall(SYS_prlimit64, 0, RLIMIT_AS, nullptr, nullptr); }},
      {"setuid", [] { return syscall(SYS_setuid, 0); }},
      {"unshare", [] { return syscall(SYS_unshare, 0); }},
      {"mount", [] { return syscall(SYS_mount, "a", "b", "c", 0, nullptr); }},
      {"bpf", [] { return syscall(SYS_bpf, 0, nullptr, 0); }},
      {"io_uring_setup", [] { return syscall(SYS_io_uring_setup, 1, nullptr); }},
      {"userfaultfd", [] { return syscall(SYS_userfaultfd, 0); }},
      {"ioctl", [] { return syscall(SYS_ioctl, kSocket, 0, 0); }},
      {"no such call", [] { return syscall(100'000); }},
  };
  for (const auto& each : kAttempts) {
    SCOPED_TRACE(each.name);
    const Fate fate = sealed(each.attempt);
    EXPECT_EQ(fate.signal, SIGSYS);
    EXPECT_EQ(fate.said, kNothing);
  }
}

TEST(JitSeal, EndsWhoUsesUpTheCpu) {
  const Fate fate = sealed([]() -> long {
    limit_cpu(1);
    for (;;) __asm__ volatile("");
  });
  EXPECT_EQ(fate.signal, SIGPROF);
}

TEST(JitSeal, LimitsDescriptorsAndFiles) {
  const Fate second = sealed([]() -> long {
    for (int made = 0;; ++made) {
      if (memfd_create("x", 0) < 0) return made;
    }
  });
  EXPECT_LE(second.said, kSocket + 1);
  const Fate large = sealed([]() -> long {
    const int file = memfd_create("x", 0);
    static char block[1 << 20];
    for (int i = 0;; ++i) {
      if (write(file, block, sizeof block) < 0) return i;
    }
  });
  EXPECT_EQ(large.signal, SIGXFSZ);
}

// What the kernel says of a real helper that waits for a request.
TEST(JitSeal, IsOnBeforeTheRequestIsRead) {
  const auto process = bpf::HelperProcess::start(COPPICE_JIT_PATH);
  ASSERT_TRUE(process);
  const std::string folder = "/proc/" + std::to_string((*process)->pid());
  std::string status;
  for (int i = 0; i < 5000; ++i) {
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
  EXPECT_THAT(status, HasSubstr("Threads:\t1"));
  std::error_code wrong;
  std::vector<std::string> descriptors;
  for (const auto& each : std::filesystem::directory_iterator(folder + "/fd", wrong)) {
    descriptors.push_back(each.path().filename());
  }
  if (!wrong && !kRelaxed) {  // Only who may trace it sees them.
    EXPECT_THAT(descriptors, ::testing::ElementsAre(std::to_string(kSocket)));
  }
}

}  // namespace
}  // namespace coppice::jit
