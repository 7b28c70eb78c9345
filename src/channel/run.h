// channel/run.h — one program, from waiting for its turn to its end: for programs.cc and run*.cc.
//
// Theory. work() goes through the steps in order; each ends in an Error (of the engine), or sets
// failed() and returns, after which the rest is only clearing up: the interpreter's process is
// killed (its end is waited for by Programs), the transaction dropped, the turn given back, the
// record written. kill() may come at every wait: it notes why, kills the interpreter or takes the
// run out of the queue for the turn, and whatever was waited for ends; the step then sees killed_.
#pragma once

#include "channel/clerk.h"
#include "channel/programs.h"
#include "channel/stream.h"

namespace coppice::channel {

struct Programs::Run {
  Run(Programs& programs, ProgramId id, pool::Pool& pool, const verb::Host& host, Program program,
      Observer* observer);

  Task<> work();  // Never fails; fills `outcome`.
  bool kill(int error, std::string why);
  void watch(u64 now_ns);  // Now and then: kills what hangs.
  ProgramView view() const;
  void fire_end() const;  // The tracepoint.

  Outcome outcome;

 private:
  Task<> attempt();
  std::optional<std::string> wrong_limits() const;
  Task<> start();
  Task<> converse(Clerk& clerk);
  Task<> answer(Clerk& clerk, FrameStream& stream, FrameStream::Frame frame);
  Task<> tell(const message::Ask& ask, const Clerk::Reply& reply, u64 elapsed_ns);
  Task<> lost(Error error);
  void ended(message::End end);
  void put_away();  // The interpreter, whatever it does.
  Task<> conclude(Clerk& clerk);
  Task<> commit(Clerk& clerk, std::string effects);
  Task<> record_failure();
  pool::HistoryRecord history() const;
  void fire_begin() const;
  void fire_verb(message::Call call, std::string_view name, u32 error, u64 elapsed_ns) const;
  std::string program_json() const;
  void fail_with(int error, std::string message);
  bool failed() const { return outcome.error != 0; }
  bool stopped();  // Killed: then it is failed from here on.
  void peer_turn(bool theirs);

  Programs& programs_;
  rt::Executor& sync_;
  const ProgramId id_;
  pool::Pool& pool_;
  const verb::Host& host_;
  Program program_;
  Observer* observer_;
  u64 instructions_max_ = 0, memory_bytes_max_ = 0;

  ProgramView::State state_ = ProgramView::State::waiting;
  u64 started_ns_ = 0, now_s_ = 0;
  rt::Mutex::Ticket ticket_;
  pool::Pool::Session session_;
  std::optional<verb::PoolFacts> facts_;
  std::unique_ptr<Interpreter> interpreter_;
  bool began_ = false;  // It had the pool and an interpreter.
  bool ended_ = false;  // End has come.
  int killed_ = 0;      // The errno that it ends with.
  std::string why_killed_;
  u64 theirs_since_ns_ = 0;  // It is the interpreter's turn to say something; 0: it is ours.
  u64 cpu_seen_ns_ = 0;
  u64 turn_began_ns_ = 0;  // Of the lane, when others had theirs last.
  u32 asks_in_turn_ = 0;
};

}  // namespace coppice::channel
