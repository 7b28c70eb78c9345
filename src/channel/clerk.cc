#include "channel/clerk.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "channel/conversion.h"
#include "verb/names.h"

namespace coppice::channel {

using message::Answer;
using message::Ask;
using message::Call;
using message::Value;
using verb::Target;

namespace {

Answer fatal(int error, std::string message) {
  return {.error = error, .fatal = true, .value = {}, .message = std::move(message)};
}
Answer value_answer(Value value) { return {.value = std::move(value), .message = {}}; }

const std::string* text_at(const message::List& arguments, size_t index) {
  return index < arguments.size() ? std::get_if<std::string>(&arguments[index].data) : nullptr;
}
std::optional<u64> number_at(const message::List& arguments, size_t index) {
  if (index >= arguments.size()) return std::nullopt;
  const i64* number = std::get_if<i64>(&arguments[index].data);
  if (number == nullptr || *number < 0) return std::nullopt;
  return static_cast<u64>(*number);
}

Answer outside(std::string_view doing, std::string_view name, std::string_view pool) {
  return fatal(EXDEV, "cannot " + std::string(doing) + " '" + std::string(name) +
                          "': it is not in pool '" + std::string(pool) +
                          "', and a program reaches one pool");
}

bool is_verb(Call call) { return call == Call::check || call == Call::sync || call == Call::try_; }

Answer refused(verb::Refusal refusal) {
  message::List details;
  details.reserve(refusal.details.size());
  for (std::string& each : refusal.details) details.emplace_back(std::move(each));
  return {
      .error = refusal.error, .value = std::move(details), .message = std::move(refusal.message)};
}

size_t objects_in(const verb::Changes& changes) {
  const verb::Report& report = changes.report;
  return report.created.size() + report.destroyed.size() + report.deferred.size() +
         report.changed.size() + changes.effects.size();
}

// What was asked that is no verb: its texts and numbers.
std::string words_of(const Ask& ask) {
  std::string line;
  for (const Value& each : ask.positional) {
    if (!line.empty()) line += ' ';
    if (const auto* text = std::get_if<std::string>(&each.data)) {
      verb::append_quoted(line, *text);
    } else if (const i64* number = std::get_if<i64>(&each.data)) {
      line += std::to_string(*number);
    }
  }
  return line;
}

}  // namespace

std::string_view name_of(Call call) {
  switch (call) {
    case Call::check: return "check";
    case Call::sync: return "sync";
    case Call::try_: return "try";
    case Call::get: return "get";
    case Call::exists: return "exists";
    case Call::list: return "list";
    case Call::page: return "page";
    case Call::drop: return "drop";
    case Call::savepoint: return "savepoint";
    case Call::keep: return "keep";
    case Call::roll_back: return "roll_back";
    case Call::note: return "note";
  }
  return "unknown";
}

Clerk::Clerk(pool::Pool& pool, pool::Transaction& transaction, const verb::Facts& facts,
             Options options)
    : transaction_(transaction),
      facts_(facts),
      options_(options),
      pool_name_(transaction.dataset(transaction.root())->name),
      ledger_(transaction, facts),
      reader_(transaction, facts, &pool, &ledger_),
      lists_(transaction, facts, reader_) {}

// ------------------------------------------------------------------ what needs the pool

// The snapshot whose `used` is asked for, or the volume whose written@ is.
std::optional<Target> Clerk::snapshot_asked(const Ask& ask) const {
  const bool lists = ask.call == Call::list;
  if (!lists && ask.call != Call::get) return std::nullopt;
  const std::string* name = text_at(ask.positional, lists ? 1 : 0);
  const std::string* what = text_at(ask.positional, lists ? 0 : 1);
  if (name == nullptr || what == nullptr) return std::nullopt;
  const bool used = lists ? *what == "properties" : *what == "used";
  if (!used && !what->starts_with("written@")) return std::nullopt;
  auto target = verb::find_target(transaction_, *name);
  if (!target || (used && raw(target->snapshot) == 0)) return std::nullopt;
  return *target;
}

bool Clerk::needs_preparing(const Ask& ask) const {
  if (ask.call != Call::get && ask.call != Call::list) return false;
  return snapshot_asked(ask).has_value();
}

Task<> Clerk::prepare(Ask ask) {
  const auto target = snapshot_asked(ask);
  CHECK(target.has_value());
  std::vector<Target> targets(1, *target);
  std::vector<std::string> names(1, ask.call == Call::list ? "used" : *text_at(ask.positional, 1));
  Task<> preparing = reader_.prepare(std::move(targets), std::move(names));
  co_return co_await std::move(preparing);
}

// ------------------------------------------------------------------ answers

std::expected<Clerk::Reply, std::string> Clerk::answer(Ask ask) {
  if (is_verb(ask.call) && ask.verb >= verb::table().size())
    return std::unexpected("it asked for a verb that does not exist");
  if (ask.call == Call::page) return page(ask);
  Reply reply;
  Answer answer = answer_value(ask, reply.command);
  reply.error = answer.fatal && answer.error == 0 ? EINVAL : answer.error;
  reply.frame = message::encode(answer);
  if (reply.frame.size() > message::kAskBytesMax) {
    const Answer big =
        fatal(E2BIG, "the answer is too big: " + std::to_string(reply.frame.size()) + " bytes");
    reply.error = big.error;
    reply.frame = message::encode(big);
    answer.message = big.message;
  }
  reply.message = std::move(answer.message);
  return reply;
}

Answer Clerk::answer_value(Ask& ask, std::string& command) {
  if (options_.traces && !is_verb(ask.call)) command = words_of(ask);
  switch (ask.call) {
    case Call::check:
    case Call::sync:
    case Call::try_: return run_verb(ask, command);
    case Call::get: return get(ask.positional);
    case Call::exists: return exists(ask.positional);
    case Call::list: return list(ask.positional);
    case Call::page: break;  // Written straight into its frame.
    case Call::drop:
      if (const auto cursor = number_at(ask.positional, 0)) lists_.drop(*cursor);
      return {};
    case Call::savepoint: return savepoint();
    case Call::keep: return end_savepoint(ask.positional, false);
    case Call::roll_back: return end_savepoint(ask.positional, true);
    case Call::note:
      if (const std::string* text = text_at(ask.positional, 0)) return {.message = *text};
      return fatal(EINVAL, "note: a text is missing");
  }
  CHECK(!"a call is answered");
  return {};
}

std::expected<Clerk::Reply, std::string> Clerk::page(const Ask& ask) {
  const auto cursor = number_at(ask.positional, 0);
  const auto from = number_at(ask.positional, 1);
  const auto count = number_at(ask.positional, 2);
  if (!cursor || !from || !count) return std::unexpected("it asked for a page without numbers");
  message::Encoder encoder = message::begin_frame(message::FrameKind::answer);
  encoder.put(i32{0});
  encoder.put(u8{0});
  Reply reply;
  if (auto done = lists_.page(*cursor, *from, *count, encoder); !done) {
    const Answer answer = fatal(EINVAL, std::move(done).error());
    reply.error = answer.error;
    reply.message = answer.message;
    reply.frame = message::encode(answer);
    return reply;
  }
  encoder.put(std::string_view());
  reply.frame = message::end_frame(encoder);
  return reply;
}

Answer Clerk::run_verb(Ask& ask, std::string& command) {
  const verb::Row& row = verb::table()[ask.verb];
  if (ask.call == Call::sync && !options_.sync) {
    return fatal(EPERM, "pool.sync." + std::string(row.name) +
                            " requires passing sync=TRUE: this program runs read-only (-n); "
                            "pool.try applies changes that are thrown away at the end");
  }
  auto bound = bind(row, std::move(ask.positional), std::move(ask.named));
  if (!bound) return fatal(EINVAL, std::move(bound).error());
  if (options_.traces) command = command_text(row, *bound);
  if (const std::string* name = name_outside(*bound, pool_name_))
    return outside(row.name, *name, pool_name_);
  const bool check = ask.call == Call::check;
  if (auto refusal = ask_gate(row, *bound, check || !options_.sync)) {
    return refused(*std::move(refusal));
  }
  if (!check) return apply(row, *bound);
  const verb::Context context(transaction_, facts_, &ledger_);
  if (auto refusal = row.check(context, *bound)) return refused(*std::move(refusal));
  return {};
}

std::optional<verb::Refusal> Clerk::ask_gate(const verb::Row& row, const verb::Arguments& arguments,
                                             bool dry_run) {
  if (options_.gate == nullptr) return std::nullopt;
  return options_.gate->admit({.row = row,
                               .arguments = arguments,
                               .caller = facts_.caller(),
                               .in_program = true,
                               .dry_run = dry_run});
}

Answer Clerk::apply(const verb::Row& row, const verb::Arguments& arguments) {
  verb::Changes& changes = journal_.changes();
  if (objects_in(changes) >= kChangesMax) {
    return fatal(E2BIG, std::string(row.name) + ": a program changes at most " +
                            std::to_string(kChangesMax) + " objects; do it in several programs");
  }
  verb::Context context(transaction_, facts_, &ledger_);
  const std::string target_before = std::exchange(changes.report.target, {});
  auto refusal = row.sync(context, arguments, changes);
  std::string target = changes.report.target;
  if (target.empty()) changes.report.target = target_before;
  if (refusal) return refused(*std::move(refusal));
  journal_.add(row.name, arguments);
  if (target.empty()) return {};
  return value_answer(message::Record{{"target", std::move(target)}});
}

Answer Clerk::get(const Values& arguments) {
  const std::string* name = text_at(arguments, 0);
  const std::string* property = text_at(arguments, 1);
  if (name == nullptr || property == nullptr || arguments.size() > 2)
    return fatal(EINVAL, "get: usage: get NAME PROPERTY");
  const std::string doing = "get " + *property + " of";
  if (is_outside(*name, pool_name_)) return outside(doing, *name, pool_name_);
  const auto target = verb::find_target(transaction_, *name);
  if (!target) {
    const std::string& why = target.error().message;
    const size_t at = why.find("': ");
    return fatal(target.error().error, "cannot " + doing + " '" + *name +
                                           "': " + (at == why.npos ? why : why.substr(at + 3)));
  }
  const auto found = reader_.value(*target, *property);
  if (!found) return fatal(found.error().error, found.error().message);
  if (!*found) return {};
  return value_answer(
      message::List{value_of(**found, *property), source_of(transaction_, *target, **found)});
}

Answer Clerk::exists(const Values& arguments) const {
  const std::string* name = text_at(arguments, 0);
  if (name == nullptr || arguments.size() > 1) return fatal(EINVAL, "exists: usage: exists NAME");
  if (is_outside(*name, pool_name_)) return outside("look for", *name, pool_name_);
  return value_answer(verb::find_target(transaction_, *name).has_value());
}

Answer Clerk::list(const Values& arguments) {
  const std::string* what = text_at(arguments, 0);
  const std::string* name = text_at(arguments, 1);
  if (what == nullptr || name == nullptr || arguments.size() > 2)
    return fatal(EINVAL, "list: usage: list WHAT NAME");
  if (is_outside(*name, pool_name_)) return outside("list " + *what + " of", *name, pool_name_);
  auto cursor = lists_.open(*what, *name);
  if (!cursor) return fatal(EINVAL, std::move(cursor).error());
  return value_answer(static_cast<i64>(*cursor));
}

// ------------------------------------------------------------------ savepoints

Answer Clerk::savepoint() {
  if (savepoints_.size() >= kSavepointsMax) {
    return fatal(
        E2BIG, "savepoint: " + std::to_string(kSavepointsMax) + " are open, and more are not kept");
  }
  savepoints_.push_back({savepoint_next_, transaction_.savepoint(), journal_.mark()});
  return value_answer(static_cast<i64>(savepoint_next_++));
}

// Younger ones, left open by a coroutine that was never finished, end with it.
Answer Clerk::end_savepoint(const Values& arguments, bool undo) {
  const auto number = number_at(arguments, 0);
  const auto place = std::find_if(savepoints_.begin(), savepoints_.end(), [&](const auto& each) {
    return number && each.number == *number;
  });
  if (place == savepoints_.end())
    return fatal(EINVAL, "savepoint: it is not open: it has ended, or an older one around it has");
  if (undo) {
    ledger_.before_roll_back(place->at);
    transaction_.roll_back_to(place->at);
    journal_.roll_back(place->mark);
  }
  savepoints_.erase(place, savepoints_.end());
  return {};
}

}  // namespace coppice::channel
