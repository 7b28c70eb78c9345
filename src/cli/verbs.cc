#include "cli/verbs.h"

#include "base/check.h"

namespace coppice::cli {
namespace {

constexpr int kDepthMax = 32;  // Of values that the daemon answers with.

void encode(schema::Value::Builder into, const nlohmann::ordered_json& value);

void encode_fields(capnp::List<schema::Field>::Builder into, const nlohmann::ordered_json& object) {
  u32 at = 0;
  for (const auto& [name, value] : object.items()) {
    into[at].setName(name.c_str());
    encode(into[at].initValue(), value);
    ++at;
  }
}

void encode(schema::Value::Builder into, const nlohmann::ordered_json& value) {
  const u32 size = static_cast<u32>(value.size());
  if (value.is_boolean()) {
    into.setFlag(value.get<bool>());
  } else if (value.is_number_integer()) {
    into.setNumber(value.get<u64>());
  } else if (value.is_string()) {
    into.setText(value.get_ref<const std::string&>().c_str());
  } else if (value.is_array()) {
    auto list = into.initList(size);
    for (u32 i = 0; i < size; ++i) encode(list[i], value[i]);
  } else if (value.is_object()) {
    encode_fields(into.initRecord(size), value);
  } else {
    CHECK(value.is_null());
    into.setNull();
  }
}

nlohmann::ordered_json decode(schema::Value::Reader value, int depth) {
  if (depth > kDepthMax) return nullptr;
  switch (value.which()) {
    case schema::Value::FLAG: return value.getFlag();
    case schema::Value::NUMBER: return value.getNumber();
    case schema::Value::TEXT: return std::string(value.getText().begin(), value.getText().size());
    case schema::Value::LIST: {
      nlohmann::ordered_json list = nlohmann::ordered_json::array();
      for (auto each : value.getList()) list.push_back(decode(each, depth + 1));
      return list;
    }
    case schema::Value::RECORD: {
      nlohmann::ordered_json record = nlohmann::ordered_json::object();
      // Straight to the end: to look for the name first, as emplace() does, is quadratic.
      auto& fields = record.get_ref<nlohmann::ordered_json::object_t&>();
      for (auto each : value.getRecord()) {
        fields.emplace_back(std::string(each.getName().begin(), each.getName().size()),
                            decode(each.getValue(), depth + 1));
      }
      return record;
    }
    case schema::Value::INTEGER: return value.getInteger();
    case schema::Value::REAL: return value.getReal();
    case schema::Value::NULL_: break;
  }
  return nullptr;
}

}  // namespace

Attempt<nlohmann::ordered_json> invoke(Connection& connection, const std::string& pool_name,
                                       const VerbCall& call) {
  CHECK(call.arguments.is_object());
  TRY(auto pool, connection.pool(pool_name));
  auto request = pool.invokeRequest();
  request.setVerb(call.verb.c_str());
  request.setDryRun(call.dry_run);
  encode_fields(request.initArguments(static_cast<u32>(call.arguments.size())), call.arguments);
  TRY(const auto response, connection.ask(kj::mv(request)));
  return decode(response.getValue(), 0);
}

Attempt<nlohmann::ordered_json> invoke_many(Connection& connection, const std::string& pool_name,
                                            const std::vector<VerbCall>& calls) {
  TRY(auto pool, connection.pool(pool_name));
  auto request = pool.invokeManyRequest();
  auto invocations = request.initInvocations(static_cast<u32>(calls.size()));
  for (u32 i = 0; i < invocations.size(); ++i) {
    CHECK(calls[i].arguments.is_object());
    invocations[i].setVerb(calls[i].verb.c_str());
    encode_fields(invocations[i].initArguments(static_cast<u32>(calls[i].arguments.size())),
                  calls[i].arguments);
  }
  TRY(const auto response, connection.ask(kj::mv(request)));
  return decode(response.getValue(), 0);
}

nlohmann::ordered_json decode_value(schema::Value::Reader value) { return decode(value, 0); }

std::vector<std::string> texts_of(const nlohmann::ordered_json& value, const char* field) {
  std::vector<std::string> texts;
  if (!value.is_object() || !value.contains(field) || !value[field].is_array()) return texts;
  for (const auto& each : value[field]) {
    if (each.is_string()) texts.push_back(each.get<std::string>());
  }
  return texts;
}

Attempt<nlohmann::ordered_json> parse_settings(const std::vector<std::string>& settings) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const std::string& each : settings) {
    const size_t equals = each.find('=');
    if (equals == each.npos || equals == 0) {
      return misuse(fmt::format("'{}' is not of the form PROP=VALUE", each));
    }
    const std::string name = each.substr(0, equals);
    if (object.contains(name)) return misuse(fmt::format("property '{}' is set twice", name));
    object[name] = each.substr(equals + 1);
  }
  return object;
}

Attempt<std::string> one_pool(const std::vector<std::string>& names) {
  CHECK(!names.empty());
  for (const std::string& name : names) {
    if (pool_part(name) != pool_part(names.front())) {
      return misuse(fmt::format("'{}' and '{}' are in two pools, and one command changes one pool",
                                names.front(), name));
    }
  }
  return names.front();
}

}  // namespace coppice::cli
