// channel/programs.h — channel programs: many verbs asked for one by one, one transaction.
//
// Theory. A program holds the pool's administrative turn from its begin to its end, and a private
// transaction; nothing it does is seen before it ends well, and then all of it is. Whatever else
// happens (an error, a limit, kill(), the interpreter's death, nonsense on its socket, a commit
// that fails) drops the transaction, and only a history record tells. I/O, flushes and group
// commits go on meanwhile: none of them needs the turn. Everything runs on the sync lane, a verb at
// a time, and other work of the lane has its turn between two verbs.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "channel/interpreter.h"
#include "message/program.h"
#include "rt/event.h"
#include "rt/scope.h"
#include "verb/admin.h"

namespace coppice::channel {

struct Limits {  // The operator's: what programs get by default and at most.
  u64 instructions_default = 10'000'000, instructions_max = 100'000'000;
  u64 memory_bytes_default = 10_MiB, memory_bytes_max = 100_MiB;
  u64 cpu_ns_max = 10'000'000'000;
  u64 stall_ns_max = 10'000'000'000;  // Neither asks nor uses CPU: it hangs.
  size_t programs_max = 64;           // Running and waiting.
};

struct Program {
  std::string name;  // "rotate.lua"; of standard input "-".
  std::string source;
  std::vector<std::string> arguments;
  bool sync = true;          // false: -n.
  u64 instructions_max = 0;  // 0: the default.
  u64 memory_bytes_max = 0;
  std::string caller;  // "uid=0, pid=17".
};

// One verb that a program asked for.
struct VerbEvent {
  u64 number = 0;         // From 1.
  std::string_view mode;  // "check", "sync", "try", "get", "list", "note", ...
  std::string command;    // "create tank/v size=1073741824".
  int error = 0;
  std::string message;
  u64 elapsed_ns = 0;
};

// Who watches one program. On the sync lane; the program waits for the answers.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual bool traces() const = 0;
  virtual Task<> saw(VerbEvent event) = 0;
  virtual bool decides() const = 0;
  // Before the commit (or in place of it, under -n): JSON as HistoryRecord::effects has it.
  // False: drop everything, EINTR.
  virtual Task<bool> agree(std::string effects) = 0;
  // kill() was called: nobody needs the rest of saw() or agree(), which should end soon.
  virtual void interrupted() {}
};

struct Outcome {
  int error = 0;          // 0, ECHRNG, ETIME, EINTR, ENOSPC, ENOMEM, EINVAL, EIO, ...
  std::string message;    // One line, as the CLI prints it after "execution failed:".
  std::string traceback;  // May be empty.
  message::Value value;
  u64 instructions = 0, memory_peak_bytes = 0, verbs = 0, elapsed_ns = 0;
  verb::Report report;
  std::vector<verb::Effect> effects;  // Durable by now: the caller brings them about.
  pool::Txg txg{};
};

using ProgramId = u64;

struct ProgramView {
  ProgramId id = 0;
  std::string pool, name, caller;
  enum class State : u8 { waiting, running, committing } state = State::waiting;
  bool sync = true;
  u64 started_ns = 0;  // The sync lane's clock.
  u64 verbs = 0;
  u32 pid = 0;  // Of the interpreter; 0: none yet.
};

class Programs {
 public:
  Programs(Interpreters& interpreters, rt::Executor& sync, Limits limits = {});
  ~Programs();     // After close().
  Task<> close();  // Kills what runs and waits until all of it has ended. Nothing starts any more.

  // For run(), so that it can be killed from the start. Any thread.
  ProgramId next_id() { return next_id_++; }
  // Never fails: what the engine says comes back as the outcome's error. `observer` may be null;
  // like the rest it must live until the task ends.
  Task<Outcome> run(ProgramId id, pool::Pool& pool, const verb::Host& host, Program program,
                    Observer* observer);
  // It ends with EINTR. False: there is none, or it is being committed.
  bool kill(ProgramId id, std::string why);
  std::vector<ProgramView> views() const;
  const Limits& limits() const { return limits_; }

 private:
  struct Run;
  Task<> watch();
  void see_off(std::unique_ptr<Interpreter> interpreter);
  Interpreters& interpreters_;
  rt::Executor& sync_;
  Limits limits_;
  std::atomic<ProgramId> next_id_ = 1;
  std::map<ProgramId, Run*> runs_;
  bool closed_ = false;
  bool watching_ = false;
  rt::Event idle_;
  rt::Scope background_;
};

}  // namespace coppice::channel
