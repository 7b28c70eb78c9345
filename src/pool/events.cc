#include "pool/events.h"

namespace coppice::pool {
namespace {

template <class View>
void fire_tree(u64 time_ns, u64 pool_guid, Txg txg, u64 volume, u64 snapshot,
               std::string_view name) {
  View view{.time_ns = time_ns,
            .pool = pool_guid,
            .volume = volume,
            .snapshot = snapshot,
            .txg = raw(txg),
            .name = {}};
  trace::set_text(view.name, name);
  trace::fire(view);
}

}  // namespace

void fire_error(const ErrorPlace& place, const Error& error) {
  coppice_error view{.time_ns = place.time_ns,
                     .pool = place.pool_guid,
                     .volume = place.volume,
                     .disk_offset = place.disk_offset,
                     .error = static_cast<u32>(errno_of(error.code)),
                     .kind = place.kind,
                     .message = {}};
  trace::set_text(view.message, describe(error));
  trace::fire(view);
}

void TreeEvents::note(const Transaction& transaction, const CatalogView& before) {
  using trace::Point;
  for (const TreeOp& op : transaction.tree_ops()) {
    if (const auto* take = std::get_if<TakeSnapshot>(&op)) {
      if (transaction.snapshot(take->snapshot) != nullptr)  // Else destroyed again.
        events_.push_back({Point::snapshot, raw(take->dataset), raw(take->snapshot),
                           full_name(transaction, take->snapshot)});
    } else if (const auto* clone = std::get_if<MakeClone>(&op)) {
      if (transaction.dataset(clone->dataset) != nullptr)
        events_.push_back({Point::clone, raw(clone->dataset), raw(clone->origin),
                           full_name(transaction, clone->dataset)});
    } else if (const auto* drop = std::get_if<DropSnapshot>(&op)) {
      if (before.snapshot(drop->snapshot) != nullptr)  // Else made here.
        events_.push_back({Point::destroy, raw(drop->dataset), raw(drop->snapshot),
                           full_name(before, drop->snapshot)});
    } else if (const auto* gone = std::get_if<DropVolume>(&op)) {
      if (before.dataset(gone->dataset) != nullptr)
        events_.push_back(
            {Point::destroy, raw(gone->dataset), 0, full_name(before, gone->dataset)});
    }
  }
}

void TreeEvents::fire(u64 time_ns, u64 pool_guid, Txg txg) const {
  for (const Event& each : events_) {
    if (!trace::on(each.point)) continue;
    const auto fire = each.point == trace::Point::snapshot ? fire_tree<coppice_snapshot>
                      : each.point == trace::Point::clone  ? fire_tree<coppice_clone>
                                                           : fire_tree<coppice_destroy>;
    fire(time_ns, pool_guid, txg, each.volume, each.snapshot, each.name);
  }
}

}  // namespace coppice::pool
