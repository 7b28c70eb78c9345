// pool/events.h — fills the views of the pool's stable tracepoints. Called only while they are on.
#pragma once

#include <string>
#include <vector>

#include "pool/catalog.h"
#include "trace/fire.h"

namespace coppice::pool {

struct ErrorPlace {
  u64 time_ns = 0;
  u64 pool_guid = 0;
  u64 volume = 0;       // Or snapshot; 0: none in particular.
  u64 disk_offset = 0;  // Bytes.
  coppice_error_kind kind = COPPICE_ERROR_DISK;
};
void fire_error(const ErrorPlace& place, const Error& error);

// The snapshots, clones and destructions of one transaction. They are noted before it is accepted,
// while what it makes and what it destroys both have their names, and fired once it is durable.
class TreeEvents {
 public:
  static bool wanted() {
    return trace::on(trace::Point::snapshot) || trace::on(trace::Point::clone) ||
           trace::on(trace::Point::destroy);
  }
  void note(const Transaction& transaction, const CatalogView& before);
  void fire(u64 time_ns, u64 pool_guid, Txg txg) const;

 private:
  struct Event {
    trace::Point point;
    u64 volume, snapshot;
    std::string name;
  };
  std::vector<Event> events_;
};

}  // namespace coppice::pool
