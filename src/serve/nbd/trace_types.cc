#include "serve/nbd/trace_types.h"

#include "serve/nbd/connection.h"

// Offsets in a class that is no plain structure: both compilers know them all the same.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace coppice::serve::nbd {

std::vector<trace::Structure> TraceTypes::all() {
  using Weight = Outbox::Weight;
  return {
      {"nbd_Weight",
       sizeof(Weight),
       {COPPICE_FIELD(Weight, requests), COPPICE_FIELD(Weight, bytes)}},
      {"nbd_Connection",
       sizeof(Connection),
       {COPPICE_FIELD(Connection, structured_), COPPICE_FIELD(Connection, parsed_),
        COPPICE_FIELD(Connection, parsed_bytes_), COPPICE_FIELD(Connection, running_),
        COPPICE_FIELD_OF(Connection, in_flight_, "nbd_Weight"), COPPICE_FIELD(Connection, sending_),
        COPPICE_FIELD(Connection, broken_)}},
  };
}

}  // namespace coppice::serve::nbd
