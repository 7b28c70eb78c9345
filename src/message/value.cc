#include "message/value.h"

#include <bit>
#include <cstring>

#include "base/check.h"

namespace coppice::message {

// ------------------------------------------------------------------ encoding

void Encoder::put(std::string_view text) {
  CHECK(text.size() <= UINT32_MAX);
  const size_t at = bytes_.size();
  bytes_.resize(at + sizeof(u32) + text.size());
  store_le(bytes_.data() + at, static_cast<u32>(text.size()));
  if (!text.empty()) std::memcpy(bytes_.data() + at + sizeof(u32), text.data(), text.size());
}

void Encoder::put(const Value& value) { put_value(value, 0); }

void Encoder::put_list_head(size_t count) {
  CHECK(count <= UINT32_MAX);
  put(Tag::list);
  put(static_cast<u32>(count));
}

void Encoder::put_record_head(size_t count) {
  CHECK(count <= UINT32_MAX);
  put(Tag::record);
  put(static_cast<u32>(count));
}

void Encoder::put_text_value(std::string_view text) {
  put(Tag::text);
  put(text);
}

void Encoder::put_text_value(std::string_view first, char between, std::string_view last) {
  const size_t length = first.size() + 1 + last.size();
  CHECK(length <= UINT32_MAX);
  const size_t at = bytes_.size();
  bytes_.resize(at + 1 + sizeof(u32) + length);
  std::byte* to = bytes_.data() + at;
  store_le(to, Tag::text);
  store_le(to + 1, static_cast<u32>(length));
  to += 1 + sizeof(u32);
  if (!first.empty()) std::memcpy(to, first.data(), first.size());
  to[first.size()] = static_cast<std::byte>(between);
  if (!last.empty()) std::memcpy(to + first.size() + 1, last.data(), last.size());
}

void Encoder::put_integer_value(i64 value) {
  put(Tag::integer);
  put(value);
}

void Encoder::put_value(const Value& value, size_t depth) {
  CHECK(depth <= kDepthMax);
  if (const bool* flag = std::get_if<bool>(&value.data)) {
    put(*flag ? Tag::yes : Tag::no);
  } else if (const i64* integer = std::get_if<i64>(&value.data)) {
    put_integer_value(*integer);
  } else if (const double* real = std::get_if<double>(&value.data)) {
    put(Tag::real);
    put(std::bit_cast<u64>(*real));
  } else if (const std::string* text = std::get_if<std::string>(&value.data)) {
    put_text_value(*text);
  } else if (const List* list = std::get_if<List>(&value.data)) {
    put_list_head(list->size());
    for (const Value& each : *list) put_value(each, depth + 1);
  } else if (const Record* record = std::get_if<Record>(&value.data)) {
    put_record_head(record->size());
    for (const auto& [name, each] : *record) {
      put(std::string_view(name));
      put_value(each, depth + 1);
    }
  } else {
    put(Tag::nil);
  }
}

// ------------------------------------------------------------------ decoding

bool Decoder::get_bool() {
  const u8 byte = reader_.get<u8>();
  if (byte > 1) good_ = false;
  return byte == 1;
}

size_t Decoder::get_count(size_t each_bytes) {
  CHECK(each_bytes > 0);
  const size_t count = reader_.get<u32>();
  if (good() && count <= reader_.remaining() / each_bytes) return count;
  good_ = false;
  return 0;
}

std::string Decoder::get_text() {
  const size_t length = get_count();
  const std::span<const std::byte> bytes = reader_.bytes(length);
  if (!good() || bytes.empty()) return {};
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Value Decoder::get_value() {
  ++values_;
  Value value = value_at(0);
  return good() ? std::move(value) : Value{};
}

Value Decoder::value_at(size_t depth) {
  if (depth > kDepthMax || values_ > kValuesMax) good_ = false;
  if (!good()) return {};
  switch (const Tag tag = reader_.get<Tag>()) {
    case Tag::nil: return {};
    case Tag::no:
    case Tag::yes: return tag == Tag::yes;
    case Tag::integer: return reader_.get<i64>();
    case Tag::real: return std::bit_cast<double>(reader_.get<u64>());
    case Tag::text: return get_text();
    case Tag::list: {
      const size_t count = get_count();
      values_ += count;
      List list;
      if (values_ <= kValuesMax) list.reserve(count);
      for (size_t i = 0; i < count && good(); ++i) list.push_back(value_at(depth + 1));
      return list;
    }
    case Tag::record: {
      const size_t count = get_count(sizeof(u32) + 1);
      values_ += count;
      Record record;
      if (values_ <= kValuesMax) record.reserve(count);
      for (size_t i = 0; i < count && good(); ++i) {
        std::string name = get_text();
        record.emplace_back(std::move(name), value_at(depth + 1));
      }
      return record;
    }
  }
  good_ = false;
  return {};
}

}  // namespace coppice::message
