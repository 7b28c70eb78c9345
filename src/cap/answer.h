// cap/answer.h — how a refusal crosses the wire.
#pragma once

#include "base/result.h"
#include "schema/coppice.capnp.h"

namespace coppice::cap {

inline constexpr size_t kDetailsMax = 1000;

void write_refusal(schema::Refusal::Builder to, const Error& error);

}  // namespace coppice::cap
