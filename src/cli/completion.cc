// cli/completion.cc — what a half-typed command line can become, from the commands' own words and
// the daemon's names.
#include <algorithm>
#include <string_view>

#include "cli/command.h"
#include "cli/rows.h"
#include "cli/shared_folder.h"

namespace coppice::cli {
namespace {

constexpr size_t kCandidatesMax = 10'000;

using Candidates = std::vector<std::string>;

// Where the last word stands.
struct Place {
  const CLI::App* command = nullptr;
  const CLI::Option* value_of = nullptr;  // It is the value of this option...
  size_t position = 0;                    // ... or else the operand of this number.
  std::string socket_path;
};

bool is_flag(const CLI::Option& option) { return option.get_expected_max() == 0; }

const CLI::Option* option_named(const CLI::App& app, const std::string& word) {
  for (const CLI::App* each = &app; each != nullptr; each = each->get_parent()) {
    for (const CLI::Option* option : each->get_options()) {
      if (option->nonpositional() && option->check_name(word)) return option;
    }
  }
  return nullptr;
}

Place find_place(CLI::App& root, const std::vector<std::string>& words) {
  Place place{
      .command = &root, .value_of = nullptr, .position = 0, .socket_path = default_socket_path()};
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.starts_with("--socket=")) place.socket_path = word.substr(9);
    if (word.size() > 1 && word.front() == '-') {
      const CLI::Option* option = option_named(*place.command, word);
      if (option == nullptr || is_flag(*option)) continue;
      if (i + 2 == words.size()) {
        place.value_of = option;
        return place;
      }
      if (word == "--socket") place.socket_path = words[i + 1];
      ++i;
      continue;
    }
    const auto below =
        place.command->get_subcommands([&](const CLI::App* app) { return app->check_name(word); });
    if (below.empty()) {
      ++place.position;
    } else {
      place.command = below.front();
      place.position = 0;
    }
  }
  return place;
}

const CLI::Option* operand_at(const CLI::App& app, size_t position) {
  const CLI::Option* last = nullptr;
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* each) { return each->get_positional(); })) {
    last = option;
    if (position-- == 0) return option;
  }
  return last != nullptr && last->get_items_expected_max() > 1 ? last : nullptr;
}

// What stands before the part of a list that is being typed: "used," of "used,av".
std::string typed_list(const std::string& word) {
  const size_t comma = word.rfind(',');
  return comma == word.npos ? "" : word.substr(0, comma + 1);
}

Attempt<> add_datasets(Connection& connection, std::vector<schema::DatasetType> types,
                       const char* behind, Candidates& into) {
  TRY(const auto rows, fetch(connection, {.types = std::move(types), .properties = {"type"}}));
  for (const FetchedRow& row : rows) into.push_back(row.name + behind);
  return {};
}

// Snapshots or bookmarks of the dataset that `word` names before its '@' or '#'.
Attempt<> add_marks(Connection& connection, const std::string& word, char mark, Candidates& into) {
  const auto type = mark == '@' ? schema::DatasetType::SNAPSHOT : schema::DatasetType::BOOKMARK;
  TRY(const auto rows,
      fetch(connection,
            {.roots = {word.substr(0, word.find(mark))}, .types = {type}, .properties = {"type"}}));
  for (const FetchedRow& row : rows) into.push_back(row.name);
  return {};
}

Attempt<> add_properties(Connection& connection, const std::string& word, Candidates& into) {
  TRY(const Catalogue catalogue, Catalogue::ask(connection));
  for (const std::string& name : catalogue.names()) into.push_back(typed_list(word) + name);
  return {};
}

Attempt<> add_settings(Connection& connection, Candidates& into) {
  TRY(const Catalogue catalogue, Catalogue::ask(connection));
  for (const std::string& name : catalogue.names()) {
    if (catalogue.settable(name)) into.push_back(name + "=");
  }
  return {};
}

// Of links their names, or their numbers if they have none.
Attempt<> add_links(Connection& connection, Candidates& into) {
  TRY(const auto links, connection.ask(connection.host().linksRequest()));
  for (auto each : links.getValue().getLinks()) {
    const auto info = each.getInfo();
    into.push_back(info.getName().size() > 0 ? info.getName().cStr()
                                             : std::to_string(info.getId()));
  }
  return {};
}

Attempt<> add_maps(Connection& connection, Candidates& into) {
  TRY(const auto maps, connection.ask(connection.host().mapsRequest()));
  for (auto each : maps.getValue()) into.push_back(each.getInfo().getName().cStr());
  return {};
}

Attempt<> add_named(Connection& connection, const std::string& what, const std::string& word,
                    Candidates& into) {
  using Type = schema::DatasetType;
  if (what == "POOL") {
    TRY(const auto pools, connection.ask(connection.host().poolsRequest()));
    for (auto each : pools.getValue()) into.push_back(each.getStatus().getName().cStr());
    return {};
  }
  if (what == "LINK") return add_links(connection, into);
  if (what == "MAP") return add_maps(connection, into);
  if (what.starts_with("COLUMN") || what == "PROPERTY") {
    into.push_back(typed_list(word) + (what == "PROPERTY" ? "all" : "name"));
    return add_properties(connection, word, into);
  }
  if (what.starts_with("PROP=VALUE")) {
    TRY_VOID(add_settings(connection, into));
    return what == "PROP=VALUE" ? Attempt<>{} : add_datasets(connection, {}, "", into);
  }
  for (char mark : {'@', '#'}) {
    if (word.find(mark) != word.npos) return add_marks(connection, word, mark, into);
  }
  if (what == "SNAPSHOT") return add_datasets(connection, {Type::VOLUME, Type::GROUP}, "@", into);
  if (what.starts_with("NAME@"))
    return add_datasets(connection, {Type::VOLUME, Type::GROUP}, "@", into);
  if (what == "VOLUME") return add_datasets(connection, {Type::VOLUME}, "", into);
  if (what == "NEW") return add_datasets(connection, {Type::GROUP}, "/", into);
  if (what == "TARGET") into.push_back("/");
  return what == "NAME" || what == "TARGET" ? add_datasets(connection, {}, "", into) : Attempt<>{};
}

Candidates fixed_words(const std::string& what, const std::string& word) {
  Candidates words;
  if (what.starts_with("TYPE")) words = {"group", "volume", "snapshot", "bookmark", "all"};
  if (what.starts_with("FIELD")) words = {"name", "property", "value", "source"};
  if (what.starts_with("SOURCE")) words = {"local", "default", "inherited", "received", "none"};
  if (what == "SHELL") words = {"bash", "zsh", "fish"};
  if (what == "TIER") words = {"stable", "internal"};
  if (what == "pass|deny") words = {"pass", "deny"};
  if (what == "HOOK")
    words = {"volume.submit", "volume.complete", "admin", "export.connect", "timer", "tracepoint/"};
  if (what == "OBJECT") words = shipped_objects();
  if (what == "ADDRESS") words = {"unix:", "tcp:"};
  for (std::string& each : words) each.insert(0, typed_list(word));
  return words;
}

Candidates flags_of(const CLI::App& app) {
  Candidates flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  return flags;
}

Attempt<Candidates> candidates_at(const Place& place, const std::string& word) {
  if (place.value_of == nullptr && word.starts_with('-')) return flags_of(*place.command);
  if (place.value_of == nullptr && place.position == 0) {
    Candidates below;
    for (const CLI::App* app :
         place.command->get_subcommands([](const CLI::App*) { return true; })) {
      below.push_back(app->get_name());
    }
    if (!below.empty()) return below;
  }
  const CLI::Option* operand =
      place.value_of != nullptr ? place.value_of : operand_at(*place.command, place.position);
  if (operand == nullptr) return Candidates{};
  const std::string what =
      place.value_of != nullptr ? operand->get_type_name() : operand->get_name(true);
  Candidates candidates = fixed_words(what, word);
  if (!candidates.empty()) return candidates;
  Session session(place.socket_path);
  TRY(Connection * connection, session.connect());
  TRY_VOID(add_named(*connection, what, word, candidates));
  return candidates;
}

// --- The scripts: each hands the words to `coppice complete` and shows what comes back. ---

constexpr const char* kBash = R"(# Completion of coppice for bash.
_coppice() {
  local line=${COMP_LINE:0:COMP_POINT} words word cut
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  word=${words[${#words[@]}-1]}
  # bash replaces only what follows the last of these.
  cut=${word%"${word##*[@=:]}"}
  COMPREPLY=()
  while IFS= read -r each; do
    COMPREPLY+=("${each#"$cut"}")
  done < <("${words[0]}" complete "${words[@]:1}" 2>/dev/null)
  [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[@=/:] ]] && compopt -o nospace
}
complete -o default -F _coppice coppice
)";

constexpr const char* kZsh = R"(#compdef coppice
# Completion of coppice for zsh.
_coppice() {
  local -a found
  found=("${(@f)$("${words[1]}" complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ ${#found} -gt 0 && -n ${found[1]} ]]; then
    compadd -S '' -M 'r:|[/@#]=*' -- ${(M)found:#*[@=/:]}
    compadd -M 'r:|[/@#]=*' -- ${found:#*[@=/:]}
  else
    _files
  fi
}
if [[ ${funcstack[1]} == _coppice ]]; then _coppice "$@"; else compdef _coppice coppice; fi
)";

constexpr const char* kFish = R"(# Completion of coppice for fish.
function __coppice_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete $words[2..-1] 2>/dev/null
end
complete -c coppice -a '(__coppice_complete)'
)";

}  // namespace

Attempt<std::string> complete(CommandLine& line, const std::vector<std::string>& words) {
  const std::string word = words.empty() ? "" : words.back();
  const Place place = find_place(line.root(), words);
  TRY(Candidates candidates, candidates_at(place, word));
  std::erase_if(candidates, [&](const std::string& each) { return !each.starts_with(word); });
  std::ranges::sort(candidates);
  candidates.erase(std::ranges::unique(candidates).begin(), candidates.end());
  if (candidates.size() > kCandidatesMax) candidates.resize(kCandidatesMax);
  std::string text;
  for (const std::string& each : candidates) text += each + "\n";
  return text;
}

void add_completion_commands(CommandLine& line) {
  auto shell = std::make_shared<std::string>();
  CLI::App& command =
      line.add(line.root(), {.name = "completion",
                             .summary = "Print the completion script of a shell",
                             .example = "coppice completion bash > /etc/bash_completion.d/coppice",
                             .group = "Looking"});
  add_name(command, "SHELL", *shell, "bash, zsh or fish")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  line.runs(command, [shell](Session&) -> Attempt<> {
    fmt::print("{}", *shell == "bash" ? kBash : *shell == "zsh" ? kZsh : kFish);
    return {};
  });
}

}  // namespace coppice::cli
