// cap/descriptor.h — descriptors that ride on capabilities.
#pragma once

#include <capnp/capability.h>
#include <kj/io.h>

#include "base/result.h"

namespace coppice::cap {

// A descriptor of our own for what `holder` carries; the capability may go after that. invalid: it carries none.
kj::Promise<Result<kj::AutoCloseFd>> take_descriptor(capnp::Capability::Client holder);

}  // namespace coppice::cap
