// bpf/native/helper_process.h — `coppice-jit` as its owner sees it: a process and a socket.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "bpf/native/request.h"

namespace coppice::bpf {

inline constexpr int kHelperSocket = 3;  // The descriptor it finds its end at.

struct Reply {
  bool failed = false;
  std::string text;
  int descriptor = -1;  // Of the code; whoever has the answer closes it.
};

// Ends the process when it goes.
class HelperProcess {
 public:
  static Result<std::unique_ptr<HelperProcess>> start(const std::string& path);
  HelperProcess(int socket, pid_t pid) : socket_(socket), pid_(pid) {}
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;
  ~HelperProcess();

  // After an error the process is of no use any more.
  Result<Reply> ask(std::span<const std::byte> request, u64 deadline_ns);
  pid_t pid() const { return pid_; }

 private:
  struct Until;
  Result<> send(std::span<const std::byte> bytes, const Until& until);
  Result<> receive(std::span<std::byte> bytes, int& descriptor, const Until& until);
  Result<> wait(short events, const Until& until);
  std::string fate();

  int socket_;
  pid_t pid_;
};

}  // namespace coppice::bpf
