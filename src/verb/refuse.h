// verb/refuse.h — how verbs say no, in one shape.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "verb/verb.h"

namespace coppice::verb {

// What is being tried and on what: "create", "tank/v". Views must outlive it.
struct Doing {
  std::string_view what;
  std::string_view on;
};

// "cannot create 'tank/v': dataset already exists"
inline Refusal refusal(int error, Doing doing, std::string_view why,
                       std::vector<std::string> details = {}) {
  std::string message = "cannot ";
  message.append(doing.what).append(" '").append(doing.on).append("': ").append(why);
  for (char& each : message) {
    if (static_cast<unsigned char>(each) < 0x20) each = ' ';  // One line, whatever it quotes.
  }
  return {error, std::move(message), std::move(details)};
}
inline std::unexpected<Refusal> refuse(int error, Doing doing, std::string_view why,
                                       std::vector<std::string> details = {}) {
  return std::unexpected(refusal(error, doing, why, std::move(details)));
}

}  // namespace coppice::verb

// ATTEMPT(auto place, find_place(...));  declares `place`, or returns the refusal.
#define ATTEMPT_(result, declaration, expression)                                                  \
  auto result = (expression);                                                                      \
  if (!result) [[unlikely]]                                                                        \
    return std::unexpected(std::move(result).error());                                             \
  declaration = *std::move(result)
#define ATTEMPT(declaration, expression)                                                           \
  ATTEMPT_(COPPICE_CAT(attempt_, __COUNTER__), declaration, expression)
#define ATTEMPT_VOID(expression)                                                                   \
  do {                                                                                             \
    if (auto attempt_result = (expression); !attempt_result) [[unlikely]]                          \
      return std::unexpected(std::move(attempt_result).error());                                   \
  } while (0)
