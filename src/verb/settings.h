// verb/settings.h — checking what people want properties to be.
#pragma once

#include "verb/accounts.h"
#include "verb/refuse.h"

namespace coppice::verb {

inline constexpr u64 kVolsizeMin = 4_KiB;
inline constexpr u64 kVolsizeMax = u64{8} << 60;
inline constexpr size_t kUserPropertiesMax = 1024;  // Of one object.

// Values in their stored form: numbers of bytes in digits, on or off. Empty: "none", not stored.
using Settings = std::map<std::string, std::string>;

// Settable on `kind` (kGroup...), of the right form, within limits. EINVAL, E2BIG. volsize is left
// to set.
Attempt<Settings> check_settings(Doing doing, u8 kind, const Pairs& wanted);

Attempt<> check_volsize(Doing doing, u64 bytes);

// The dataset as it would be has room for its quota and reservation. ENOSPC. `promised`: what
// earlier datasets of the same plan will take from the pool; this one's share is added.
Attempt<> check_room(const Context& context, Doing doing, const pool::Dataset& changed,
                     u64& promised);

// Puts them into a record's properties. E2BIG: too many user properties.
Attempt<> put_settings(Doing doing, const Settings& settings,
                       std::map<std::string, std::string>& properties);

}  // namespace coppice::verb
