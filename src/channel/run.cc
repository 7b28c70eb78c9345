#include "channel/run.h"

#include <csignal>
#include <cstring>

#include <algorithm>
#include <cerrno>

#include "trace/fire.h"

namespace coppice::channel {

using message::Ask;
using message::Begin;
using message::End;
using message::Ending;
using message::FrameKind;

namespace {

constexpr u32 kAsksPerTurn = 64;  // Then others of the lane have their turn,
constexpr u64 kTurnNs = 100'000;  // or when it took so long.
constexpr size_t kTracebackMax = 256_KiB;
constexpr size_t kMessageMax = 16_KiB;

// One line.
std::string line_of(std::string text) {
  if (text.size() > kMessageMax) text.resize(kMessageMax);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(signal);
}

}  // namespace

Programs::Run::Run(Programs& programs, ProgramId id, pool::Pool& pool, const verb::Host& host,
                   Program program, Observer* observer)
    : programs_(programs),
      sync_(programs.sync_),
      id_(id),
      pool_(pool),
      host_(host),
      program_(std::move(program)),
      observer_(observer) {
  const Limits& limits = programs.limits_;
  instructions_max_ =
      program_.instructions_max != 0 ? program_.instructions_max : limits.instructions_default;
  memory_bytes_max_ =
      program_.memory_bytes_max != 0 ? program_.memory_bytes_max : limits.memory_bytes_default;
  started_ns_ = sync_.now_ns();
  now_s_ = sync_.wall_ns() / 1'000'000'000;
}

// ------------------------------------------------------------------ how it may end

void Programs::Run::fail_with(int error, std::string message) {
  CHECK(error != 0);
  if (failed()) return;
  outcome.error = error;
  outcome.message = line_of(std::move(message));
}

bool Programs::Run::stopped() {
  if (killed_ != 0) fail_with(killed_, why_killed_);
  return failed();
}

bool Programs::Run::kill(int error, std::string why) {
  if (state_ == ProgramView::State::committing) return false;
  if (killed_ != 0) return true;
  killed_ = error;
  why_killed_ = std::move(why);
  ticket_.cancel();
  if (interpreter_) interpreter_->kill();
  if (observer_ != nullptr) observer_->interrupted();
  return true;
}

void Programs::Run::peer_turn(bool theirs) { theirs_since_ns_ = theirs ? sync_.now_ns() : 0; }

void Programs::Run::watch(u64 now_ns) {
  if (theirs_since_ns_ == 0 || interpreter_ == nullptr || killed_ != 0) return;
  const u64 cpu_ns = interpreter_->cpu_ns();
  if (cpu_ns != cpu_seen_ns_) {
    cpu_seen_ns_ = cpu_ns;
    theirs_since_ns_ = std::max(theirs_since_ns_, now_ns);
    return;
  }
  const u64 most = programs_.limits_.stall_ns_max;
  if (now_ns < theirs_since_ns_ + most) return;
  kill(ETIME, "its interpreter hung: for " + std::to_string(most / 1'000'000'000) +
                  " s it neither asked nor computed");
}

ProgramView Programs::Run::view() const {
  return {.id = id_,
          .pool = pool_.name(),
          .name = program_.name,
          .caller = program_.caller,
          .state = state_,
          .sync = program_.sync,
          .started_ns = started_ns_,
          .verbs = outcome.verbs,
          .pid = interpreter_ ? interpreter_->pid() : 0};
}

// ------------------------------------------------------------------ the steps

std::optional<std::string> Programs::Run::wrong_limits() const {
  const Limits& limits = programs_.limits_;
  if (instructions_max_ > limits.instructions_max) {
    return "a limit of " + std::to_string(instructions_max_) + " instructions is more than the " +
           std::to_string(limits.instructions_max) + " that a program may have";
  }
  if (memory_bytes_max_ > limits.memory_bytes_max) {
    return "a limit of " + std::to_string(memory_bytes_max_) +
           " bytes of memory is more than the " + std::to_string(limits.memory_bytes_max) +
           " that a program may have";
  }
  size_t bytes = program_.source.size() + program_.name.size();
  if (program_.source.size() > message::kSourceBytesMax) {
    return "the program has " + std::to_string(program_.source.size()) + " bytes, and " +
           std::to_string(message::kSourceBytesMax) + " is the limit";
  }
  for (const std::string& each : program_.arguments) bytes += each.size() + 8;
  if (bytes > message::kFrameBytesMax / 2) return "its arguments are too long";
  return std::nullopt;
}

Task<> Programs::Run::work() {
  if (auto wrong = wrong_limits()) {
    fail_with(EINVAL, *std::move(wrong));
    co_return {};
  }
  Task<> attempting = attempt();
  const Result<> done = co_await std::move(attempting);
  if (!done) {
    const verb::Refusal refusal = verb::refusal_of(done.error());
    fail_with(refusal.error, refusal.message);
  }
  put_away();
  const bool had_turn = session_.transaction != nullptr || state_ != ProgramView::State::waiting;
  session_.transaction.reset();
  session_.turn.release();
  outcome.elapsed_ns = sync_.now_ns() - started_ns_;
  if (failed() && had_turn && program_.sync) {
    Task<> recording = record_failure();
    (void)co_await std::move(recording);
  }
  co_return {};
}

Task<> Programs::Run::attempt() {
  Task<pool::Pool::Session> beginning = pool_.begin(&ticket_);
  Result<pool::Pool::Session> session = co_await std::move(beginning);
  if (stopped()) co_return {};
  if (!session) co_return std::unexpected(session.error());
  session_ = *std::move(session);
  facts_.emplace(pool_, host_, now_s_, verb::Asker{.caller = program_.caller});
  Task<> starting = start();
  co_await ok(std::move(starting));
  if (stopped()) co_return {};
  began_ = true;
  if (trace::on(trace::Point::program_begin)) [[unlikely]]
    fire_begin();
  Clerk clerk(pool_, *session_.transaction, *facts_,
              {.sync = program_.sync,
               .traces = observer_ != nullptr && observer_->traces(),
               .gate = host_.gate()});
  Task<> conversing = converse(clerk);
  Result<> conversed = co_await std::move(conversing);
  put_away();
  if (stopped()) co_return {};
  if (!conversed) co_return std::move(conversed);
  Task<> concluding = conclude(clerk);
  co_return co_await std::move(concluding);
}

Task<> Programs::Run::start() {
  InterpreterLimits limits{.cpu_ns_max = programs_.limits_.cpu_ns_max,
                           .memory_bytes_max = memory_bytes_max_};
  Task<std::unique_ptr<Interpreter>> starting = programs_.interpreters_.start(limits);
  interpreter_ = co_await ok(std::move(starting));
  state_ = ProgramView::State::running;
  co_return {};
}

Task<> Programs::Run::converse(Clerk& clerk) {
  FrameStream stream(interpreter_->socket());
  message::List argv;
  for (const std::string& each : program_.arguments) argv.emplace_back(each);
  const Begin begin{.sync = program_.sync,
                    .instructions_max = instructions_max_,
                    .memory_bytes_max = memory_bytes_max_,
                    .pool = pool_.name(),
                    .name = program_.name,
                    .source = program_.source,
                    .argument = message::Record{{"argv", std::move(argv)}}};
  cpu_seen_ns_ = interpreter_->cpu_ns();
  peer_turn(true);
  Task<> sending = stream.send(message::encode(begin));
  Result<> sent = co_await std::move(sending);
  turn_began_ns_ = sync_.now_ns();
  while (sent && !failed() && !ended_) {
    peer_turn(true);
    Task<FrameStream::Frame> receiving = stream.next();
    const Result<FrameStream::Frame> frame = co_await std::move(receiving);
    peer_turn(false);
    if (stopped()) co_return {};
    if (!frame) {
      Task<> losing = lost(frame.error());
      co_return co_await std::move(losing);
    }
    Task<> answering = answer(clerk, stream, *frame);
    sent = co_await std::move(answering);
  }
  if (sent || stopped()) co_return {};
  Task<> losing = lost(sent.error());
  co_return co_await std::move(losing);
}

// An error: the answer could not be sent.
Task<> Programs::Run::answer(Clerk& clerk, FrameStream& stream, FrameStream::Frame frame) {
  const u64 began_ns = sync_.now_ns();
  if (frame.kind == FrameKind::end) {
    auto end = message::decode<End>(frame.body);
    if (!end || stream.more()) {
      fail_with(EPROTO, "its interpreter sent an end that makes no sense");
      co_return {};
    }
    ended(*std::move(end));
    co_return {};
  }
  std::optional<Ask> ask;
  if (frame.kind == FrameKind::ask) ask = message::decode<Ask>(frame.body);
  if (!ask || stream.more()) {
    fail_with(EPROTO, !ask ? "its interpreter sent a question that makes no sense"
                           : "its interpreter asked again before it had its answer");
    co_return {};
  }
  if (clerk.needs_preparing(*ask)) {
    Task<> preparing = clerk.prepare(*ask);
    const Result<> prepared = co_await std::move(preparing);
    if (stopped()) co_return {};
    if (!prepared) {
      const verb::Refusal refusal = verb::refusal_of(prepared.error());
      fail_with(refusal.error, refusal.message);
      co_return {};
    }
  }
  const message::Call call = ask->call;
  const u16 verb = ask->verb;
  auto reply = clerk.answer(*std::move(ask));
  if (!reply) {
    fail_with(EPROTO, "its interpreter sent nonsense: " + reply.error());
    co_return {};
  }
  const u64 now_ns = sync_.now_ns();
  const u64 elapsed_ns = now_ns - began_ns;
  if (call != message::Call::page && call != message::Call::drop) {
    ++outcome.verbs;
    const bool is_verb = call <= message::Call::try_;
    const std::string_view name = is_verb ? verb::table()[verb].name : name_of(call);
    if (trace::on(trace::Point::program_verb)) [[unlikely]]
      fire_verb(call, name, static_cast<u32>(reply->error), elapsed_ns);
    if (observer_ != nullptr && observer_->traces()) {
      VerbEvent event{.number = outcome.verbs,
                      .mode = name_of(call),
                      .command = std::move(reply->command),
                      .error = reply->error,
                      .message = std::move(reply->message),
                      .elapsed_ns = elapsed_ns};
      Task<> telling = observer_->saw(std::move(event));
      (void)co_await std::move(telling);
      if (stopped()) co_return {};
    }
  }
  peer_turn(true);  // It may be that it does not take the answer.
  Task<> sending = stream.send(std::move(reply->frame));
  co_await ok(std::move(sending));
  if (++asks_in_turn_ >= kAsksPerTurn || now_ns - turn_began_ns_ >= kTurnNs) {
    asks_in_turn_ = 0;
    co_await rt::yield(sync_);
    turn_began_ns_ = sync_.now_ns();
  }
  co_return {};
}

void Programs::Run::fire_begin() const {
  coppice_program_begin view{
      .time_ns = sync_.now_ns(), .pool = pool_.guid(), .program = id_, .name = {}};
  trace::set_text(view.name, program_.name);
  trace::fire(view);
}

void Programs::Run::fire_verb(message::Call call, std::string_view name, u32 error,
                              u64 elapsed_ns) const {
  const coppice_call_mode mode = call == message::Call::sync    ? COPPICE_CALL_SYNC
                                 : call == message::Call::check ? COPPICE_CALL_CHECK
                                 : call == message::Call::try_  ? COPPICE_CALL_TRY
                                                                : COPPICE_CALL_OTHER;
  coppice_program_verb view{.time_ns = sync_.now_ns(),
                            .pool = pool_.guid(),
                            .program = id_,
                            .sequence = outcome.verbs,
                            .latency_ns = elapsed_ns,
                            .error = error,
                            .mode = mode,
                            .verb = {}};
  trace::set_text(view.verb, name);
  trace::fire(view);
}

void Programs::Run::fire_end() const {
  trace::fire(coppice_program_end{.time_ns = started_ns_ + outcome.elapsed_ns,
                                  .pool = pool_.guid(),
                                  .program = id_,
                                  .latency_ns = outcome.elapsed_ns,
                                  .verbs = outcome.verbs,
                                  .instructions = outcome.instructions,
                                  .error = static_cast<u32>(outcome.error),
                                  .began = began_});
}

void Programs::Run::ended(End end) {
  ended_ = true;
  outcome.instructions = end.instructions;
  outcome.memory_peak_bytes = end.memory_peak_bytes;
  if (end.traceback.size() > kTracebackMax) end.traceback.resize(kTracebackMax);
  outcome.traceback = std::move(end.traceback);
  switch (end.ending) {
    case Ending::returned: outcome.value = std::move(end.value); return;
    case Ending::failed: return fail_with(ECHRNG, std::move(end.message));
    case Ending::instructions: return fail_with(ETIME, std::move(end.message));
    case Ending::memory: return fail_with(ENOSPC, std::move(end.message));
    case Ending::syntax: return fail_with(EINVAL, std::move(end.message));
    case Ending::result: return fail_with(end.too_big ? ENOMEM : EINVAL, std::move(end.message));
  }
}

// The stream ended, or what came is no frame: the process says why, if it died.
Task<> Programs::Run::lost(Error error) {
  if (error.code == Errc::corrupt) {
    fail_with(EPROTO, "its interpreter sent nonsense: " + describe(error));
    co_return {};
  }
  interpreter_->kill();
  Task<Interpreter::Exit> waiting = interpreter_->wait();
  const Result<Interpreter::Exit> exit = co_await std::move(waiting);
  interpreter_.reset();
  if (stopped()) co_return {};
  if (!exit) co_return std::unexpected(exit.error());
  if (exit->signal == SIGPROF) {
    fail_with(ETIME, "it used more than the " +
                         std::to_string(programs_.limits_.cpu_ns_max / 1'000'000'000) +
                         " s of CPU time that a program may have");
  } else if (exit->signal != 0) {
    fail_with(EIO, "its interpreter was killed by " + signal_text(exit->signal));
  } else {
    fail_with(EIO, "its interpreter exited with status " + std::to_string(exit->status) +
                       " before the program ended");
  }
  co_return {};
}

void Programs::Run::put_away() {
  if (interpreter_ != nullptr) programs_.see_off(std::move(interpreter_));
}

}  // namespace coppice::channel
