#include "helper/lua/zygote.h"

#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
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
#include "message/packet.h"

namespace coppice::lua {
namespace {

// Programs give way to the daemon.
constexpr int kNice = 5;
constexpr size_t kTableBytesMax = 256_KiB;  // Of the first packet, with all verbs.
constexpr size_t kSpawnBytesMax = 64;       // Of any other.
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

class Zygote {
 public:
  explicit Zygote(int socket)
      : socket_(socket),
        arena_({.reserve_bytes = kReserveBytes, .cap_bytes = kZygoteCapBytes}),
        machine_(arena_) {}
  int serve();

 private:
  bool prepare_all();
  std::span<const std::byte> receive(std::span<std::byte> into, int& descriptor);
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

// Empty: the daemon is gone, or what it sent does not fit.
std::span<const std::byte> Zygote::receive(std::span<std::byte> into, int& descriptor) {
  message::PacketReceiver receiver;
  ssize_t got = 0;
  do {
    got = recvmsg(socket_, &receiver.prepare(into), MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return {};
  descriptor = receiver.take_descriptor();
  return into.first(receiver.whole() ? static_cast<size_t>(got) : 0);
}

bool Zygote::prepare_all() {
  std::vector<std::byte> buffer(kTableBytesMax);
  int descriptor = -1;
  const auto packet = receive(buffer, descriptor);
  if (descriptor >= 0) close(descriptor);
  if (packet.empty()) return false;
  auto nursery = message::decode<message::Nursery>(packet);
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
  const int error = message::send_packet(socket_, message::encode(started), process);
  if (process >= 0) close(process);
  return error == 0;
}

bool Zygote::reap() {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    const auto child = children_.extract(pid);
    if (child.empty()) continue;
    const message::Ended ended{.id = child.mapped(),
                               .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                               .status = WIFEXITED(status) ? WEXITSTATUS(status) : 0};
    if (message::send_packet(socket_, message::encode(ended)) != 0) return false;
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
    std::byte buffer[kSpawnBytesMax];
    int stream = -1;
    const auto packet = receive(buffer, stream);
    if (packet.empty()) return 0;  // The daemon is gone.
    const auto asked = message::decode<message::Spawn>(packet);
    if (!asked) {
      std::fprintf(stderr, "coppice-lua: the daemon sent what is no Spawn\n");
      return 1;
    }
    if (!spawn(*asked, stream)) return 0;
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
