// channel/nursery.h — interpreters as processes, forked from `coppice-lua`'s zygote.
//
// Theory. The zygote is started once, with the daemon, and connected by a SOCK_SEQPACKET socket
// (message/program.h). start() makes a connected pair, sends one end along with Spawn, and has an
// interpreter when Started has brought a pidfd. A process is over when Ended says so, or, should
// the zygote die first, when its pidfd does: the kernel kills the zygote's children with it.
// Without a zygote no program can be run any more; everything else goes on.
//
// To fork and seal takes longer than a small program does. So when a program has ended, a process
// is started for the next one, with the same limits: sealed, it waits for a program that is still
// to come. It is used for one program, as any other.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>

#include "channel/interpreter.h"
#include "io/reactor.h"
#include "message/packet.h"
#include "message/program.h"
#include "rt/event.h"
#include "rt/scope.h"

namespace coppice::channel {

// The zygote's process, from its start to its end, which is that of the socket.
class Zygote {
 public:
  // At the daemon's start only: it opens and executes `path`.
  static Result<std::unique_ptr<Zygote>> start(const std::string& path);
  Zygote(const Zygote&) = delete;
  ~Zygote();  // Ends the process.
  int socket() const { return socket_; }
  pid_t pid() const { return pid_; }

 private:
  Zygote(int socket, pid_t pid) : socket_(socket), pid_(pid) {}
  int socket_;
  pid_t pid_;
};

// On the reactor that the programs run on, except construction and destruction.
class Nursery final : public Interpreters {
 public:
  Nursery(io::Reactor& reactor, std::unique_ptr<Zygote> zygote);
  Nursery(const Nursery&) = delete;
  ~Nursery() override;  // After close().

  Task<> open();   // Tells the zygote the verb table. Before the first start().
  Task<> close();  // No interpreter lives but the spare one.
  Task<std::unique_ptr<Interpreter>> start(InterpreterLimits limits) override;
  u32 spare_pid() const;  // Of the process that waits for a program; 0: none does.

 private:
  struct Child {
    u64 id = 0;
    InterpreterLimits limits{};
    int pidfd = -1;
    message::Started started{};
    bool answered = false;  // By Started.
    bool ended = false;
    Interpreter::Exit exit{};
    rt::Event changed;
  };
  class Process;
  static constexpr size_t kPacketBytesMax = 4096;

  Task<> listen();
  void take_packet(size_t bytes);
  Task<> send(std::vector<std::byte> packet, int descriptor);
  Task<> send_spawn(Child& child, int far);
  Task<std::unique_ptr<Process>> launch(InterpreterLimits limits);
  Task<> keep_spare(InterpreterLimits limits);
  void want_spare(InterpreterLimits limits);
  Task<Interpreter::Exit> wait_for(Child& child);
  void forget(u64 id);

  io::Reactor& reactor_;
  std::unique_ptr<Zygote> zygote_;
  std::map<u64, std::unique_ptr<Child>> children_;
  u64 next_ = 1;
  bool gone_ = false;
  std::unique_ptr<Process> spare_;
  bool sparing_ = false;  // keep_spare() is under way.
  rt::Scope scope_;
  // Of the receive under way.
  std::byte packet_[kPacketBytesMax];
  message::PacketReceiver receiver_;
};

}  // namespace coppice::channel
