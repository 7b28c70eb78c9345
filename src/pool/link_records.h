// pool/link_records.h — what the catalog keeps of eBPF: pinned links, and the objects they run.
//
// Theory. A pinned link is desired state, as a pinned export is: it belongs to a dataset, in the
// order in which its point runs its links, and the host brings it about. It names its object by
// hash; the object's record says where the code comes from, so a restart needs no file. An object
// stays while a link names it or while it has a name of its own: the verbs drop it with the last of
// both, so no record of code is left that nobody can find.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pool/shared_value.h"
#include "pool/types.h"

namespace coppice::pool {

inline constexpr size_t kObjectBytesMax = 1_MiB;
inline constexpr size_t kObjectSettingsMax = 1024;  // Each of at most kSettingBytesMax.
inline constexpr size_t kSettingBytesMax = 4096;
inline constexpr size_t kObjectProgramsMax = 1024;
inline constexpr size_t kObjectsMax = 1024;         // Of a pool.
inline constexpr size_t kObjectHashBytes = 64;      // Hexadecimal digits of a SHA-256.
inline constexpr size_t kPointLinksMax = 64;        // Of one hook of one dataset.
inline constexpr size_t kDatasetLinksMax = 1024;    // Of all hooks of one dataset.
inline constexpr size_t kRedirectsMax = 8;          // Of one link.
inline constexpr size_t kContentsBytesMax = 1_MiB;  // Of one link's maps, as they are stored.
inline constexpr size_t kContentsEntryBytes = 8;    // What an entry takes beside key and value.
inline constexpr size_t kLinkTextBytesMax = 255;    // Of a hook, a program, a function, ...
inline constexpr size_t kLinkAuthorBytesMax = 1023;

// The hook of a link that replaces a function of another link's program.
inline constexpr std::string_view kReplaceHook = "freplace";

enum class OnError : u8 { pass = 0, deny = 1 };  // What becomes of the request.

// What is kept of maps: by a map's name, its entries.
using MapEntries = std::vector<std::pair<std::string, std::string>>;  // Key and value.
using MapContents = std::map<std::string, MapEntries, std::less<>>;

struct PinnedLink {
  u64 id = 0;            // Drawn from the counter of DatasetId; never reused.
  std::string name;      // Unique in the pool.
  std::string hook;      // "volume.submit", "tracepoint/io_complete", ..., or kReplaceHook.
  std::string object;    // Its hash.
  std::string program;   // Of the object.
  std::string instance;  // Links of one object and instance share maps.
  u32 go_on = 0;         // Results on which the chain goes on, a bit each; 0: the hook's default.
  OnError on_error = OnError::pass;
  std::vector<DatasetId> redirects;  // One that is gone names nothing: ids are never reused.
  u64 interval_ns = 0;               // Of a timer.
  u64 replaces = 0;                  // Id of the link, of the same dataset, ...
  std::string function;              // ... whose program's function this one is.
  std::string author;
  u64 created_s = 0;  // Unix time.
  MapContents contents;
  friend bool operator==(const PinnedLink&, const PinnedLink&) = default;
};
using PinnedLinks = std::vector<SharedValue<PinnedLink>>;

enum class Tier : u8 { internal = 0, stable = 1 };

struct ObjectProgram {
  std::string name;
  std::string hook;  // Where it may be linked.
  Tier tier = Tier::internal;
  friend bool operator==(const ObjectProgram&, const ObjectProgram&) = default;
};

struct StoredObject {
  std::string hash;   // Over bytes and settings: what it is called everywhere.
  std::string name;   // Unique in the pool; empty: it stays only while links use it.
  std::string bytes;  // The file that the compiler wrote.
  std::map<std::string, std::string> settings;  // Of its global variables.
  std::vector<ObjectProgram> programs;
  friend bool operator==(const StoredObject&, const StoredObject&) = default;
};

bool is_object_hash(std::string_view text);
size_t stored_bytes(const MapContents& contents);

// Within the bounds above, by itself. Records keep to it; so do the bytes that decode.
bool well_formed(const PinnedLink& link);
bool well_formed(const StoredObject& object);
// All of one dataset: bounds, each function of a link replaced once and by a link of this dataset
// that is not itself a replacement. Names and ids are the pool's question.
bool well_formed(const PinnedLinks& links);

}  // namespace coppice::pool
