// helper/lua/testing/daemon.h — plays the daemon: starts a real coppice-lua and answers its
// questions.
#pragma once

#include <functional>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "message/program.h"

namespace coppice::message {
void PrintTo(const Value& value, std::ostream* out);  // For failures of tests.
}  // namespace coppice::message

namespace coppice::lua::testing {

using message::Answer;
using message::Ask;
using message::Begin;
using message::End;

// The verbs that tests know; an Ask's verb is an index into it.
const std::vector<message::VerbName>& verbs();
std::string name_of(const Ask& ask);  // "sync create", "list snapshots".

struct Outcome {
  std::optional<End> end;  // None: the stream ended without it.
  message::Ended ended{};
  std::vector<Ask> asks{};
  u64 elapsed_ns = 0;  // From Spawn to End.
};

struct Limits {
  u64 instructions = 10'000'000;
  u64 memory_bytes = 10 * 1024 * 1024;
  u64 cpu_ns = 10'000'000'000;
};

class Daemon {
 public:
  using Reply = std::function<Answer(const Ask&)>;
  Daemon();
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Runs one program to its end. `reply` may be empty: every question is answered with 0.
  Outcome run(const Begin& begin, const Reply& reply = {}, const Limits& limits = {});
  Outcome run(std::string_view source, const Reply& reply = {}, const Limits& limits = {});

  // The same in steps.
  struct Child {
    u64 id = 0;
    u32 pid = 0;
    int process = -1;  // A pidfd.
    int stream = -1;
  };
  Child spawn(const Limits& limits = {});
  message::Ended wait(const Child& child);  // Closes both descriptors.
  pid_t pid() const { return pid_; }

 private:
  int socket_ = -1;
  pid_t pid_ = -1;
  u64 last_id_ = 0;
  std::vector<message::Ended> ended_{};
};

// One for all tests of the process; each program has a process of its own anyway.
Daemon& shared_daemon();
// What a program returns, "MESSAGE" as a text if it fails.
message::Value value_of(std::string_view source, const Daemon::Reply& reply = {});
// Its error's message; "" if it ends well.
std::string error_of(std::string_view source, const Daemon::Reply& reply = {});

Begin begin_of(std::string_view source, const Limits& limits = {});
bool send_all(int stream, std::span<const std::byte> bytes);
// Kind and body of the next frame; nullopt at the end.
std::optional<std::pair<message::FrameKind, std::vector<std::byte>>> read_frame(int stream);

Answer ok(message::Value value = {});
Answer refused(int error, std::string message, message::Value details = message::List{});
Answer fatal(std::string message);

}  // namespace coppice::lua::testing
