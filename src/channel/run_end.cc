// How a program ends: its consent, its commit, its record.
#include <cerrno>
#include <cstring>

#include "channel/run.h"

namespace coppice::channel {
namespace {

constexpr size_t kCommandBytesMax = 16_KiB;  // Of a record: arguments beyond it are not shown.
constexpr size_t kArgumentsShownMax = 64_KiB;

std::string result_text(const Outcome& outcome) {
  if (outcome.error == 0) return "ok";
  const char* name = ::strerrorname_np(outcome.error);
  return (name != nullptr ? name : "error " + std::to_string(outcome.error)) + ": " +
         outcome.message;
}

}  // namespace

std::string Programs::Run::program_json() const {
  std::string json = "{\"name\":" + verb::to_json(program_.name);
  json += ",\"sha256\":\"" + sha256_hex(program_.source) + "\",\"arguments\":[";
  size_t shown = 0;
  for (const std::string& each : program_.arguments) {
    shown += each.size() + 8;
    if (shown > kArgumentsShownMax) break;
    if (json.back() != '[') json += ',';
    json += verb::to_json(each);
  }
  const auto number = [&json](const char* name, u64 value) {
    json.append(",\"").append(name).append("\":").append(std::to_string(value));
  };
  json += ']';
  number("instructions", outcome.instructions);
  number("verbs", outcome.verbs);
  number("memory_peak_bytes", outcome.memory_peak_bytes);
  number("elapsed_us", (sync_.now_ns() - started_ns_) / 1000);
  return json + ",\"sync\":" + (program_.sync ? "true" : "false") + "}";
}

pool::HistoryRecord Programs::Run::history() const {
  pool::HistoryRecord record;
  record.time_s = now_s_;
  record.elapsed_us = (sync_.now_ns() - started_ns_) / 1000;
  record.who = program_.caller;
  record.command = "program ";
  verb::append_quoted(record.command, program_.name);
  record.command += " sha256=" + sha256_hex(program_.source);
  for (const std::string& each : program_.arguments) {
    if (record.command.size() + each.size() > kCommandBytesMax) {
      record.command += " ...";
      break;
    }
    record.command += ' ';
    verb::append_quoted(record.command, each);
  }
  record.result = result_text(outcome);
  return record;
}

Task<> Programs::Run::conclude(Clerk& clerk) {
  Journal& journal = clerk.journal();
  settle_names(*session_.transaction, journal.changes().effects);
  const bool decides = observer_ != nullptr && observer_->decides();
  std::string effects;
  if (decides || program_.sync) effects = journal.effects(program_json());
  if (decides) {
    Task<bool> asking = observer_->agree(effects);
    const Result<bool> agreed = co_await std::move(asking);
    if (stopped()) co_return {};
    if (!agreed || !*agreed) {
      fail_with(EINTR, "its changes were not agreed to");
      co_return {};
    }
  }
  if (program_.sync) {
    Task<> committing = commit(clerk, std::move(effects));
    co_await ok(std::move(committing));
    outcome.effects = std::move(journal.changes().effects);
  }
  outcome.report = std::move(journal.changes().report);
  co_return {};
}

Task<> Programs::Run::commit(Clerk& clerk, std::string effects) {
  state_ = ProgramView::State::committing;
  pool::HistoryRecord record = history();
  record.effects = std::move(effects);
  // An unpinned export that starts or stops changes nothing in the pool: the record is all there
  // is.
  if (session_.transaction->empty()) {
    Task<> recording = pool_.record(std::move(record));
    co_return co_await std::move(recording);
  }
  CHECK(clerk.journal().verbs() > 0);
  Task<pool::Txg> committing = pool_.commit(std::move(session_), std::move(record));
  outcome.txg = co_await ok(std::move(committing));
  co_return {};
}

Task<> Programs::Run::record_failure() {
  pool::HistoryRecord record = history();
  record.effects = "{\"program\":" + program_json() + "}";
  Task<> recording = pool_.record(std::move(record));
  co_return co_await std::move(recording);
}

}  // namespace coppice::channel
