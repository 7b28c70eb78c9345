#include "helper/lua/values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"

namespace coppice::lua {
namespace {

using message::Encoder;
using message::Tag;

std::string_view text_at(lua_State* state, int index) {
  CHECK(lua_type(state, index) == LUA_TSTRING);  // Of a number this would make a string.
  size_t length = 0;
  const char* text = lua_tolstring(state, index, &length);
  return {text, length};
}

std::string type_at(lua_State* state, int index) { return luaL_typename(state, index); }

// ------------------------------------------------------------------ arguments

std::optional<std::string> encode_at(lua_State* state, int index, Encoder& to, int depth);

std::optional<std::string> encode_list(lua_State* state, int table, size_t count, Encoder& to,
                                       int depth) {
  to.put_list_head(count);
  for (size_t i = 1; i <= count; ++i) {
    lua_rawgeti(state, table, static_cast<lua_Integer>(i));
    auto wrong = encode_at(state, lua_gettop(state), to, depth + 1);
    lua_pop(state, 1);
    if (wrong) return wrong;
  }
  return std::nullopt;
}

// Of the pairs whose keys are not 1..`listed`.
std::optional<std::string> encode_record(lua_State* state, int table, size_t listed, Encoder& to,
                                         int depth) {
  constexpr size_t kNamesMax = 1024;   // Each is searched for.
  std::vector<std::string_view> keys;  // The table holds them.
  for (lua_pushnil(state); lua_next(state, table) != 0; lua_pop(state, 1)) {
    if (lua_isinteger(state, -2) != 0 && lua_tointeger(state, -2) >= 1 &&
        static_cast<u64>(lua_tointeger(state, -2)) <= listed) {
      continue;
    }
    const bool is_text = lua_type(state, -2) == LUA_TSTRING;
    if (!is_text || keys.size() == kNamesMax) {
      std::string wrong = is_text ? "too many names in a table"
                                  : "a table with a " + type_at(state, -2) + " as a key";
      lua_pop(state, 2);
      return wrong;
    }
    keys.push_back(text_at(state, -2));
  }
  std::sort(keys.begin(), keys.end());
  to.put_record_head(keys.size());
  for (const std::string_view key : keys) {
    to.put(key);
    // By search, not by lua_getfield: that would make the key anew, and may raise.
    for (lua_pushnil(state); lua_next(state, table) != 0; lua_pop(state, 1)) {
      if (lua_type(state, -2) == LUA_TSTRING && text_at(state, -2).data() == key.data()) break;
    }
    auto wrong = encode_at(state, lua_gettop(state), to, depth + 1);
    lua_pop(state, 2);
    if (wrong) return wrong;
  }
  return std::nullopt;
}

std::optional<std::string> encode_table(lua_State* state, int table, Encoder& to, int depth) {
  if (depth >= kArgumentDepthMax || lua_checkstack(state, 8) == 0) return "tables too deep";
  const size_t count = lua_rawlen(state, table);
  if (count > message::kValuesMax) return "too long a list";
  size_t entries = 0;
  for (lua_pushnil(state); lua_next(state, table) != 0; lua_pop(state, 1)) ++entries;
  if (entries == count) return encode_list(state, table, count, to, depth);
  return encode_record(state, table, 0, to, depth);
}

std::optional<std::string> encode_at(lua_State* state, int index, Encoder& to, int depth) {
  switch (lua_type(state, index)) {
    case LUA_TNIL: to.put(Tag::nil); return std::nullopt;
    case LUA_TBOOLEAN:
      to.put(lua_toboolean(state, index) != 0 ? Tag::yes : Tag::no);
      return std::nullopt;
    case LUA_TSTRING: to.put_text_value(text_at(state, index)); return std::nullopt;
    case LUA_TNUMBER: {
      int whole = 0;  // 2^30 is a float in Lua, and means the integer.
      const lua_Integer integer = lua_tointegerx(state, index, &whole);
      if (whole != 0) {
        to.put_integer_value(integer);
      } else {
        to.put(Tag::real);
        to.put(std::bit_cast<u64>(lua_tonumber(state, index)));
      }
      return std::nullopt;
    }
    case LUA_TTABLE: return encode_table(state, index, to, depth);
    default: return "a " + type_at(state, index);
  }
}

// ------------------------------------------------------------------ answers

bool push_at(lua_State* state, Reader& from, size_t depth);

bool push_list(lua_State* state, Reader& from, size_t depth) {
  const u32 count = from.get<u32>();
  if (!from.good() || count > from.remaining()) return false;
  lua_createtable(state, static_cast<int>(count), 0);
  for (u32 i = 1; i <= count; ++i) {
    if (!push_at(state, from, depth + 1)) {
      lua_pop(state, 1);
      return false;
    }
    lua_rawseti(state, -2, i);
  }
  return true;
}

bool push_text(lua_State* state, Reader& from) {
  const u32 length = from.get<u32>();
  const auto bytes = from.bytes(length);
  if (!from.good()) return false;
  lua_pushlstring(state, reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return true;
}

bool push_record(lua_State* state, Reader& from, size_t depth) {
  const u32 count = from.get<u32>();
  if (!from.good() || count > from.remaining() / (sizeof(u32) + 1)) return false;
  lua_createtable(state, 0, static_cast<int>(count));
  for (u32 i = 0; i < count; ++i) {
    if (!push_text(state, from)) {
      lua_pop(state, 1);
      return false;
    }
    if (!push_at(state, from, depth + 1)) {
      lua_pop(state, 2);
      return false;
    }
    lua_rawset(state, -3);
  }
  return true;
}

bool push_at(lua_State* state, Reader& from, size_t depth) {
  if (depth > message::kDepthMax) return false;
  luaL_checkstack(state, 4, "answer too deep");
  const Tag tag = from.get<Tag>();
  if (!from.good()) return false;
  switch (tag) {
    case Tag::nil: lua_pushnil(state); return true;
    case Tag::no:
    case Tag::yes: lua_pushboolean(state, tag == Tag::yes); return true;
    case Tag::integer: lua_pushinteger(state, from.get<i64>()); break;
    case Tag::real: lua_pushnumber(state, std::bit_cast<double>(from.get<u64>())); break;
    case Tag::text: return push_text(state, from);
    case Tag::list: return push_list(state, from, depth);
    case Tag::record: return push_record(state, from, depth);
    default: return false;
  }
  if (!from.good()) lua_pop(state, 1);
  return from.good();
}

bool skip_at(Reader& from, size_t depth) {
  if (depth > message::kDepthMax) return false;
  const Tag tag = from.get<Tag>();
  if (!from.good()) return false;
  switch (tag) {
    case Tag::nil:
    case Tag::no:
    case Tag::yes: break;
    case Tag::integer:
    case Tag::real: from.skip(sizeof(u64)); break;
    case Tag::text: from.skip(from.get<u32>()); break;
    case Tag::list:
    case Tag::record: {
      const u32 count = from.get<u32>();
      for (u32 i = 0; i < count; ++i) {
        if (tag == Tag::record) from.skip(from.get<u32>());
        if (!from.good() || !skip_at(from, depth + 1)) return false;
      }
      break;
    }
    default: return false;
  }
  return from.good();
}

// ------------------------------------------------------------------ results

class Conversion {
 public:
  Conversion(lua_State* state, size_t bytes_max) : state_(state), bytes_left_(bytes_max) {}
  Returned run(int index) {
    message::Value value = convert(index, 0);
    if (too_big_) error_ = "the returned value is too big";
    if (!error_.empty()) value = {};
    return {.value = std::move(value), .error = std::move(error_), .too_big = too_big_};
  }

 private:
  using Entry = std::pair<std::string, message::Value>;
  struct Key {
    bool is_text = false;
    lua_Integer number = 0;
    Entry entry{};
  };

  // Of a value; keys are bytes alone.
  bool take(size_t bytes) {
    if (++values_ > kReturnedValuesMax) too_big_ = true;
    return take_bytes(bytes);
  }
  bool take_bytes(size_t bytes) {
    if (bytes > bytes_left_) too_big_ = true;
    if (too_big_) return false;
    bytes_left_ -= bytes;
    return true;
  }

  message::Value refuse(const std::string& why) {
    if (error_.empty()) {
      error_ = why + (path_.empty() ? "" : " at return" + path_);
    }
    return {};
  }

  message::Value convert(int index, int depth) {
    switch (lua_type(state_, index)) {
      case LUA_TNIL: take(1); return {};
      case LUA_TBOOLEAN: take(1); return lua_toboolean(state_, index) != 0;
      case LUA_TNUMBER:
        if (!take(1 + sizeof(u64))) return {};
        if (lua_isinteger(state_, index) != 0) return i64{lua_tointeger(state_, index)};
        return lua_tonumber(state_, index);
      case LUA_TSTRING: {
        const std::string_view text = text_at(state_, index);
        if (!take(1 + sizeof(u32) + text.size())) return {};
        return std::string(text);
      }
      case LUA_TTABLE: return convert_table(index, depth + 1);
      default: return refuse("a " + type_at(state_, index) + " cannot be returned");
    }
  }

  // The key at `index` as text; false: it cannot be one.
  bool name_of(int index, Key& key) {
    switch (lua_type(state_, index)) {
      case LUA_TSTRING:
        key.is_text = true;
        key.entry.first = text_at(state_, index);
        return true;
      case LUA_TBOOLEAN:
        key.is_text = true;
        key.entry.first = lua_toboolean(state_, index) != 0 ? "true" : "false";
        return true;
      case LUA_TNUMBER:
        if (lua_isinteger(state_, index) == 0) return false;
        key.number = lua_tointeger(state_, index);
        key.entry.first = std::to_string(key.number);
        return true;
      default: return false;
    }
  }

  message::Value convert_table(int table, int depth) {
    if (depth > kReturnDepthMax || lua_checkstack(state_, 8) == 0) {
      return refuse("tables nested deeper than " + std::to_string(kReturnDepthMax));
    }
    if (!take(1 + sizeof(u32))) return {};
    std::vector<Key> keys;
    for (lua_pushnil(state_); lua_next(state_, table) != 0; lua_pop(state_, 1)) {
      Key key;
      bool good = name_of(-2, key);
      if (!good) {
        refuse("a " + std::string(lua_isnumber(state_, -2) != 0 ? "float" : type_at(state_, -2)) +
               " as a key cannot be returned");
      }
      good = good && take_bytes(sizeof(u32) + key.entry.first.size());
      if (good) {
        const size_t path_size = path_.size();
        path_ += "." + key.entry.first.substr(0, kPathPartMax);
        key.entry.second = convert(lua_gettop(state_), depth);
        path_.resize(path_size);
        good = error_.empty() && !too_big_;
      }
      if (!good) {
        lua_pop(state_, 2);
        return {};
      }
      keys.push_back(std::move(key));
    }
    return ordered(std::move(keys));
  }

  message::Value ordered(std::vector<Key> keys) {
    std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
      if (a.is_text != b.is_text) return b.is_text;
      return a.is_text ? a.entry.first < b.entry.first : a.number < b.number;
    });
    message::Record record;
    record.reserve(keys.size());
    std::vector<std::string_view> names;
    names.reserve(keys.size());
    for (Key& key : keys) record.push_back(std::move(key.entry));
    for (const Entry& entry : record) names.emplace_back(entry.first);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) {
      return refuse("two keys of a table that are the same once they are text, \"" +
                    std::string(*twice) + "\", cannot be returned");
    }
    return record;
  }

  static constexpr size_t kPathPartMax = 40;
  lua_State* state_;
  size_t bytes_left_;
  size_t values_ = 0;
  bool too_big_ = false;
  std::string error_, path_;
};

}  // namespace

std::optional<std::string> encode_arguments(lua_State* state, int first, int count, Encoder& to) {
  if (count == 1 && lua_istable(state, first)) {
    if (lua_checkstack(state, 8) == 0) return "tables too deep";
    const size_t listed = lua_rawlen(state, first);
    if (listed > message::kValuesMax) return "too long a list";
    if (auto wrong = encode_list(state, first, listed, to, 0)) return wrong;
    return encode_record(state, first, listed, to, 0);
  }
  while (count > 0 && lua_isnil(state, first + count - 1)) --count;
  to.put_list_head(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    if (auto wrong = encode_at(state, first + i, to, 0)) return wrong;
  }
  to.put_record_head(0);
  return std::nullopt;
}

bool push_encoded(lua_State* state, Reader& from) { return push_at(state, from, 0); }

bool skip_encoded(Reader& from) { return skip_at(from, 0); }

void push_value(lua_State* state, const message::Value& value) {
  luaL_checkstack(state, 4, "value too deep");
  if (const bool* flag = std::get_if<bool>(&value.data)) {
    lua_pushboolean(state, *flag);
  } else if (const i64* integer = std::get_if<i64>(&value.data)) {
    lua_pushinteger(state, *integer);
  } else if (const double* real = std::get_if<double>(&value.data)) {
    lua_pushnumber(state, *real);
  } else if (const std::string* text = std::get_if<std::string>(&value.data)) {
    lua_pushlstring(state, text->data(), text->size());
  } else if (const message::List* list = std::get_if<message::List>(&value.data)) {
    lua_createtable(state, static_cast<int>(list->size()), 0);
    for (size_t i = 0; i < list->size(); ++i) {
      push_value(state, (*list)[i]);
      lua_rawseti(state, -2, static_cast<lua_Integer>(i) + 1);
    }
  } else if (const message::Record* record = std::get_if<message::Record>(&value.data)) {
    lua_createtable(state, 0, static_cast<int>(record->size()));
    for (const auto& [name, each] : *record) {
      lua_pushlstring(state, name.data(), name.size());
      push_value(state, each);
      lua_rawset(state, -3);
    }
  } else {
    lua_pushnil(state);
  }
}

Returned convert_returned(lua_State* state, int index, size_t bytes_max) {
  return Conversion(state, bytes_max).run(lua_absindex(state, index));
}

}  // namespace coppice::lua
