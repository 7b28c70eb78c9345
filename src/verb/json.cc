// What verbs did, as JSON for the history.
#include <algorithm>

#include "verb/admin.h"

namespace coppice::verb {
namespace {

constexpr size_t kListedMax = 1000;

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const size_t length = first < 0x80                    ? 1
                          : first >= 0xc2 && first < 0xe0 ? 2
                          : first >= 0xe0 && first < 0xf0 ? 3
                          : first >= 0xf0 && first < 0xf5 ? 4
                                                          : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

std::string quoted(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  const bool utf8 = is_utf8(text);
  std::string out = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.append({'\\', c});
    } else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8)) {
      out.append("\\u00").append({kHex[byte >> 4], kHex[byte & 15]});
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string list(const Names& names) {
  std::string out = "[";
  for (size_t i = 0; i < names.size() && i < kListedMax; ++i) {
    if (i > 0) out += ',';
    out += quoted(names[i]);
  }
  return out + ']';
}

std::string record(const Pairs& pairs) {
  std::string out = "{";
  for (const auto& [key, value] : pairs) {
    if (out.size() > 1) out += ',';
    out.append(quoted(key)).append(":").append(quoted(value));
  }
  return out + '}';
}

// Members of an object, one after the other.
class Members {
 public:
  Members& add(std::string_view name, std::string_view json) {
    if (!body_.empty()) body_ += ',';
    body_.append(quoted(name)).append(":").append(json);
    return *this;
  }
  Members& names(std::string_view name, const Names& values) {
    if (values.empty()) return *this;
    if (values.size() > kListedMax) {
      add(std::string(name) + "_count", std::to_string(values.size()));
    }
    return add(name, list(values));
  }
  std::string object() const { return '{' + body_ + '}'; }

 private:
  std::string body_;
};

std::string json_of(const pool::ExportSpec& spec) {
  return Members()
      .add("protocol", quoted(spec.protocol))
      .add("address", quoted(spec.address))
      .add("read_only", spec.read_only ? "true" : "false")
      .object();
}

std::string json_of(const Effect& effect) {
  Members members;
  if (const auto* start = std::get_if<StartExport>(&effect)) {
    members.add("effect", "\"start_export\"").add("name", quoted(start->name));
    members.add("spec", json_of(start->spec)).add("pinned", start->pinned ? "true" : "false");
  } else if (const auto* stop = std::get_if<StopExport>(&effect)) {
    members.add("effect", "\"stop_export\"").add("name", quoted(stop->name));
    members.add("spec", json_of(stop->spec));
  } else if (const auto* rename = std::get_if<RenameExport>(&effect)) {
    members.add("effect", "\"rename_export\"").add("old_name", quoted(rename->old_name));
    members.add("new_name", quoted(rename->new_name));
  } else if (const auto* set = std::get_if<SetReadOnly>(&effect)) {
    members.add("effect", "\"set_read_only\"").add("name", quoted(set->name));
    members.add("read_only", set->read_only ? "true" : "false");
  } else {
    const auto& changed = std::get<LinksChanged>(effect);
    members.add("effect", "\"links_changed\"").add("name", quoted(changed.name));
  }
  return members.object();
}

}  // namespace

std::string to_json(std::string_view text) { return quoted(text); }

std::string to_json(const Changes& changes) {
  const Report& report = changes.report;
  Members members;
  members.names("created", report.created).names("destroyed", report.destroyed);
  members.names("deferred", report.deferred).names("changed", report.changed);
  if (!report.target.empty()) members.add("target", quoted(report.target));
  if (!changes.effects.empty()) {
    std::string effects = "[";
    for (size_t i = 0; i < changes.effects.size() && i < kListedMax; ++i) {
      if (i > 0) effects += ',';
      effects += json_of(changes.effects[i]);
    }
    members.add("effects", effects + ']');
  }
  return members.object();
}

std::string to_json(const Arguments& arguments) {
  Members members;
  for (const auto& [name, value] : arguments) {
    if (const bool* set = std::get_if<bool>(&value)) {
      members.add(name, *set ? "true" : "false");
    } else if (const u64* number = std::get_if<u64>(&value)) {
      members.add(name, std::to_string(*number));
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      members.add(name, quoted(*text));
    } else if (const Names* names = std::get_if<Names>(&value)) {
      members.add(name, list(*names));
      if (names->size() > kListedMax) {  // So that nobody takes a part for the whole.
        members.add(name + "_count", std::to_string(names->size()));
      }
    } else {
      members.add(name, record(std::get<Pairs>(value)));
    }
  }
  return members.object();
}

std::string history_effects(const std::vector<Invocation>& invocations, const Changes& changes) {
  std::string verbs = "[";
  for (size_t i = 0; i < invocations.size() && i < kListedMax; ++i) {
    if (i > 0) verbs += ',';
    verbs += Members()
                 .add("verb", quoted(invocations[i].verb))
                 .add("arguments", to_json(invocations[i].arguments))
                 .object();
  }
  Members members;
  if (invocations.size() > kListedMax) {
    members.add("verbs_count", std::to_string(invocations.size()));
  }
  return members.add("verbs", verbs + ']').add("changes", to_json(changes)).object();
}

}  // namespace coppice::verb
