#include "cli/maps.h"

#include <cerrno>
#include <charconv>
#include <cstring>

#include "cli/links.h"

namespace coppice::cli {
namespace {

constexpr u32 kElementsAtATime = 1000;

std::span<const std::byte> bytes_of(capnp::Data::Reader data) {
  return {reinterpret_cast<const std::byte*>(data.begin()), data.size()};
}
capnp::Data::Reader data_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

bool is_of(schema::MapInfo::Reader info, u64 link) {
  for (const u64 each : info.getLinks()) {
    if (each == link) return true;
  }
  return false;
}

Attempt<u64> find_map_id(Connection& connection, const MapChoice& choice) {
  u64 id = 0;
  const char* const last = choice.name.data() + choice.name.size();
  const auto [end, error] = std::from_chars(choice.name.data(), last, id);
  if (error == std::errc{} && end == last) return id;
  std::optional<u64> link;
  if (!choice.link.empty()) {
    TRY(link, find_link_id(connection, choice.link));
  }
  TRY(const auto response, connection.ask(connection.host().mapsRequest()));
  std::string ids;
  size_t count = 0;
  for (auto each : response.getValue()) {
    const auto info = each.getInfo();
    if (choice.name != info.getName().cStr() || (link && !is_of(info, *link))) continue;
    id = info.getId();
    ids += fmt::format("{}{}", ids.empty() ? "" : ", ", id);
    ++count;
  }
  if (count == 1) return id;
  if (count == 0)
    return refuse(fmt::format("there is no map '{}' ('coppice map list' shows them)", choice.name),
                  ENOENT);
  return misuse(
      fmt::format("several maps are called '{}': name its link with --link, or say its "
                  "number: {}",
                  choice.name, ids));
}

}  // namespace

Attempt<OpenMap> OpenMap::find(Connection& connection, const MapChoice& choice) {
  TRY(const u64 id, find_map_id(connection, choice));
  auto request = connection.host().mapRequest();
  request.setId(id);
  TRY(auto response, connection.ask(kj::mv(request)));
  OpenMap map(connection, response.getValue());
  TRY(const auto answer, connection.ask(map.capability_.infoRequest()));
  const auto info = answer.getValue();
  map.name_ = info.getName().cStr();
  map.kind_ = info.getKind().cStr();
  map.key_bytes_ = info.getKeySize();
  map.slot_bytes_ = info.getValueSize();
  map.value_bytes_ = info.getValueBytes();
  map.entries_max_ = info.getMaxEntries();
  TRY(const auto types, connection.ask(map.capability_.typesRequest()));
  if (types.getValue().size() == 0) return map;
  TRY(auto btf, bpf::Btf::read(bytes_of(types.getValue())));
  map.types_ = std::make_unique<bpf::Btf>(std::move(btf));
  map.key_type_ = {.types = map.types_.get(), .id = info.getKeyType()};
  map.value_type_ = {.types = map.types_.get(), .id = info.getValueType()};
  return map;
}

Json OpenMap::key(std::span<const std::byte> bytes) const {
  u32 index = 0;
  if (!is_indexed() || bytes.size() != sizeof index) return value_of_bytes(key_type_, bytes);
  std::memcpy(&index, bytes.data(), sizeof index);
  return index;
}

Json OpenMap::value(std::span<const std::byte> bytes) const {
  const size_t stride = (slot_bytes_ + 7) / 8 * 8;
  if (!is_per_cpu() || stride == 0) return value_of_bytes(value_type_, bytes);
  Json slots = Json::array();
  for (size_t at = 0; at + slot_bytes_ <= bytes.size(); at += stride)
    slots.push_back(value_of_bytes(value_type_, bytes.subspan(at, slot_bytes_)));
  return slots;
}

Attempt<std::vector<std::byte>> OpenMap::key_of_text(const std::string& text) const {
  std::vector<std::byte> key(key_bytes_);
  if (key.empty() && text.empty()) return key;
  if (is_indexed()) {
    u32 index = 0;
    const char* const last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, index);
    if (error != std::errc{} || end != last || key.size() != sizeof index)
      return misuse(
          fmt::format("map '{}' is an array: its keys are numbers, not '{}'", name_, text));
    std::memcpy(key.data(), &index, sizeof index);
    return key;
  }
  auto put = put_text(key_type_, text, key);
  if (!put)
    return misuse(fmt::format("key '{}' of map '{}': {}", text, name_, put.error().message));
  return key;
}

Attempt<std::optional<std::vector<std::byte>>> OpenMap::get(std::span<const std::byte> key) {
  auto request = capability_.getRequest();
  request.setKey(data_of(key));
  const auto response = connection_->ask(kj::mv(request));
  if (!response && response.error().error == ENOENT) return std::nullopt;
  if (!response) return std::unexpected(response.error());
  const auto bytes = bytes_of(response->getValue());
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

Attempt<std::vector<std::byte>> OpenMap::value_of_text(
    std::optional<std::vector<std::byte>> present, const std::string& text) const {
  std::vector<std::byte> value =
      present ? *std::move(present) : std::vector<std::byte>(value_bytes_);
  const size_t stride = is_per_cpu() ? (slot_bytes_ + 7) / 8 * 8 : value.size();
  for (size_t at = 0; stride != 0 && at + slot_bytes_ <= value.size(); at += stride) {
    auto put = put_text(value_type_, text, std::span(value).subspan(at, slot_bytes_));
    if (!put) return misuse(fmt::format("value of map '{}': {}", name_, put.error().message));
  }
  return value;
}

Attempt<> OpenMap::for_each(const Visit& visit) {
  if (is_ring())
    return misuse(
        fmt::format("map '{}' is a ring buffer: 'coppice map watch' shows its records", name_));
  std::vector<std::byte> after;
  // Where elements come and go meanwhile, the walk may begin anew.
  for (u64 seen = 0; seen <= 2 * u64{entries_max_};) {
    auto request = capability_.dumpRequest();
    request.setAfter(data_of(after));
    request.setCountMax(kElementsAtATime);
    TRY(const auto response, connection_->ask(kj::mv(request)));
    const auto elements = response.getValue();
    for (auto each : elements) visit(bytes_of(each.getKey()), bytes_of(each.getValue()));
    if (elements.size() == 0) break;
    seen += elements.size();
    const auto last = bytes_of(elements[elements.size() - 1].getKey());
    after.assign(last.begin(), last.end());
    if (after.empty()) break;  // Queues have no keys.
  }
  return {};
}

}  // namespace coppice::cli
