#include "cli/destroy.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/size.h"

namespace coppice::cli {

bool Doomed::ranges() const {
  return std::ranges::any_of(parts,
                             [](const std::string& part) { return part.find('%') != part.npos; });
}

Attempt<Doomed> parse_doomed(const std::string& text) {
  const size_t at = text.find('@');
  if (at == text.npos) return Doomed{.name = text, .parts = {}};
  Doomed doomed{.name = text.substr(0, at), .parts = {}};
  if (doomed.name.empty()) return misuse(fmt::format("'{}' names no dataset before its '@'", text));
  size_t begin = at + 1;
  while (true) {
    const size_t end = text.find(',', begin);
    const std::string part = text.substr(begin, end == text.npos ? end : end - begin);
    if (part.empty()) return misuse(fmt::format("'{}' names an empty snapshot", text));
    if (std::ranges::count(part, '%') > 1) {
      return misuse(fmt::format("'{}' is no range of snapshots (FIRST%LAST)", part));
    }
    doomed.parts.push_back(part);
    if (end == text.npos) return doomed;
    begin = end + 1;
  }
}

Attempt<std::vector<std::string>> expand(const Doomed& doomed,
                                         const std::vector<std::string>& existing) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& snapshot) {
    std::string name = doomed.name + "@" + snapshot;
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  };
  for (const std::string& part : doomed.parts) {
    const size_t percent = part.find('%');
    if (percent == part.npos) {
      add(part);
      continue;
    }
    const std::string first = part.substr(0, percent), last = part.substr(percent + 1);
    for (const std::string& end : {first, last}) {
      if (!end.empty() && std::ranges::find(existing, end) == existing.end()) {
        return refuse(fmt::format("cannot destroy '{}@{}': there is no snapshot '{}@{}'",
                                  doomed.name, part, doomed.name, end));
      }
    }
    const auto from = first.empty() ? existing.begin() : std::ranges::find(existing, first);
    const auto to = last.empty() ? existing.end() : std::ranges::find(existing, last) + 1;
    if (from >= to) {
      return refuse(fmt::format("cannot destroy '{}@{}': {}", doomed.name, part,
                                existing.empty()
                                    ? "there are no snapshots"
                                    : "the first of the range is younger than the last"));
    }
    std::ranges::for_each(from, to, add);
  }
  return names;
}

std::string tell(const std::vector<std::string>& destroyed, u64 reclaimed_bytes,
                 DestroyTelling how) {
  std::string text;
  const char* verb = how.dry_run ? "would" : "did";
  for (const std::string& name : destroyed) {
    text += how.parsable ? fmt::format("destroy\t{}\n", name)
                         : fmt::format("{} destroy {}\n", verb, name);
  }
  if (how.parsable) return text + fmt::format("reclaim\t{}\n", reclaimed_bytes);
  if (reclaimed_bytes > 0)
    text += fmt::format("{} reclaim {}\n", verb, show_bytes(reclaimed_bytes));
  return text;
}

}  // namespace coppice::cli
