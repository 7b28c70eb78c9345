// The stored form of pinned links, of what their maps hold, and of objects.
#include <algorithm>
#include <map>
#include <set>

#include "pool/record_bytes.h"

namespace coppice::pool {
namespace {

bool is_text(std::string_view text, size_t most = kLinkTextBytesMax) {
  return text.size() <= most && std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<u8>(c) >= 0x20 && c != 0x7f;
         });
}
bool is_filled_text(std::string_view text) { return !text.empty() && is_text(text); }

// What a link's record takes at least.
constexpr size_t kLinkBytesMin = 8 + 4 * 7 + 4 + 1 + 4 + 8 + 8 + 8;
constexpr size_t kObjectBytesFixed = 64;
static_assert(kDatasetLinksMax * (kLinkBytesMin + 6 * kLinkTextBytesMax + kLinkAuthorBytesMax +
                                  kRedirectsMax * sizeof(DatasetId)) <=
              kRecordBytesMax);
static_assert(kObjectBytesFixed + kObjectBytesMax +
                  kObjectSettingsMax * (kLinkTextBytesMax + kSettingBytesMax + 8) +
                  kObjectProgramsMax * (2 * kLinkTextBytesMax + 9) <=
              kRecordBytesMax);

}  // namespace

bool is_object_hash(std::string_view text) {
  return text.size() == kObjectHashBytes && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

size_t stored_bytes(const MapContents& contents) {
  size_t bytes = 0;
  for (const auto& [map, entries] : contents) {
    bytes += map.size() + kContentsEntryBytes;
    for (const auto& [key, value] : entries)
      bytes += key.size() + value.size() + kContentsEntryBytes;
  }
  return bytes;
}

bool well_formed(const PinnedLink& link) {
  const bool named = link.id != 0 && is_record_name(link.name) && is_filled_text(link.hook) &&
                     is_filled_text(link.program) && is_object_hash(link.object);
  const bool replacement = link.replaces != 0;
  const bool replaces = replacement ? is_filled_text(link.function) && link.hook == kReplaceHook &&
                                          link.replaces != link.id
                                    : link.function.empty() && link.hook != kReplaceHook;
  const bool directed = link.redirects.size() <= kRedirectsMax &&
                        std::ranges::none_of(link.redirects, [](auto id) { return raw(id) == 0; });
  const bool kept = stored_bytes(link.contents) <= kContentsBytesMax &&
                    std::ranges::all_of(
                        link.contents, [](const auto& each) { return is_filled_text(each.first); });
  return named && replaces && directed && kept && is_text(link.instance) &&
         is_text(link.author, kLinkAuthorBytesMax) &&
         (link.on_error == OnError::pass || link.on_error == OnError::deny);
}

bool well_formed(const StoredObject& object) {
  const auto sound_program = [](const ObjectProgram& program) {
    return is_filled_text(program.name) && is_text(program.hook) &&
           (program.tier == Tier::internal || program.tier == Tier::stable);
  };
  const auto sound_setting = [](const auto& each) {
    return is_filled_text(each.first) && each.second.size() <= kSettingBytesMax;
  };
  std::set<std::string_view> names;
  for (const ObjectProgram& program : object.programs) names.insert(program.name);
  return is_object_hash(object.hash) && (object.name.empty() || is_record_name(object.name)) &&
         !object.bytes.empty() && object.bytes.size() <= kObjectBytesMax &&
         object.settings.size() <= kObjectSettingsMax &&
         object.programs.size() <= kObjectProgramsMax && names.size() == object.programs.size() &&
         std::ranges::all_of(object.programs, sound_program) &&
         std::ranges::all_of(object.settings, sound_setting);
}

bool well_formed(const PinnedLinks& links) {
  if (links.size() > kDatasetLinksMax) return false;
  std::map<u64, const PinnedLink*> by_id;
  std::map<std::string_view, size_t> at_point;
  for (const PinnedLink& link : links) {
    if (!well_formed(link) || !by_id.emplace(link.id, &link).second) return false;
    if (++at_point[link.hook] > kPointLinksMax) return false;
  }
  std::set<std::pair<u64, std::string_view>> replaced;
  for (const PinnedLink& link : links) {
    if (link.replaces == 0) continue;
    const auto target = by_id.find(link.replaces);
    if (target == by_id.end() || target->second->replaces != 0) return false;
    if (!replaced.emplace(link.replaces, link.function).second) return false;
  }
  return true;
}

std::string encode(const PinnedLinks& links) {
  CHECK(links.size() <= kDatasetLinksMax);
  Encoder out;
  out.put(static_cast<u32>(links.size()));
  for (const PinnedLink& link : links) {
    out.put(link.id);
    out.text(link.name);
    out.text(link.hook);
    out.text(link.object);
    out.text(link.program);
    out.text(link.instance);
    out.put(link.go_on);
    out.put(link.on_error);
    out.put(static_cast<u32>(link.redirects.size()));
    for (DatasetId id : link.redirects) out.put(id);
    out.put(link.interval_ns);
    out.put(link.replaces);
    out.text(link.function);
    out.text(link.author);
    out.put(link.created_s);
  }
  return out.take();
}

Result<PinnedLinks> decode_links(std::string_view bytes) {
  Decoder in(bytes);
  PinnedLinks links;
  for (u32 left = in.count(kLinkBytesMin); left > 0 && in.good(); --left) {
    PinnedLink link;
    link.id = in.get<u64>();
    link.name = in.text();
    link.hook = in.text();
    link.object = in.text();
    link.program = in.text();
    link.instance = in.text();
    link.go_on = in.get<u32>();
    link.on_error = in.get<OnError>();
    for (u32 more = in.count(8); more > 0 && in.good(); --more) {
      link.redirects.push_back(in.get<DatasetId>());
    }
    link.interval_ns = in.get<u64>();
    link.replaces = in.get<u64>();
    link.function = in.text();
    link.author = in.text();
    link.created_s = in.get<u64>();
    in.require(well_formed(link));
    links.emplace_back(std::move(link));
  }
  in.require(!links.empty() && in.good() && well_formed(links));
  return in.done(std::move(links), "read a dataset's links");
}

std::string encode(const MapContents& contents) {
  Encoder out(64 + stored_bytes(contents));
  out.put(static_cast<u32>(contents.size()));
  for (const auto& [map, entries] : contents) {
    out.text(map);
    out.put(static_cast<u32>(entries.size()));
    for (const auto& [key, value] : entries) {
      out.text(key);
      out.text(value);
    }
  }
  return out.take();
}

Result<MapContents> decode_contents(std::string_view bytes) {
  Decoder in(bytes);
  MapContents contents;
  for (u32 left = in.count(8); left > 0 && in.good(); --left) {
    std::string map = in.text();
    in.require(is_filled_text(map) && (contents.empty() || contents.rbegin()->first < map));
    MapEntries entries;
    for (u32 more = in.count(8); more > 0 && in.good(); --more) {
      std::string key = in.text();
      entries.emplace_back(std::move(key), in.text());
    }
    contents.emplace_hint(contents.end(), std::move(map), std::move(entries));
  }
  in.require(!contents.empty() && stored_bytes(contents) <= kContentsBytesMax);
  return in.done(std::move(contents), "read what a link's maps hold");
}

std::string encode(const StoredObject& object) {
  Encoder out(kObjectBytesFixed + object.bytes.size());
  out.text(object.name);
  out.text(object.bytes);
  out.texts(object.settings);
  out.put(static_cast<u32>(object.programs.size()));
  for (const ObjectProgram& program : object.programs) {
    out.text(program.name);
    out.text(program.hook);
    out.put(program.tier);
  }
  return out.take();
}

Result<StoredObject> decode_object(std::string hash, std::string_view bytes) {
  Decoder in(bytes);
  StoredObject object;
  object.hash = std::move(hash);
  object.name = in.text();
  object.bytes = in.text();
  object.settings = in.texts();
  for (u32 left = in.count(9); left > 0 && in.good(); --left) {
    ObjectProgram program;
    program.name = in.text();
    program.hook = in.text();
    program.tier = in.get<Tier>();
    object.programs.push_back(std::move(program));
  }
  in.require(well_formed(object));
  return in.done(std::move(object), "read an object's record");
}

}  // namespace coppice::pool
