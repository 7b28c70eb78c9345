// channel/clerk.h — answers what one program asks, on its transaction.
//
// Theory. Every question is answered from the transaction's own view, so a program sees what it did
// before, and check answers what sync would. Nothing here waits but prepare(), which asks the pool
// for what only the dead index knows. A verb that is refused has changed nothing; a question that
// makes no sense is answered with a fatal error, which is the program's to live or die with. Only
// what no honest interpreter sends (a verb or a number that does not exist) is an offence.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "channel/journal.h"
#include "channel/lists.h"
#include "message/program.h"
#include "verb/accounts.h"
#include "verb/admin.h"

namespace coppice::channel {

// One program changes at most so many objects; and has so many savepoints open.
inline constexpr size_t kChangesMax = 1'000'000;
inline constexpr size_t kSavepointsMax = 1024;

class Clerk {
 public:
  struct Options {
    bool sync = true;            // The program may change the pool.
    bool traces = false;         // Reply::command is wanted.
    verb::Gate* gate = nullptr;  // Null: every verb is admitted.
  };
  Clerk(pool::Pool& pool, pool::Transaction& transaction, const verb::Facts& facts,
        Options options);

  struct Reply {
    std::vector<std::byte> frame;
    int error = 0;
    std::string message;
    std::string command;  // As a person would write it; only if traced.
  };
  // Only if needs_preparing(): to be awaited before answer().
  bool needs_preparing(const message::Ask& ask) const;
  Task<> prepare(message::Ask ask);
  // Else the offence. What it undoes or adds to is in journal().
  std::expected<Reply, std::string> answer(message::Ask ask);

  Journal& journal() { return journal_; }

 private:
  struct Savepoint {
    u64 number = 0;
    size_t at = 0;  // Of the transaction.
    Journal::Mark mark;
  };
  using Values = message::List;

  message::Answer answer_value(message::Ask& ask, std::string& command);
  std::optional<verb::Refusal> ask_gate(const verb::Row& row, const verb::Arguments& arguments,
                                        bool dry_run);
  message::Answer run_verb(message::Ask& ask, std::string& command);
  message::Answer apply(const verb::Row& row, const verb::Arguments& arguments);
  message::Answer get(const Values& arguments);
  message::Answer exists(const Values& arguments) const;
  message::Answer list(const Values& arguments);
  message::Answer savepoint();
  message::Answer end_savepoint(const Values& arguments, bool undo);
  std::expected<Reply, std::string> page(const message::Ask& ask);
  std::optional<verb::Target> snapshot_asked(const message::Ask& ask) const;

  pool::Transaction& transaction_;
  const verb::Facts& facts_;
  const Options options_;
  const std::string pool_name_;
  verb::Ledger ledger_;
  verb::Reader reader_;
  Lists lists_;
  Journal journal_;
  std::vector<Savepoint> savepoints_;
  u64 savepoint_next_ = 1;
};

// Its name, as traces and probes show it: "check", "try", ...
std::string_view name_of(message::Call call);

}  // namespace coppice::channel
