#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "channel/nursery.h"

namespace coppice::channel {
namespace {

constexpr int kTheirSocket = 3;

class SpawnPlan {  // What posix_spawn() is to do, besides.
 public:
  SpawnPlan() {
    CHECK(::posix_spawn_file_actions_init(&files_) == 0);
    CHECK(::posix_spawnattr_init(&attributes_) == 0);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&files_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  // The socket, standard error, and nothing else; no signal blocked or ignored.
  bool prepare(int socket) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    return ::posix_spawn_file_actions_adddup2(&files_, socket, kTheirSocket) == 0 &&
           ::posix_spawn_file_actions_addopen(&files_, 0, "/dev/null", O_RDONLY, 0) == 0 &&
           ::posix_spawn_file_actions_addopen(&files_, 1, "/dev/null", O_WRONLY, 0) == 0 &&
           ::posix_spawn_file_actions_addclosefrom_np(&files_, kTheirSocket + 1) == 0 &&
           ::posix_spawnattr_setsigmask(&attributes_, &none) == 0 &&
           ::posix_spawnattr_setsigdefault(&attributes_, &all) == 0 &&
           ::posix_spawnattr_setflags(&attributes_,
                                      POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) == 0;
  }
  int run(pid_t& pid, const std::string& path) {
    std::string name = "coppice-lua", option = "--nursery", socket = std::to_string(kTheirSocket);
    char* arguments[] = {name.data(), option.data(), socket.data(), nullptr};
    char* environment[] = {nullptr};
    return ::posix_spawn(&pid, path.c_str(), &files_, &attributes_, arguments, environment);
  }

 private:
  posix_spawn_file_actions_t files_;
  posix_spawnattr_t attributes_;
};

}  // namespace

Result<std::unique_ptr<Zygote>> Zygote::start(const std::string& path) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return fail(Errc::io, "make the nursery's socket", errno);
  SpawnPlan plan;
  pid_t pid = 0;
  int error = plan.prepare(ends[1]) ? 0 : ENOMEM;
  if (error == 0) error = plan.run(pid, path);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    Error failed{Errc::not_found, "start the interpreter's nursery", error, path, {}};
    return std::unexpected(std::move(failed));
  }
  return std::unique_ptr<Zygote>(new Zygote(ends[0], pid));
}

Zygote::~Zygote() {
  ::close(socket_);
  (void)::kill(pid_, SIGKILL);  // It may be stopped.
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
}

}  // namespace coppice::channel
