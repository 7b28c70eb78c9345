#include "verb/settings.h"

#include <algorithm>

#include "verb/names.h"

namespace coppice::verb {
namespace {

const char* plural_of(u8 kind) {
  switch (kind) {
    case kGroup: return "groups";
    case kVolume: return "volumes";
    case kSnapshot: return "snapshots";
    default: return "bookmarks";
  }
}

Attempt<std::string> check_native(Doing doing, u8 kind, const std::string& name,
                                  const std::string& value) {
  const Property* property = find_property(name);
  const std::string quoted = "'" + name + "'";
  if (property == nullptr) {
    return refuse(EINVAL, doing,
                  "there is no property " + quoted +
                      "; properties of your own have a colon in their name: module:name");
  }
  if (!property->settable) return refuse(EINVAL, doing, "property " + quoted + " is read-only");
  if ((property->applies & kind) == 0 || kind == kSnapshot) {
    return refuse(EINVAL, doing, "property " + quoted + " does not apply to " + plural_of(kind));
  }
  const std::string wrong =
      "property " + quoted + " cannot be '" + value + "': it is " + std::string(property->values);
  if (property->type == PropertyType::flag) {
    if (value != "on" && value != "off") return refuse(EINVAL, doing, wrong);
    return value;
  }
  if (value == "none") {
    if (property->values.find("none") == std::string_view::npos) {
      return refuse(EINVAL, doing, wrong);
    }
    return std::string();
  }
  const auto bytes = parse_size(value);
  if (!bytes) return refuse(EINVAL, doing, wrong);
  return *bytes == 0 && property->name != "volsize" ? std::string() : std::to_string(*bytes);
}

}  // namespace

Attempt<Settings> check_settings(Doing doing, u8 kind, const Pairs& wanted) {
  Settings settings;
  for (const auto& [name, value] : wanted) {
    if (value.find('\0') != std::string::npos) {
      return refuse(EINVAL, doing, "property '" + name + "' has a zero byte in its value");
    }
    if (name.find(':') == std::string::npos) {
      ATTEMPT(std::string stored, check_native(doing, kind, name, value));
      settings[std::string(find_property(name)->name)] = std::move(stored);
      continue;
    }
    if (name.size() > kPropertyNameMax) {
      return refuse(ENAMETOOLONG, doing, "a property's name is longer than 255 bytes");
    }
    if (!is_user_property(name)) {
      return refuse(EINVAL, doing,
                    "'" + name + "' is no property name: use lower-case letters, digits and :-._");
    }
    if (value.size() > kPropertyValueMax) {
      return refuse(E2BIG, doing, "the value of '" + name + "' is longer than 8192 bytes");
    }
    settings[name] = value;
  }
  return settings;
}

Attempt<> check_volsize(Doing doing, u64 bytes) {
  if (bytes % pool::kBlock != 0) {
    return refuse(EINVAL, doing, "a volume's size must be a multiple of 4096 bytes");
  }
  if (bytes < kVolsizeMin || bytes > kVolsizeMax) {
    return refuse(EINVAL, doing, "a volume's size must lie between 4K and 8E");
  }
  return {};
}

Attempt<> check_room(const Context& context, Doing doing, const pool::Dataset& changed,
                     u64& promised) {
  const pool::CatalogView& view = context.view();
  const pool::Dataset* now = raw(changed.id) != 0 ? view.dataset(changed.id) : nullptr;
  const u64 quota = quota_of(changed);
  const u64 reservation = reservation_of(changed);
  const u64 quota_now = now != nullptr ? quota_of(*now) : 0;
  const u64 reservation_now = now != nullptr ? reservation_of(*now) : 0;
  if (quota == quota_now && reservation == reservation_now) return {};
  if (quota != 0 && reservation > quota) {
    return refuse(ENOSPC, doing,
                  "the reservation of " + human_bytes(reservation) + " exceeds the quota of " +
                      human_bytes(quota));
  }
  std::optional<Ledger> own;
  if (context.ledger() == nullptr) own.emplace(view, context.facts());
  Ledger& ledger = own ? *own : *context.ledger();
  const u64 used = now != nullptr ? ledger.used(changed.id) : 0;
  if (quota != 0 && quota != quota_now && quota < used) {
    return refuse(ENOSPC, doing,
                  "the quota of " + human_bytes(quota) + " is below the " + human_bytes(used) +
                      " that are used");
  }
  if (reservation > reservation_now && raw(changed.parent) != 0) {
    const u64 more = std::max(used, reservation) - std::max(used, reservation_now);
    const u64 available = ledger.available(changed.parent);
    const u64 free = available > promised ? available - promised : 0;
    if (more > free) {
      return refuse(ENOSPC, doing,
                    "reserving " + human_bytes(more) + " more exceeds the " + human_bytes(free) +
                        " that are available");
    }
    promised += more;
  }
  return {};
}

Attempt<> put_settings(Doing doing, const Settings& settings,
                       std::map<std::string, std::string>& properties) {
  for (const auto& [name, value] : settings) {
    if (value.empty() && name.find(':') == std::string::npos) {
      properties.erase(name);
    } else {
      properties[name] = value;
    }
  }
  if (properties.size() > kUserPropertiesMax) {
    return refuse(E2BIG, doing, "it has 1024 properties, and more are not kept");
  }
  return {};
}

}  // namespace coppice::verb
