#include "helper/lua/zygote.h"

#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "base/check.h"
#include "helper/lua/run.h"
#include "helper/lua/seal.h"

namespace coppice::lua {
namespace {

// Programs give way to the daemon.
constexpr int kNice = 5;
constexpr size_t kPacketBytesMax = 256_KiB;
constexpr size_t kChildrenMax = 1024;
constexpr size_t kReserveBytes = 4_GiB;     // Addresses for the arena.
constexpr size_t kZygoteCapBytes = 64_MiB;  // Of it, before any program.
constexpr size_t kFragmentBytes = 4_MiB;    // Besides twice what the program may ask for.
// Of the sealed process's own heap: a result being converted, messages. None of it is touched
// before it is needed.
constexpr size_t kHeapBytes = 256_MiB;

int complain(const char* what) {
  std::fprintf(stderr, "coppice-lua: %s: %s\n", what, std::strerror(errno));
  return 1;
}

// A sealed process cannot ask for memory: its heap is made beforehand and never given back.
bool set_heap_aside() {
  mallopt(M_MMAP_THRESHOLD, static_cast<int>(kHeapBytes));
  mallopt(M_TRIM_THRESHOLD, INT32_MAX);
  mallopt(M_MMAP_MAX, 0);
  void* all = std::malloc(kHeapBytes);
  std::free(all);
  return all != nullptr;
}

struct Packet {
  std::vector<std::byte> bytes;
  int descriptor = -1;  // That came along.
};

class Zygote {
 public:
  explicit Zygote(int socket)
      : socket_(socket),
        arena_({.reserve_bytes = kReserveBytes, .cap_bytes = kZygoteCapBytes}),
        machine_(arena_) {}
  int serve();

 private:
  bool prepare_all();
  bool receive(Packet& packet);
  bool send(const std::vector<std::byte>& bytes, int descriptor = -1);
  bool spawn(const message::Spawn& spawn, int stream);
  bool reap();
  [[noreturn]] void be_child(const message::Spawn& spawn, int stream);

  int socket_;
  const pid_t zygote_ = getpid();
  Arena arena_;
  Machine machine_;
  Shed shed_{};
  std::map<pid_t, u64> children_{};
};

bool Zygote::receive(Packet& packet) {
  packet.bytes.resize(kPacketBytesMax);
  packet.descriptor = -1;
  iovec part = {.iov_base = packet.bytes.data(), .iov_len = packet.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = recvmsg(socket_, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return false;
  packet.bytes.resize(static_cast<size_t>(got));
  for (cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr; each = CMSG_NXTHDR(&header, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(each) + i * sizeof(int), sizeof(int));
      if (packet.descriptor < 0) {
        packet.descriptor = descriptor;
      } else {
        close(descriptor);
      }
    }
  }
  return (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
}

bool Zygote::send(const std::vector<std::byte>& bytes, int descriptor) {
  iovec part = {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (descriptor >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof(int));
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket_, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(bytes.size());
}

bool Zygote::prepare_all() {
  Packet packet;
  if (!receive(packet)) return false;
  if (packet.descriptor >= 0) close(packet.descriptor);
  auto nursery = message::decode<message::Nursery>(packet.bytes);
  if (!nursery || nursery->version != message::kProtocolVersion) {
    std::fprintf(stderr, "coppice-lua: the daemon speaks another protocol: install both anew\n");
    return false;
  }
  if (!prepare(machine_, std::move(nursery->verbs))) {
    std::fprintf(stderr, "coppice-lua: this liblua's instructions cannot be counted\n");
    return false;
  }
  if (!kRelaxed && !set_heap_aside()) return complain("set a heap aside") == 0;
  auto made = shed();
  if (!made) return complain("give up privileges") == 0;
  shed_ = std::move(*made);
  return true;
}

void Zygote::be_child(const message::Spawn& spawn, int stream) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpriority(PRIO_PROCESS, 0, kNice);
  if (getppid() != zygote_) _exit(1);  // It died before that.
  const size_t cap = arena_.top_bytes() + 2 * spawn.memory_bytes_max + kFragmentBytes;
  Stream socket(kStreamDescriptor);
  if (!arena_.set_cap(std::max(cap, kZygoteCapBytes), true) ||
      !seal(shed_, stream, spawn.cpu_ns_max)) {
    _exit(2);
  }
  const auto bytes = socket.receive(message::FrameKind::begin);
  if (!bytes) _exit(1);
  auto begin = message::decode<message::Begin>(*bytes);
  if (!begin || begin->memory_bytes_max > spawn.memory_bytes_max) _exit(1);
  const message::End end = run_program(machine_, socket, *begin);
  if (machine_.stop == Stop::lost || !socket.send(message::encode(end))) _exit(1);
  _exit(0);
}

bool Zygote::spawn(const message::Spawn& spawn, int stream) {
  message::Started started{.id = spawn.id};
  int process = -1;
  pid_t pid = -1;
  if (stream < 0 ||
      spawn.memory_bytes_max > (kReserveBytes - kZygoteCapBytes - kFragmentBytes) / 2) {
    started.error = EINVAL;
  } else if (children_.size() >= kChildrenMax) {
    started.error = EAGAIN;
  } else {
    pid = fork();
    if (pid == 0) be_child(spawn, stream);
    if (pid < 0) started.error = errno;
  }
  if (pid > 0) {
    process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    started.pid = static_cast<u32>(pid);
    if (process < 0) {
      started.error = errno;
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    } else {
      children_.emplace(pid, spawn.id);
    }
  }
  if (stream >= 0) close(stream);
  const bool sent = send(message::encode(started), process);
  if (process >= 0) close(process);
  return sent;
}

bool Zygote::reap() {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    const auto child = children_.extract(pid);
    if (child.empty()) continue;
    const message::Ended ended{.id = child.mapped(),
                               .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                               .status = WIFEXITED(status) ? WEXITSTATUS(status) : 0};
    if (!send(message::encode(ended))) return false;
  }
  return true;
}

int Zygote::serve() {
  sigset_t deaths;
  sigemptyset(&deaths);
  sigprocmask(SIG_SETMASK, &deaths, nullptr);
  sigaddset(&deaths, SIGCHLD);
  sigprocmask(SIG_BLOCK, &deaths, nullptr);
  const int signals = signalfd(-1, &deaths, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) return complain("watch for the ends of programs");
  if (!prepare_all()) return 1;
  Packet packet;
  while (true) {
    pollfd watched[] = {{.fd = socket_, .events = POLLIN, .revents = 0},
                        {.fd = signals, .events = POLLIN, .revents = 0}};
    if (poll(watched, 2, -1) < 0 && errno != EINTR) return complain("wait for work");
    if (watched[1].revents != 0) {
      signalfd_siginfo discarded;
      while (read(signals, &discarded, sizeof discarded) > 0) continue;
      if (!reap()) return 0;
    }
    if (watched[0].revents == 0) continue;
    if (!receive(packet)) return 0;  // The daemon is gone.
    const auto asked = message::decode<message::Spawn>(packet.bytes);
    if (!asked) {
      std::fprintf(stderr, "coppice-lua: the daemon sent what is no Spawn\n");
      return 1;
    }
    if (!spawn(*asked, packet.descriptor)) return 0;
  }
}

}  // namespace

int serve_nursery(int descriptor) {
  // The daemon decides when this ends, by closing the socket; a terminal's signals are for it.
  for (const int each : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) signal(each, SIG_IGN);
  for (const int each : {SIGCHLD, SIGPROF, SIGPIPE}) signal(each, SIG_DFL);
  return Zygote(descriptor).serve();
}

}  // namespace coppice::lua
