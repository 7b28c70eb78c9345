#include "cli/channel_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <kj/io.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "cli/size.h"
#include "cli/verbs.h"

namespace coppice::cli {
namespace {

constexpr size_t kSourceBytesMax = 1024 * 1024;  // The daemon takes no more.
constexpr size_t kIndent = 4;

// Of a regular file, a pipe or standard input.
Attempt<std::string> read_source(const std::string& script) {
  const bool standard = script == "-";
  kj::AutoCloseFd fd(standard ? ::dup(STDIN_FILENO)
                              : ::open(script.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  const auto why = [&] {
    return refuse(fmt::format("cannot read the program '{}': {}", script, std::strerror(errno)));
  };
  if (fd.get() < 0) return why();
  std::string source;
  char buffer[64 * 1024];
  while (source.size() <= kSourceBytesMax) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return why();
    if (got == 0) return source;
    source.append(buffer, static_cast<size_t>(got));
  }
  return refuse(fmt::format("cannot run the program '{}': it has more than {} bytes", script,
                            kSourceBytesMax));
}

std::string name_of_script(const std::string& script) {
  const size_t slash = script.rfind('/');
  return slash == script.npos ? script : script.substr(slash + 1);
}

Attempt<u64> limit_of(const std::string& text, const char* flag) {
  if (text.empty()) return u64{0};
  const auto number = parse_size(text);
  if (!number || *number == 0)
    return misuse(fmt::format("{} takes a number above 0, not '{}'", flag, text));
  return *number;
}

std::string text_of(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

// --- Who watches

// Asks the person at the terminal. The daemon waits, and so do other commands on the pool.
bool ask_person() {
  fmt::print(stderr, "Commit this? [y/N] ");
  std::fflush(stderr);
  std::string line;
  if (!std::getline(std::cin, line)) return false;
  return line == "y" || line == "Y" || line == "yes";
}

class Observer final : public schema::ProgramObserver::Server {
 public:
  explicit Observer(const ProgramOptions& options) : options_(options) {}

  kj::Promise<void> saw(SawContext context) override {
    const auto event = context.getParams().getEvent();
    const std::string outcome =
        event.getErrno() == 0
            ? "ok"
            : fmt::format("{} ({})", text_of(event.getErrnoName()), text_of(event.getMessage()));
    fmt::print(stderr, "{:>6} {:>8} {:<9} {}{}\n", event.getNumber(),
               show_nanoseconds(event.getElapsedNs()), text_of(event.getMode()),
               text_of(event.getCommand()),
               event.getErrno() == 0 && text_of(event.getMode()) == "note" ? "" : " -> " + outcome);
    return kj::READY_NOW;
  }

  kj::Promise<void> agree(AgreeContext context) override {
    const std::string effects = text_of(context.getParams().getEffects());
    fmt::print(stderr, "{}", explain_effects(effects));
    context.getResults().setGo(options_.yes || options_.read_only || ask_person());
    return kj::READY_NOW;
  }

 private:
  const ProgramOptions& options_;
};

// --- How it ended

Failure said() { return {"", kExitRefused}; }  // Everything is on stderr already.

Attempt<> show_failure(schema::ProgramResult::Reader result) {
  constexpr int kTimedOut = ETIME;
  fmt::print(stderr, "Channel program execution failed:\n{}\n", text_of(result.getMessage()));
  std::string traceback = text_of(result.getTraceback());
  while (!traceback.empty() && traceback.front() == '\n') traceback.erase(0, 1);
  if (!traceback.empty())
    fmt::print(stderr, "stack traceback:\n{}{}", traceback, traceback.back() == '\n' ? "" : "\n");
  if (result.getErrno() == kTimedOut && result.getInstructions() > 0)
    fmt::print(stderr, "{} Lua instructions\n", result.getInstructions());
  return std::unexpected(said());
}

void show_value(schema::Value::Reader value, bool json) {
  nlohmann::ordered_json shown = nlohmann::ordered_json::object();
  if (!value.isNull()) shown["return"] = decode_value(value);
  if (json) {
    fmt::print("{}\n",
               shown.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else if (shown.empty()) {
    fmt::print("Channel program fully executed and did not produce output.\n");
  } else {
    fmt::print("Channel program fully executed and produced output:\n");
    for (const auto& [name, each] : shown.items())
      fmt::print("{}", dump_value(name, each, kIndent));
  }
}

}  // namespace

std::string dump_value(const std::string& name, const nlohmann::ordered_json& value,
                       size_t indent) {
  const std::string margin(indent, ' ');
  if (value.is_null()) return fmt::format("{}{}\n", margin, name);
  if (value.is_string())
    return fmt::format("{}{}: '{}'\n", margin, name, value.get_ref<const std::string&>());
  if (value.is_object()) {
    std::string all = fmt::format("{}{}:\n", margin, name);
    for (const auto& [key, each] : value.items()) all += dump_value(key, each, indent + kIndent);
    return all;
  }
  if (value.is_array()) {
    std::string all = fmt::format("{}{}:\n", margin, name);
    for (size_t i = 0; i < value.size(); ++i)
      all += dump_value(std::to_string(i + 1), value[i], indent + kIndent);
    return all;
  }
  return fmt::format("{}{}: {}\n", margin, name, value.dump());
}

std::string explain_effects(const std::string& effects) {
  const auto parsed = nlohmann::ordered_json::parse(effects, nullptr, false);
  if (!parsed.is_object()) return "The program changes: " + effects + "\n";
  const auto changes = parsed.contains("changes") ? parsed["changes"] : parsed;
  std::string lines;
  const auto list = [&](const char* field, const char* word) {
    const auto names = texts_of(changes, field);
    for (const std::string& name : names) lines += fmt::format("  {:<9}{}\n", word, name);
    const std::string count = std::string(field) + "_count";
    if (changes.is_object() && changes.contains(count))
      lines += fmt::format("  ... {} of {} are shown\n", names.size(), changes[count].dump());
  };
  list("created", "create");
  list("destroyed", "destroy");
  list("deferred", "defer");
  list("changed", "change");
  if (changes.is_object() && changes.contains("effects"))
    for (const auto& each : changes["effects"])
      if (each.is_object() && each.contains("effect"))
        lines += fmt::format("  {:<9}{}\n", "effect", each.dump());
  return lines.empty() ? "The program changes nothing.\n" : "The program changes:\n" + lines;
}

Attempt<> run_program(Session& session, const ProgramOptions& options) {
  if (options.explain && options.script == "-" && !options.yes && !options.read_only)
    return misuse("--explain asks on standard input, where the program comes from: add --yes");
  TRY(const u64 instructions, limit_of(options.instructions, "-t"));
  TRY(const u64 memory, limit_of(options.memory, "-m"));
  TRY(const std::string source, read_source(options.script));
  TRY(Connection * connection, session.connect());
  // All three questions at once: the way to the daemon takes as long as a small program.
  auto finding = connection->send_for_pool(options.pool);
  auto request = finding.getValue().startProgramRequest();
  auto spec = request.initSpec();
  spec.setName(name_of_script(options.script));
  spec.setSource(kj::arrayPtr(reinterpret_cast<const kj::byte*>(source.data()), source.size()));
  auto arguments = spec.initArguments(static_cast<u32>(options.arguments.size()));
  for (u32 i = 0; i < arguments.size(); ++i) arguments.set(i, options.arguments[i]);
  spec.setReadOnly(options.read_only);
  spec.setInstructionsMax(instructions);
  spec.setMemoryBytesMax(memory);
  spec.setTraces(options.trace);
  spec.setDecides(options.explain);
  if (options.trace || options.explain) spec.setObserver(kj::heap<Observer>(options));
  auto starting = request.send();
  auto ending = starting.getValue().waitRequest().send();
  TRY_VOID(connection->take(kj::mv(finding)));
  // Kept until the end: a program that nobody holds is ended.
  TRY(const auto started, connection->take(kj::mv(starting)));
  TRY(const auto ended, connection->take(kj::mv(ending)));
  const auto result = ended.getValue();
  if (result.getErrno() != 0) return show_failure(result);
  show_value(result.getValue(), options.json);
  return {};
}

}  // namespace coppice::cli
