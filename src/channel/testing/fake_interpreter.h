// channel/testing/fake_interpreter.h — interpreters that play a script over a socket in memory, and
// a pool for them to work on.
#pragma once

#include <csignal>
#include <deque>
#include <functional>
#include <vector>

#include "channel/programs.h"
#include "channel/stream.h"
#include "rt/event.h"
#include "rt/scope.h"

namespace coppice::channel {

// One direction of a connection, of bounded room.
struct Pipe {
  static constexpr size_t kRoom = 256 * 1024;
  std::deque<std::byte> bytes;
  bool closed = false;
  rt::Event changed;
  void close() {
    closed = true;
    changed.pulse();
  }
};

class MemorySocket final : public io::Socket {
 public:
  MemorySocket(rt::Executor& executor, Pipe& in, Pipe& out)
      : executor_(executor), in_(in), out_(out) {}
  Task<size_t> receive(std::span<std::byte> into) override {
    while (in_.bytes.empty() && !in_.closed) {
      co_await in_.changed.wait();
      co_await rt::yield(executor_);  // As from a ring: never inside of what the peer does.
    }
    const size_t count = std::min(into.size(), in_.bytes.size());
    std::copy_n(in_.bytes.begin(), count, into.begin());
    in_.bytes.erase(in_.bytes.begin(), in_.bytes.begin() + static_cast<ptrdiff_t>(count));
    in_.changed.pulse();
    co_return count;
  }
  Task<> send(Parts parts) override {
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::span<const std::byte> part = parts[i];
      while (out_.bytes.size() >= Pipe::kRoom && !out_.closed) {
        co_await out_.changed.wait();
        co_await rt::yield(executor_);
      }
      if (out_.closed) co_return fail(Errc::closed, "sending to a peer");
      out_.bytes.insert(out_.bytes.end(), part.begin(), part.end());
      out_.changed.pulse();
    }
    co_return {};
  }
  void shutdown() override {
    in_.close();
    out_.close();
  }
  int release_fd() override { return -1; }

 private:
  rt::Executor& executor_;
  Pipe& in_;
  Pipe& out_;
};

// The interpreter's side of a conversation.
class Peer {
 public:
  Peer(rt::Executor& e, io::Socket& socket) : executor(e), stream_(socket) {}

  Task<message::Begin> begin() {
    Task<FrameStream::Frame> receiving = stream_.next();
    const FrameStream::Frame frame = co_await ok(std::move(receiving));
    auto begin = message::decode<message::Begin>(frame.body);
    CHECK(begin.has_value());
    co_return *std::move(begin);
  }
  Task<message::Answer> ask(message::Ask ask) {
    Task<> sending = stream_.send(message::encode(ask));
    co_await ok(std::move(sending));
    Task<FrameStream::Frame> receiving = stream_.next();
    const FrameStream::Frame frame = co_await ok(std::move(receiving));
    auto answer = message::decode<message::Answer>(frame.body);
    CHECK(answer.has_value());
    co_return *std::move(answer);
  }
  Task<> end(message::End end) { return stream_.send(message::encode(end)); }
  Task<> raw(std::vector<std::byte> bytes) { return stream_.send(std::move(bytes)); }
  Task<FrameStream::Frame> next() { return stream_.next(); }
  Task<> hang() {  // Until it is killed.
    while (!killed) {
      co_await killing.wait();
      co_await rt::yield(executor);
    }
    co_return {};
  }
  rt::Executor& executor;
  bool killed = false;
  rt::Event killing;
  u64 cpu_ns = 0;
  Interpreter::Exit exit{};

 private:
  FrameStream stream_;
};

using Script = std::function<Task<>(Peer&)>;  // A function's address, not a capturing coroutine.

class FakeInterpreter final : public Interpreter {
 public:
  FakeInterpreter(rt::Executor& executor, Script script)
      : near_(executor, to_near_, to_far_),
        far_(executor, to_far_, to_near_),
        peer_(executor, far_),
        script_(std::move(script)) {
    scope_.spawn(play());
  }
  io::Socket& socket() override { return near_; }
  void kill() override {
    if (peer_.killed) return;
    peer_.killed = true;
    if (!over_) peer_.exit = {.signal = SIGKILL};
    peer_.killing.pulse();
    to_far_.close();
    to_near_.close();
  }
  Task<Exit> wait() override {
    Task<> joining = scope_.join();
    (void)co_await std::move(joining);
    co_return peer_.exit;
  }
  u64 cpu_ns() const override { return peer_.cpu_ns; }
  u32 pid() const override { return 4711; }

 private:
  Task<> play() {
    Task<> playing = script_(peer_);
    (void)co_await std::move(playing);
    over_ = true;
    to_near_.close();
    to_far_.close();
    co_return {};
  }
  Pipe to_near_, to_far_;
  MemorySocket near_, far_;
  Peer peer_;
  Script script_;
  bool over_ = false;
  rt::Scope scope_;
};

class FakeInterpreters final : public Interpreters {
 public:
  explicit FakeInterpreters(rt::Executor& executor) : executor_(executor) {}
  Task<std::unique_ptr<Interpreter>> start(InterpreterLimits limits) override {
    started.push_back(limits);
    if (refuse) co_return fail(Errc::closed, "start an interpreter", "the nursery is gone");
    co_return std::make_unique<FakeInterpreter>(executor_, script);
  }
  Script script;
  bool refuse = false;
  std::vector<InterpreterLimits> started;

 private:
  rt::Executor& executor_;
};

// Asks one question after the other, keeps the answers, and ends.
struct Recital {
  std::vector<message::Ask> asks;
  std::vector<message::Answer> answers;
  message::End end{};
  message::Begin begin{};

  static Task<> play(Recital& self, Peer& peer) {
    Task<message::Begin> beginning = peer.begin();
    self.begin = co_await ok(std::move(beginning));
    for (size_t i = 0; i < self.asks.size(); ++i) {
      Task<message::Answer> asking = peer.ask(self.asks[i]);
      self.answers.push_back(co_await ok(std::move(asking)));
    }
    Task<> ending = peer.end(self.end);
    co_await ok(std::move(ending));
    co_return {};
  }
  Script script() {
    return [this](Peer& peer) { return play(*this, peer); };
  }
};

inline message::Ask ask(message::Call call, message::List positional = {}) {
  return {.call = call, .positional = std::move(positional)};
}
inline message::Ask ask_verb(message::Call call, std::string_view verb, message::List positional,
                             message::Record named = {}) {
  const auto rows = verb::table();
  const verb::Row* row = verb::find(verb);
  CHECK(row != nullptr);
  return {.call = call,
          .verb = static_cast<u16>(row - rows.data()),
          .positional = std::move(positional),
          .named = std::move(named)};
}
inline message::Ask do_verb(std::string_view verb, message::List positional,
                            message::Record named = {}) {
  return ask_verb(message::Call::sync, verb, std::move(positional), std::move(named));
}

class FakeHost final : public verb::Host {
 public:
  std::vector<verb::RunningExport> exports_of(pool::DatasetId id) const override {
    std::vector<verb::RunningExport> found;
    for (const auto& each : running)
      if (each.dataset == id) found.push_back(each);
    return found;
  }
  bool listening(const std::string& address) const override { return address == heard; }
  std::optional<pool::SharedValue<pool::StoredObject>> loaded_object(
      std::string_view hash) const override {
    for (const pool::StoredObject& each : objects)
      if (each.hash == hash) return pool::SharedValue<pool::StoredObject>(each);
    return std::nullopt;
  }
  verb::Gate* gate() const override { return keeper; }
  std::vector<verb::RunningExport> running;
  std::string heard = "unix:/run/heard.sock";
  std::vector<pool::StoredObject> objects;
  verb::Gate* keeper = nullptr;
};

}  // namespace coppice::channel
