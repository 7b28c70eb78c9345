#include "helper/lua/testing/daemon.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>

#include "base/check.h"
#include "message/packet.h"

namespace coppice::message {

void PrintTo(const Value& value, std::ostream* out) {
  if (const bool* flag = std::get_if<bool>(&value.data)) {
    *out << (*flag ? "true" : "false");
  } else if (const i64* integer = std::get_if<i64>(&value.data)) {
    *out << *integer;
  } else if (const double* real = std::get_if<double>(&value.data)) {
    *out << *real << "f";
  } else if (const std::string* text = std::get_if<std::string>(&value.data)) {
    *out << '"' << *text << '"';
  } else if (const List* list = std::get_if<List>(&value.data)) {
    *out << '[';
    for (const Value& each : *list) PrintTo(each, out), *out << ", ";
    *out << ']';
  } else if (const Record* record = std::get_if<Record>(&value.data)) {
    *out << '{';
    for (const auto& [name, each] : *record)
      *out << name << " = ", PrintTo(each, out), *out << ", ";
    *out << '}';
  } else {
    *out << "nil";
  }
}

}  // namespace coppice::message

namespace coppice::lua::testing {
namespace {

u64 now_ns() {
  return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch().count());
}

bool receive_packet(int socket, std::vector<std::byte>& bytes, int& descriptor) {
  bytes.resize(64 * 1024);
  message::PacketReceiver receiver;
  const ssize_t got = recvmsg(socket, &receiver.prepare(bytes), MSG_CMSG_CLOEXEC);
  if (got <= 0) return false;
  bytes.resize(static_cast<size_t>(got));
  descriptor = receiver.take_descriptor();
  return true;
}

}  // namespace

const std::vector<message::VerbName>& verbs() {
  static const std::vector<message::VerbName> kVerbs = {
      {"bookmark", "bookmark source name"},
      {"clone", "clone snapshot name [properties=pairs] [parents=flag]"},
      {"create", "create name [size=number] [properties=pairs] [parents=flag]"},
      {"destroy", "destroy names [recursive=flag] [clones=flag] [defer=flag]"},
      {"inherit", "inherit names property [recursive=flag]"},
      {"promote", "promote name"},
      {"rename", "rename name new_name [parents=flag] [recursive=flag]"},
      {"rollback", "rollback name [recursive=flag] [clones=flag]"},
      {"set", "set names properties"},
      {"snapshot", "snapshot names [recursive=flag] [properties=pairs]"}};
  return kVerbs;
}

std::string name_of(const Ask& ask) {
  static constexpr const char* kCalls[] = {"?",      "check",     "sync", "try",  "get",
                                           "exists", "list",      "page", "drop", "savepoint",
                                           "keep",   "roll_back", "note"};
  std::string name = kCalls[static_cast<size_t>(ask.call)];
  if (ask.call <= message::Call::try_) return name + " " + verbs().at(ask.verb).name;
  if (ask.call == message::Call::list && !ask.positional.empty()) {
    name += " " + std::get<std::string>(ask.positional[0].data);
  }
  return name;
}

Daemon::Daemon() {
  int sockets[2];
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) == 0);
  pid_ = fork();
  CHECK(pid_ >= 0);
  if (pid_ == 0) {
    close(sockets[0]);
    const std::string descriptor = std::to_string(sockets[1]);
    execl(COPPICE_LUA_PATH, "coppice-lua", "--nursery", descriptor.c_str(), nullptr);
    std::perror(COPPICE_LUA_PATH);
    _exit(127);
  }
  close(sockets[1]);
  socket_ = sockets[0];
  const auto bytes = message::encode(message::Nursery{.verbs = verbs()});
  CHECK(message::send_packet(socket_, bytes) == 0);
}

Daemon::~Daemon() {
  close(socket_);
  int status = 0;
  CHECK(waitpid(pid_, &status, 0) == pid_);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Daemon::Child Daemon::spawn(const Limits& limits) {
  int sockets[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
  const auto bytes = message::encode(message::Spawn{
      .id = ++last_id_, .cpu_ns_max = limits.cpu_ns, .memory_bytes_max = limits.memory_bytes});
  CHECK(message::send_packet(socket_, bytes, sockets[1]) == 0);
  close(sockets[1]);
  while (true) {
    std::vector<std::byte> packet;
    int process = -1;
    CHECK(receive_packet(socket_, packet, process));
    // The first packet of an id is its Started, the second its Ended.
    const auto started = message::decode<message::Started>(packet);
    if (started.has_value() && started->id != last_id_) {
      ended_.push_back(message::decode<message::Ended>(packet).value());
      continue;
    }
    CHECK(started.has_value() && started->id == last_id_ && started->error == 0 && process >= 0);
    return {.id = started->id, .pid = started->pid, .process = process, .stream = sockets[0]};
  }
}

message::Ended Daemon::wait(const Child& child) {
  close(child.stream);
  close(child.process);
  while (true) {
    for (size_t i = 0; i < ended_.size(); ++i) {
      if (ended_[i].id != child.id) continue;
      const message::Ended found = ended_[i];
      ended_.erase(ended_.begin() + static_cast<ptrdiff_t>(i));
      return found;
    }
    std::vector<std::byte> packet;
    int descriptor = -1;
    CHECK(receive_packet(socket_, packet, descriptor));
    const auto ended = message::decode<message::Ended>(packet);
    CHECK(ended.has_value());
    ended_.push_back(*ended);
  }
}

bool send_all(int stream, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(stream, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return true;
}

std::optional<std::pair<message::FrameKind, std::vector<std::byte>>> read_frame(int stream) {
  std::byte head_bytes[message::kFrameHeadBytes];
  if (recv(stream, head_bytes, sizeof head_bytes, MSG_WAITALL) != sizeof head_bytes) return {};
  const auto head = message::decode_head(head_bytes);
  if (!head) return {};
  std::vector<std::byte> body(head->length - 1);
  if (!body.empty() &&
      recv(stream, body.data(), body.size(), MSG_WAITALL) != static_cast<ssize_t>(body.size())) {
    return {};
  }
  return {{head->kind, std::move(body)}};
}

Outcome Daemon::run(const Begin& begin, const Reply& reply, const Limits& limits) {
  Outcome outcome;
  const u64 started_ns = now_ns();
  const Child child = spawn(limits);
  if (send_all(child.stream, message::encode(begin))) {
    while (auto frame = read_frame(child.stream)) {
      if (frame->first == message::FrameKind::end) {
        outcome.end = message::decode<End>(frame->second);
        CHECK(outcome.end.has_value());
        break;
      }
      CHECK(frame->first == message::FrameKind::ask);
      auto ask = message::decode<Ask>(frame->second);
      CHECK(ask.has_value());
      const Answer answer = reply ? reply(*ask) : Answer{};
      outcome.asks.push_back(std::move(*ask));
      if (!send_all(child.stream, message::encode(answer))) break;
    }
  }
  outcome.elapsed_ns = now_ns() - started_ns;
  outcome.ended = wait(child);
  return outcome;
}

Outcome Daemon::run(std::string_view source, const Reply& reply, const Limits& limits) {
  return run(begin_of(source, limits), reply, limits);
}

Daemon& shared_daemon() {
  static Daemon daemon;
  return daemon;
}

message::Value value_of(std::string_view source, const Daemon::Reply& reply) {
  Outcome outcome = shared_daemon().run(source, reply);
  if (!outcome.end) return "no End";
  if (outcome.end->ending != message::Ending::returned) return outcome.end->message;
  return std::move(outcome.end->value);
}

std::string error_of(std::string_view source, const Daemon::Reply& reply) {
  const Outcome outcome = shared_daemon().run(source, reply);
  return outcome.end ? outcome.end->message : "no End";
}

Begin begin_of(std::string_view source, const Limits& limits) {
  return {.sync = true,
          .instructions_max = limits.instructions,
          .memory_bytes_max = limits.memory_bytes,
          .pool = "tank",
          .name = "test.lua",
          .source = std::string(source),
          .argument = message::Record{{"argv", message::List{"one", "two"}}}};
}

Answer ok(message::Value value) { return {.value = std::move(value)}; }

Answer refused(int error, std::string message, message::Value details) {
  return {.error = error, .value = std::move(details), .message = std::move(message)};
}

Answer fatal(std::string message) {
  return {.error = 22, .fatal = true, .value = {}, .message = std::move(message)};
}

}  // namespace coppice::lua::testing
