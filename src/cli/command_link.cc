// cli/command_link.cc — link: eBPF programs attached to hooks of volumes, of pools and of the
// daemon.
#include "cli/command.h"
#include "cli/link_attach.h"
#include "cli/link_set.h"
#include "cli/links.h"
#include "cli/size.h"

namespace coppice::cli {
namespace {

constexpr const char* kObjectHelp = "An object file of clang's, or the name of one that ships";

void add_choice(CLI::App& command, LinkChoice& choice) {
  command.add_option("LINK", choice.name, "Its number or name, as 'coppice link list' shows them");
  command.add_option("--fd", choice.fd, "The link that this descriptor of the caller's stands for")
      ->type_name("N");
}

void add_settings(CLI::App& command, ObjectWishes& object) {
  add_texts(command, "--set", object.settings, "VARIABLE=VALUE",
            "A global variable of the object, before it is verified (repeatable)");
}

// --- attach

void add_options(CLI::App& command, LinkWishes& link) {
  add_texts(command, "--go-on", link.go_on, "RESULT[,...]",
            "Results after which the next program runs (else the hook's own)");
  add_text(command, "--on-error", link.on_error, "pass|deny",
           "What becomes of a request whose run went wrong (pass)");
  add_texts(command, "--redirect", link.redirects, "VOLUME",
            "One that requests may be redirected to (repeatable; the first is number 0)");
  add_text(command, "--every", link.every, "DURATION", "How often a timer runs: 10ms, 2s, 5m");
  add_text(command, "--replace", link.replaces, "LINK:FUNCTION",
           "The global function of an attached program that the program takes the place of");
}

void add_attach(CommandLine& line, CLI::App& link) {
  auto wishes = std::make_shared<AttachWishes>();
  CLI::App& command = line.add(
      link, {.name = "attach",
             .summary = "Attach the programs of an object to the hooks that they are for",
             .example = "coppice link attach tank/vm rate_limit --set iops=1000 --pin limit\n"
                        "  coppice link attach tank/vm filter.o --program count -- my-server"});
  add_name(command, "TARGET", wishes->target, "A volume, a group, a pool, or / for the daemon");
  add_name(command, "OBJECT", wishes->object.file, kObjectHelp);
  command.add_option("COMMAND", wishes->command,
                     "After --: is run, and holds the link by the descriptor $COPPICE_LINK_FD. "
                     "Without it, and without --pin, this stays, and the link ends with it");
  add_texts(command, "--program", wishes->programs, "NAME",
            "Only this program of the object (repeatable)");
  add_text(command, "--pin", wishes->pin, "NAME",
           "Keep the link in the pool under this name, for restarts as well");
  add_settings(command, wishes->object);
  command.add_flag("--first", wishes->first, "Before all others at the hook (else behind them)");
  add_text(command, "--before", wishes->before, "LINK", "Right before this one");
  add_text(command, "--after", wishes->after, "LINK", "Right behind this one");
  add_options(command, wishes->link);
  add_text(command, "--min-tier", wishes->tier_min, "TIER",
           "Refuse programs that rely on less: stable or internal (internal)");
  command.add_flag("--json", wishes->json, "Print JSON");
  line.runs(command, [wishes](Session& session) {
    AttachWishes asked = *wishes;
    asked.link.go_on = split(asked.link.go_on, ',');
    return attach(session, asked);
  });
}

// --- list, info

struct ListWishes {
  std::string target, hook;
  Format format;
};

bool is_below(const std::string& target, const std::string& root) {
  return target == root || target.starts_with(root + "/");
}

Attempt<> list(Session& session, const ListWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY(const auto response, connection->ask(connection->host().linksRequest()));
  std::vector<schema::LinkInfo::Reader> links;
  Json facts = Json::array();
  for (auto each : response.getValue().getLinks()) {
    const auto info = each.getInfo();
    const std::string target = info.getTarget().size() == 0 ? kDaemon : info.getTarget().cStr();
    if (!wishes.target.empty() && !is_below(target, wishes.target)) continue;
    if (!wishes.hook.empty() && wishes.hook != info.getHook().cStr()) continue;
    links.push_back(info);
    facts.push_back(facts_of(info));
  }
  if (!wishes.format.json) {
    print(table_of(links), wishes.format);
    return {};
  }
  const auto table = response.getValue();
  const Json shown = {{"revision", table.getRevision()},
                      {"swaps", table.getSwaps()},
                      {"quiescence_ns_last", table.getQuiescenceNsLast()},
                      {"quiescence_ns_max", table.getQuiescenceNsMax()},
                      {"links", std::move(facts)}};
  fmt::print("{}\n", shown.dump(2, ' ', false, Json::error_handler_t::replace));
  return {};
}

void add_list(CommandLine& line, CLI::App& link) {
  auto wishes = std::make_shared<ListWishes>();
  CLI::App& command =
      line.add(link, {.name = "list",
                      .summary = "List links, at each hook in the order in which they run",
                      .example = "coppice link list tank/vm"});
  command.add_option("TARGET", wishes->target, "Only those of it and of what is below it");
  add_text(command, "--hook", wishes->hook, "HOOK", "Only those at this hook");
  add_table_flags(command, wishes->format);
  line.runs(command, [wishes](Session& session) { return list(session, *wishes); });
}

struct ChoiceWishes {
  LinkChoice link;
  bool json = false;
};

void show_facts(const Json& facts) {
  for (const auto& [name, value] : facts.items()) {
    const bool nothing = value.is_string() ? value.get_ref<const std::string&>().empty()
                                           : value.is_structured() && value.empty();
    std::string text = value.is_string() ? value.get<std::string>() : show_value(value);
    if (name == "created_s") text = show_time(value.get<u64>());
    if (!nothing) fmt::print("{:<18}{}\n", name, text);
  }
}

Attempt<> info(Session& session, const ChoiceWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY(auto link, find_link(*connection, wishes.link));
  TRY(const auto response, connection->ask(link.infoRequest()));
  TRY(const auto maps, connection->ask(link.mapsRequest()));
  Json facts = facts_of(response.getValue());
  Json& names = facts["maps"] = Json::array();
  for (auto each : maps.getValue())
    names.push_back({{"id", each.getInfo().getId()}, {"name", each.getInfo().getName().cStr()}});
  if (wishes.json) {
    fmt::print("{}\n", facts.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    show_facts(facts);
  }
  return {};
}

void add_info(CommandLine& line, CLI::App& link) {
  auto wishes = std::make_shared<ChoiceWishes>();
  CLI::App& command = line.add(link, {.name = "info",
                                      .summary = "Show all there is to know of a link",
                                      .example = "coppice link info --fd $COPPICE_LINK_FD"});
  add_choice(command, wishes->link);
  command.add_flag("--json", wishes->json, "Print JSON");
  line.runs(command, [wishes](Session& session) { return info(session, *wishes); });
}

// --- detach, update

struct DetachWishes {
  std::vector<std::string> names;
  int fd = -1;
};

Attempt<> detach(Session& session, const DetachWishes& wishes) {
  std::vector<LinkChoice> choices;
  for (const std::string& each : wishes.names) choices.push_back({.name = each});
  if (wishes.fd >= 0 || choices.empty()) choices.push_back({.name = {}, .fd = wishes.fd});
  TRY(Connection * connection, session.connect());
  for (const LinkChoice& each : choices) {
    TRY(auto link, find_link(*connection, each));
    TRY_VOID(connection->ask(link.detachRequest()));
  }
  return {};
}

void add_detach(CommandLine& line, CLI::App& link) {
  auto wishes = std::make_shared<DetachWishes>();
  CLI::App& command =
      line.add(link, {.name = "detach",
                      .summary = "Detach links at once, whoever holds or pinned them",
                      .example = "coppice link detach 12 tank:limit"});
  command.add_option("LINK", wishes->names, "Their numbers or names");
  command
      .add_option("--fd", wishes->fd, "The link that this descriptor of the caller's stands for")
      ->type_name("N");
  line.runs(command, [wishes](Session& session) { return detach(session, *wishes); });
}

struct UpdateWishes {
  LinkChoice link;
  ObjectWishes object;
  std::string program, expected;
  bool json = false;
};

Attempt<> update(Session& session, const UpdateWishes& wishes) {
  LinkChoice choice = wishes.link;
  ObjectWishes object = wishes.object;
  // Of two words the first is the link, but with --fd there is only the object's.
  if (choice.fd >= 0 && object.file.empty()) std::swap(choice.name, object.file);
  if (object.file.empty()) return misuse("OBJECT is missing: what takes the program's place");
  TRY(Connection * connection, session.connect());
  TRY(auto link, find_link(*connection, choice));
  auto request = link.updateRequest();
  TRY_VOID(describe_object(object, request.initObject()));
  request.setProgram(wishes.program.c_str());
  request.setExpected(wishes.expected.c_str());
  TRY(const auto response, connection->ask(kj::mv(request)));
  if (wishes.json) {
    fmt::print("{}\n",
               facts_of(response.getValue()).dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    fmt::print("{}\n", line_of(response.getValue()));
  }
  return {};
}

void add_update(CommandLine& line, CLI::App& link) {
  auto wishes = std::make_shared<UpdateWishes>();
  CLI::App& command =
      line.add(link, {.name = "update",
                      .summary = "Put another program in the place of a link's (also: replace)",
                      .example = "coppice link update limit rate_limit --set iops=2000"});
  command.alias("replace");
  add_choice(command, wishes->link);
  command.add_option("OBJECT", wishes->object.file, kObjectHelp);
  add_text(command, "--program", wishes->program, "NAME",
           "Which one, if the object has several for the hook");
  add_settings(command, wishes->object);
  add_text(command, "--expect", wishes->expected, "HASH",
           "Only if the link's object is still this one ('object' of link info)");
  command.add_flag("--json", wishes->json, "Print JSON");
  line.runs(command, [wishes](Session& session) { return update(session, *wishes); });
}

// --- pin, unpin

struct PinWishes {
  LinkChoice link;
  std::string name;
  std::vector<std::string> command;
};

Attempt<> pin(Session& session, const PinWishes& wishes) {
  LinkChoice choice = wishes.link;
  std::string name = wishes.name;
  if (choice.fd >= 0 && name.empty()) std::swap(choice.name, name);
  if (name.empty()) return misuse("NAME is missing: what the link is called in its pool");
  TRY(Connection * connection, session.connect());
  TRY(auto link, find_link(*connection, choice));
  auto request = link.pinRequest();
  request.setName(name.c_str());
  TRY_VOID(connection->ask(kj::mv(request)));
  return {};
}

void add_pin(CommandLine& line, CLI::App& link) {
  auto wishes = std::make_shared<PinWishes>();
  CLI::App& command = line.add(
      link, {.name = "pin",
             .summary = "Keep a link in its pool, whoever lets go of it, and through restarts",
             .example = "coppice link pin 12 limit"});
  add_choice(command, wishes->link);
  command.add_option("NAME", wishes->name, "What it is called from now on");
  line.runs(command, [wishes](Session& session) { return pin(session, *wishes); });
}

Attempt<> unpin(Session& session, const PinWishes& wishes) {
  TRY(Connection * connection, session.connect());
  TRY(auto link, find_link(*connection, wishes.link));
  TRY(const auto response, connection->ask(link.unpinRequest()));
  if (wishes.command.empty()) return {};
  TRY(const kj::AutoCloseFd handle, connection->descriptor_of(response.getValue()));
  return hand_over(handle.get(), wishes.command);
}

void add_unpin(CommandLine& line, CLI::App& link) {
  auto wishes = std::make_shared<PinWishes>();
  CLI::App& command = line.add(link, {.name = "unpin",
                                      .summary = "Let a link end with its last holder again",
                                      .example = "coppice link unpin limit -- my-server"});
  add_choice(command, wishes->link);
  command.add_option("COMMAND", wishes->command,
                     "After --: is run, and holds the link by the descriptor $COPPICE_LINK_FD");
  line.runs(command, [wishes](Session& session) { return unpin(session, *wishes); });
}

// --- apply

void add_apply(CommandLine& line, CLI::App& link) {
  auto wishes = std::make_shared<ApplyWishes>();
  CLI::App& command =
      line.add(link, {.name = "apply",
                      .summary = "Bring hook points to exactly the links of a file, in one swap",
                      .example = "coppice link apply filters.json"});
  add_name(command, "FILE", wishes->file,
           "JSON, as docs/hooks.md describes it; - is standard input");
  command.add_flag("-n,--dry-run", wishes->dry_run, "Only say what would change");
  command.add_flag("--json", wishes->json, "Print JSON");
  line.runs(command, [wishes](Session& session) -> Attempt<> {
    TRY(Connection * connection, session.connect());
    return apply_link_set(*connection, *wishes);
  });
}

}  // namespace

void add_link_commands(CommandLine& line) {
  CLI::App& link =
      line.add(line.root(),
               {.name = "link",
                .summary = "Attach eBPF programs to volumes, to administration and to tracepoints",
                .example = "coppice link attach tank/vm rate_limit --set iops=1000 --pin limit",
                .group = "Programs"});
  link.require_subcommand(1);
  add_attach(line, link);
  add_list(line, link);
  add_info(line, link);
  add_update(line, link);
  add_pin(line, link);
  add_unpin(line, link);
  add_detach(line, link);
  add_apply(line, link);
}

}  // namespace coppice::cli
