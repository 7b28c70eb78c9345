#include "case_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace coppice::bpf {
namespace {

// Words, or "quoted" ones; a quote may stand behind "name=".
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false, any = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
      any = true;
    } else if (c == ' ' && !quoted) {
      if (any) words.push_back(std::move(word));
      word.clear();
      any = false;
    } else {
      word += c;
      any = true;
    }
  }
  if (any) words.push_back(std::move(word));
  return words;
}

std::optional<u64> number_of(std::string_view text) {
  u64 number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::vector<std::byte>> bytes_of_hex(std::string_view text) {
  std::vector<std::byte> bytes;
  for (; text.size() >= 2; text.remove_prefix(2)) {
    u8 byte = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + 2, byte, 16);
    if (error != std::errc{} || end != text.data() + 2) return std::nullopt;
    bytes.push_back(std::byte{byte});
  }
  return text.empty() ? std::optional(bytes) : std::nullopt;
}

std::optional<MapKind> kind_of(std::string_view name) {
  using enum MapKind;
  static constexpr std::pair<std::string_view, MapKind> kKinds[] = {
      {"hash", hash},         {"array", array},     {"program_array", program_array},
      {"queue", queue},       {"stack", stack},     {"percpu_hash", percpu_hash},
      {"lru_hash", lru_hash}, {"ringbuf", ringbuf}, {"percpu_array", percpu_array},
      {"lpm_trie", lpm_trie}};
  for (const auto& [known, kind] : kKinds)
    if (known == name) return kind;
  return std::nullopt;
}

struct Assignment {
  std::string name, value;
};
std::optional<Assignment> assignment_of(const std::string& word) {
  const size_t at = word.find('=');
  if (at == std::string::npos) return std::nullopt;
  return Assignment{word.substr(0, at), word.substr(at + 1)};
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
    text.replace(at, what.size(), with);
  return text;
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  Result<std::vector<Case>> read(std::string_view text) {
    while (!text.empty()) {
      ++number_;
      const size_t end = std::min(text.find('\n'), text.size());
      TRY_VOID(read_line(text.substr(0, end)));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    return std::move(cases_);
  }

 private:
  std::unexpected<Error> bad(const std::string& why) const {
    return fail(Errc::invalid, "cannot read a case file",
                fmt::format("{}:{}: {}", file_, number_, why));
  }

  Result<> read_line(std::string_view line) {
    const std::vector<std::string> words = words_of(line);
    if (words.empty() || words[0].starts_with('#')) return {};
    if (in_code_) {
      if (words[0] == "end") {
        in_code_ = false;
      } else {
        now_.code.append(line).append("\n");
      }
      return {};
    }
    const std::string& what = words[0];
    if (what == "program" && words.size() == 2) {
      now_ = {.file = file_, .program = words[1]};
      functions_.clear();
      return {};
    }
    if (now_.program.empty()) return bad("'program NAME' comes first");
    if (what == "code") {
      in_code_ = true;
      return {};
    }
    if (what == "type" && words.size() == 2) {
      now_.type = words[1];
      return {};
    }
    if (what == "budget" && words.size() == 2) {
      now_.budget = number_of(words[1]).value_or(0);
      return now_.budget > 0 ? Result<>() : bad("a budget is a number");
    }
    if (what == "never_run" && words.size() == 2) {
      now_.runs = false;
      return {};
    }
    if (what == "map") return read_map(words);
    if (what == "function" && words.size() >= 3) {
      functions_.emplace_back(line);
      return {};
    }
    if (what == "accept") return read_verdict(words, 1);
    if (what == "refuse") return read_verdict(words, 5);
    return bad(fmt::format("no such line: {}", what));
  }

  Result<> read_map(const std::vector<std::string>& words) {
    if (words.size() < 3) return bad("a map has a name and a kind");
    CaseMap map{.spec = {.name = words[1]}};
    const auto kind = kind_of(words[2]);
    if (!kind) return bad(fmt::format("no kind of map: {}", words[2]));
    map.spec.kind = *kind;
    for (size_t i = 3; i < words.size(); ++i) {
      if (words[i] == "read_only" || words[i] == "frozen") {
        map.read_only = true;
        map.frozen |= words[i] == "frozen";
        continue;
      }
      const auto given = assignment_of(words[i]);
      if (!given) return bad(fmt::format("what of the map is {}?", words[i]));
      if (given->name == "contents") {
        const auto contents = bytes_of_hex(given->value);
        if (!contents) return bad("contents are hexadecimal bytes");
        map.contents = *contents;
        continue;
      }
      u32* field = given->name == "key"       ? &map.spec.key_size
                   : given->name == "value"   ? &map.spec.value_size
                   : given->name == "entries" ? &map.spec.max_entries
                                              : nullptr;
      const auto number = number_of(given->value);
      if (field == nullptr || !number) return bad(fmt::format("what of the map is {}?", words[i]));
      *field = static_cast<u32>(*number);
    }
    now_.maps.push_back(std::move(map));
    return {};
  }

  Result<> read_verdict(const std::vector<std::string>& words, size_t first) {
    if (now_.type.empty() || now_.code.empty()) return bad("a verdict needs a type and code");
    if (words.size() < first) return bad("refuse RULE at PLACE \"WORDS\" NAME=\"...\"");
    Case one = now_;
    one.line = number_;
    one.accepted = first == 1;
    one.name = one.program + "(";
    std::vector<std::string> functions = functions_;
    for (size_t i = first; i < words.size(); ++i) {
      const auto given = assignment_of(words[i]);
      if (!given) return bad(fmt::format("which variable is {}?", words[i]));
      bool used = false;
      const auto put = [&](std::string& text) {
        const std::string before = text;
        text = replace(text, given->name, replaced(given->value, " | ", "\n"));
        used |= text != before;
      };
      put(one.code);
      for (std::string& function : functions) put(function);
      if (!used) return bad(fmt::format("nothing has ${}", given->name));
      one.name += (i > first ? ", " : "") + words[i];
    }
    for (const std::string& function : functions) {
      const auto parts = words_of(function);
      one.functions.push_back(
          {.label = parts[1], .result = parts[2], .parameters = {parts.begin() + 3, parts.end()}});
    }
    one.name += ")";
    if (const size_t left = one.code.find('$'); left != std::string::npos)
      return bad(fmt::format("nothing is said of {}", one.code.substr(left, 20)));
    if (!one.accepted) {
      if (words[2] != "at") return bad("refuse RULE at PLACE \"WORDS\"");
      one.rule = words[1];
      one.place = words[3];
      one.says = words[4];
    }
    cases_.push_back(std::move(one));
    return {};
  }

  // "$name" where no longer name stands.
  static std::string replace(std::string code, const std::string& name, const std::string& with) {
    const std::string what = "$" + name;
    for (size_t at = 0; (at = code.find(what, at)) != std::string::npos;) {
      const size_t end = at + what.size();
      if (end < code.size() && is_name_character(code[end])) {
        at = end;
        continue;
      }
      code.replace(at, what.size(), with);
      at += with.size();
    }
    return code;
  }

  const std::string& file_;
  size_t number_ = 0;
  bool in_code_ = false;
  std::vector<std::string> functions_;  // Lines.
  Case now_;
  std::vector<Case> cases_;
};

}  // namespace

Result<std::vector<Case>> read_cases(std::string_view text, const std::string& file) {
  return Reader(file).read(text);
}

}  // namespace coppice::bpf
