// channel/interpreter.h — where programs run: a process behind a socket, or a test's script.
#pragma once

#include <memory>

#include "io/socket.h"
#include "rt/task.h"

namespace coppice::channel {

// One interpreter for one program. On the sync lane. Destroying it kills what is left of it.
class Interpreter {
 public:
  struct Exit {
    int signal = 0;  // 0: it exited.
    int status = 0;
  };
  virtual ~Interpreter() = default;
  virtual io::Socket& socket() = 0;
  virtual void kill() = 0;         // Its socket ends soon after. Idempotent.
  virtual Task<Exit> wait() = 0;   // Once its socket has ended; once only.
  virtual u64 cpu_ns() const = 0;  // What it has used so far: to tell a hang from work.
  virtual u32 pid() const = 0;     // For people.
};

struct InterpreterLimits {
  u64 cpu_ns_max = 0;
  u64 memory_bytes_max = 0;
  friend bool operator==(const InterpreterLimits&, const InterpreterLimits&) = default;
};

class Interpreters {
 public:
  virtual ~Interpreters() = default;
  virtual Task<std::unique_ptr<Interpreter>> start(InterpreterLimits limits) = 0;
};

}  // namespace coppice::channel
