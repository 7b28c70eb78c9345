// cli/verbs.h — runs verbs of the daemon's table: each call is one transaction, done wholly or not
// at all.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/connection.h"

namespace coppice::cli {

struct VerbCall {
  std::string verb;
  nlohmann::ordered_json arguments;  // An object: flags, numbers, texts, lists and maps of texts.
  bool dry_run = false;
};
// The value is what the verb's row says. `pool` is the pool's name, or any name in it.
Attempt<nlohmann::ordered_json> invoke(Connection& connection, const std::string& pool,
                                       const VerbCall& call);

// All of them as one transaction.
Attempt<nlohmann::ordered_json> invoke_many(Connection& connection, const std::string& pool,
                                            const std::vector<VerbCall>& calls);

nlohmann::ordered_json decode_value(schema::Value::Reader value);

// Texts of a list in what invoke() returned; none if there is no such list.
std::vector<std::string> texts_of(const nlohmann::ordered_json& value, const char* field);

// "a=b" settings as an object. The value may be empty and may hold '='.
Attempt<nlohmann::ordered_json> parse_settings(const std::vector<std::string>& settings);

// All names must be of one pool, because one transaction is; returns any of them.
Attempt<std::string> one_pool(const std::vector<std::string>& names);

}  // namespace coppice::cli
