#include "bpf/native/helper_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/check.h"

namespace coppice::bpf {
namespace {

constexpr const char* kWhat = "cannot have machine code made";

// What the helper starts with: its socket, standard error, and nothing else.
class SpawnPlan {
 public:
  SpawnPlan() {
    CHECK(::posix_spawn_file_actions_init(&files_) == 0);
    CHECK(::posix_spawnattr_init(&attributes_) == 0);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&files_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  int run(int socket, const std::string& path, pid_t& pid) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (::posix_spawn_file_actions_adddup2(&files_, socket, kHelperSocket) != 0 ||
        ::posix_spawn_file_actions_addopen(&files_, 0, "/dev/null", O_RDONLY, 0) != 0 ||
        ::posix_spawn_file_actions_addopen(&files_, 1, "/dev/null", O_WRONLY, 0) != 0 ||
        ::posix_spawn_file_actions_addclosefrom_np(&files_, kHelperSocket + 1) != 0 ||
        ::posix_spawnattr_setsigmask(&attributes_, &none) != 0 ||
        ::posix_spawnattr_setsigdefault(&attributes_, &all) != 0 ||
        ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) !=
            0)
      return ENOMEM;
    std::string name = "coppice-jit", option = "--socket", number = std::to_string(kHelperSocket);
    char* arguments[] = {name.data(), option.data(), number.data(), nullptr};
    char* environment[] = {nullptr};
    return ::posix_spawn(&pid, path.c_str(), &files_, &attributes_, arguments, environment);
  }

 private:
  posix_spawn_file_actions_t files_;
  posix_spawnattr_t attributes_;
};

}  // namespace

struct HelperProcess::Until {
  std::chrono::steady_clock::time_point end;
  int rest_ms() const {
    const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    return static_cast<int>(std::clamp<i64>(rest.count(), 0, 1'000'000));
  }
};

Result<std::unique_ptr<HelperProcess>> HelperProcess::start(const std::string& path) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail(Errc::io, "make a socket for coppice-jit", errno);
  pid_t pid = 0;
  const int error = SpawnPlan().run(ends[1], path, pid);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    return std::unexpected(
        Error{Errc::not_found, "start the compiler of machine code", error, path, {}});
  }
  return std::make_unique<HelperProcess>(ends[0], pid);
}

HelperProcess::~HelperProcess() {
  ::close(socket_);
  if (pid_ <= 0) return;
  (void)::kill(pid_, SIGKILL);  // It may hang, or be stopped.
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
}

// Why there will be no answer, once its end of the socket is closed.
std::string HelperProcess::fate() {
  int status = 0;
  (void)::kill(pid_, SIGKILL);  // So that waiting for it ends; what happened first is what counts.
  pid_t ended = 0;
  do {
    ended = ::waitpid(pid_, &status, 0);
  } while (ended < 0 && errno == EINTR);
  pid_ = 0;
  if (ended > 0 && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
    return fmt::format("coppice-jit died of signal {}", WTERMSIG(status));
  if (ended > 0 && WIFEXITED(status))
    return fmt::format("coppice-jit ended with status {}", WEXITSTATUS(status));
  return "coppice-jit closed its socket";
}

Result<> HelperProcess::wait(short events, const Until& until) {
  pollfd entry{.fd = socket_, .events = events, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&entry, 1, until.rest_ms());
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) return fail(Errc::io, kWhat, errno);
  if (ready == 0) return fail(Errc::timed_out, kWhat, "coppice-jit did not answer in time");
  return {};
}

Result<> HelperProcess::send(std::span<const std::byte> bytes, const Until& until) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      TRY_VOID(wait(POLLOUT, until));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return fail(Errc::closed, kWhat, fate());
    } else if (errno != EINTR) {
      return fail(Errc::io, kWhat, errno);
    }
  }
  return {};
}

// All of `bytes`; keeps the first descriptor that came along, if it has none, and closes others.
Result<> HelperProcess::receive(std::span<std::byte> bytes, int& descriptor, const Until& until) {
  while (!bytes.empty()) {
    iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(socket_, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      TRY_VOID(wait(POLLIN, until));
      continue;
    }
    if (got == 0 || (got < 0 && errno == ECONNRESET)) return fail(Errc::closed, kWhat, fate());
    if (got < 0) return fail(Errc::io, kWhat, errno);
    for (cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr;
         each = CMSG_NXTHDR(&header, each)) {
      if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int came = -1;
        std::memcpy(&came, CMSG_DATA(each) + i * sizeof(int), sizeof(int));
        if (descriptor < 0) {
          descriptor = came;
        } else {
          ::close(came);
        }
      }
    }
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return {};
}

Result<Reply> HelperProcess::ask(std::span<const std::byte> request, u64 deadline_ns) {
  CHECK(pid_ > 0);
  const Until until{std::chrono::steady_clock::now() + std::chrono::nanoseconds(deadline_ns)};
  const FrameHeader header{.bytes = request.size()};
  TRY_VOID(send(std::as_bytes(std::span(&header, 1)), until));
  TRY_VOID(send(request, until));
  Reply reply;
  FrameHeader told;
  auto received = receive(std::as_writable_bytes(std::span(&told, 1)), reply.descriptor, until);
  if (received && (told.magic != kFrameMagic || told.bytes > kAnswerBytesMax))
    received = fail(Errc::corrupt, kWhat,
                    "coppice-jit sent what is no answer: install both anew, they belong together");
  if (received) {
    reply.failed = told.failed != 0;
    reply.text.resize(told.bytes);
    received = receive(std::as_writable_bytes(std::span(reply.text)), reply.descriptor, until);
  }
  if (received) return reply;
  if (reply.descriptor >= 0) ::close(reply.descriptor);
  return std::unexpected(std::move(received).error());
}

}  // namespace coppice::bpf
