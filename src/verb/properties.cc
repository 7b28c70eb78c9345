#include "verb/properties.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "verb/names.h"

namespace coppice::verb {
namespace {

using pool::CatalogView;
using pool::DatasetId;

constexpr u8 kAll = kGroup | kVolume | kSnapshot | kBookmark;
constexpr u8 kObjects = kGroup | kVolume | kSnapshot;
using enum PropertyType;

constexpr Property kProperties[] = {
    {"type", choice, false, false, kAll, "group | volume | snapshot | bookmark",
     "what kind of thing it is", "TYPE"},
    {"creation", time, false, false, kAll, "<date>", "when it was made", "CREATION"},
    {"used", bytes, false, false, kObjects, "<size>",
     "space that it and all below it take; of a snapshot: what destroying it alone would free",
     "USED"},
    {"available", bytes, false, false, kDatasets, "<size>",
     "space that may still be written here: by quotas, reservations and the pool", "AVAIL"},
    {"referenced", bytes, false, false, kObjects, "<size>",
     "space that its data takes, shared or not", "REFER"},
    {"origin", text, false, false, kVolume, "<snapshot>", "the snapshot it is a clone of",
     "ORIGIN"},
    {"quota", bytes, true, false, kGroup, "<size> | none",
     "limit on the space that it and all below it take", "QUOTA"},
    {"reservation", bytes, true, false, kDatasets, "<size> | none",
     "space kept for it and all below it", "RESERV"},
    {"volsize", bytes, true, false, kVolume | kSnapshot, "<size>",
     "size of the block device that it is", "VOLSIZE"},
    {"checksum", choice, false, false, kDatasets, "on", "every block is checked when it is read",
     "CHECKSUM"},
    {"readonly", PropertyType::flag, true, true, kDatasets, "on | off",
     "whether writes are refused", "RDONLY"},
    {"createtxg", count, false, false, kAll, "<uint64>",
     "the transaction group that made it; 0 until it is committed", "CREATETXG"},
    {"guid", count, false, false, kAll, "<uint64>", "a number that no other object has", "GUID"},
    {"defer_destroy", PropertyType::flag, false, false, kSnapshot, "on | off",
     "whether it goes with its last hold or clone", "DEFER_DESTROY"},
    {"userrefs", count, false, false, kSnapshot, "<count>", "holds on it", "USERREFS"},
    {"clones", text, false, false, kSnapshot, "<dataset>[,...]", "volumes cloned from it",
     "CLONES"},
    {"usedbysnapshots", bytes, false, false, kDatasets, "<size>",
     "space that only its snapshots keep", "USEDSNAP"},
    {"usedbydataset", bytes, false, false, kDatasets, "<size>",
     "space that it would still take without snapshots and children", "USEDDS"},
    {"usedbychildren", bytes, false, false, kDatasets, "<size>", "space that its children take",
     "USEDCHILD"},
    {"usedbyrefreservation", bytes, false, false, kDatasets, "<size>", "always 0: volumes are thin",
     "USEDREFRESERV"},
    {"written", bytes, false, false, kObjects, "<size>",
     "of what it refers to, the space written since the snapshot before it", "WRITTEN"},
    {"logicalused", bytes, false, false, kDatasets, "<size>",
     "data in it and all below it, as it was written", "LUSED"},
    {"logicalreferenced", bytes, false, false, kObjects, "<size>",
     "data that it refers to, as it was written", "LREFER"},
    {"snapshot_count", count, false, false, kDatasets, "<count>",
     "snapshots of it and all below it", "SSCOUNT"},
};

constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kShort = {{
    {"avail", "available"},
    {"refer", "referenced"},
    {"reserv", "reservation"},
    {"rdonly", "readonly"},
    {"lused", "logicalused"},
    {"lrefer", "logicalreferenced"},
    {"usedsnap", "usedbysnapshots"},
    {"usedds", "usedbydataset"},
    {"usedchild", "usedbychildren"},
    {"usedrefreserv", "usedbyrefreservation"},
    {"sscount", "snapshot_count"},
}};

}  // namespace

std::span<const Property> properties() { return kProperties; }

const Property* find_property(std::string_view name) {
  for (const auto& [alias, full] : kShort) {
    if (alias == name) name = full;
  }
  const auto place = std::find_if(std::begin(kProperties), std::end(kProperties),
                                  [name](const Property& each) { return each.name == name; });
  return place != std::end(kProperties) ? place : nullptr;
}

bool is_user_property(std::string_view name) {
  return name.size() <= kPropertyNameMax && name.find(':') != std::string_view::npos &&
         name.front() != '-' && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ':' || c == '-' ||
                  c == '.' || c == '_';
         });
}

std::string PropertyValue::source_text() const {
  switch (source) {
    case Source::none: return "-";
    case Source::local: return "local";
    case Source::by_default: return "default";
    case Source::inherited: return "inherited from " + inherited_from;
    case Source::temporary: return "temporary";
  }
  return "-";
}

std::string human_bytes(u64 bytes) {
  constexpr std::string_view kUnits = "BKMGTPE";
  size_t unit = 0;
  u64 whole = bytes;
  while (whole >= 1024 && unit + 1 < kUnits.size()) {
    whole /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{}B", bytes);
  const u64 one = u64{1} << (10 * unit);
  if (bytes % one == 0) return fmt::format("{}{}", whole, kUnits[unit]);
  // As many digits as fit five characters: 1.50G, 15.1G, 151G.
  const double value = static_cast<double>(bytes) / static_cast<double>(one);
  for (int digits = 2; digits > 0; --digits) {
    std::string text = fmt::format("{:.{}f}{}", value, digits, kUnits[unit]);
    if (text.size() <= 5) return text;
  }
  return fmt::format("{:.0f}{}", value, kUnits[unit]);
}

std::string human_time(u64 unix_s) {
  const std::time_t when = static_cast<std::time_t>(std::min<u64>(unix_s, 253402300799));
  std::tm parts{};
  gmtime_r(&when, &parts);
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  return fmt::format("{} {} {:2} {:2}:{:02} {}", kDays[parts.tm_wday], kMonths[parts.tm_mon],
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_year + 1900);
}

std::optional<Effective> effective_property(const CatalogView& view, DatasetId id,
                                            std::string_view name) {
  const std::string key(name);
  for (const pool::Dataset* at = view.dataset(id); at != nullptr; at = view.dataset(at->parent)) {
    if (at->properties.empty()) continue;
    if (const auto place = at->properties.find(key); place != at->properties.end()) {
      return Effective{place->second, at->id};
    }
  }
  const Property* property = find_property(name);
  if (property == nullptr || !property->inheritable) return std::nullopt;
  return Effective{property->type == PropertyType::flag ? "off" : "", {}};
}

bool read_only(const CatalogView& view, DatasetId id) {
  const auto effective = effective_property(view, id, "readonly");
  return effective && effective->value == "on";
}

Attempt<Target> find_target(const CatalogView& view, std::string_view name) {
  const Doing doing{"open", name};
  ATTEMPT(const Name parsed, parse_name(doing, name));
  Target target;
  target.dataset = find_dataset(view, parsed.dataset);
  if (raw(target.dataset) == 0) return refuse(ENOENT, doing, "dataset does not exist");
  if (parsed.mark == '@') {
    target.snapshot = view.snapshot_named(target.dataset, parsed.rest);
    if (raw(target.snapshot) == 0) return refuse(ENOENT, doing, "snapshot does not exist");
  } else if (parsed.mark == '#') {
    target.bookmark = parsed.rest;
    if (view.bookmark(target.dataset, parsed.rest) == nullptr) {
      return refuse(ENOENT, doing, "bookmark does not exist");
    }
  }
  return target;
}

std::string full_name(const CatalogView& view, const Target& target) {
  if (raw(target.snapshot) != 0) return full_name(view, target.snapshot);
  std::string name = full_name(view, target.dataset);
  if (!target.bookmark.empty()) name += '#' + target.bookmark;
  return name;
}

u8 kind_of(const CatalogView& view, const Target& target) {
  if (raw(target.snapshot) != 0) return kSnapshot;
  if (!target.bookmark.empty()) return kBookmark;
  return is_volume(view, target.dataset) ? kVolume : kGroup;
}

}  // namespace coppice::verb
