// channel/lists.h — the lists that a program walks through, page by page.
//
// Theory. What a list holds is settled when it is made: ids, in a stable order. Rows are worked out
// when their page is asked for, from what the transaction sees then; what is gone by then is nil.
// So a program may destroy what it lists. Many lists may be open, because a language with a
// garbage collector says late that it needs one no more; beyond the limits the one that was not
// used for longest is closed, and asking for its next page is an error.
#pragma once

#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "message/value.h"
#include "pool/catalog.h"
#include "verb/properties.h"

namespace coppice::channel {

inline constexpr size_t kListsMax = 1024;
inline constexpr size_t kListItemsMax = 4'000'000;  // Of all open lists together.

class Lists {
 public:
  Lists(const pool::Transaction& view, const verb::Facts& facts, verb::Reader& reader)
      : view_(view), facts_(facts), reader_(reader) {}

  // A cursor, never 0; else why there is none, in a line.
  std::expected<u64, std::string> open(std::string_view what, std::string_view name);
  // Appends the value [rows, next].
  std::expected<void, std::string> page(u64 cursor, u64 from, u64 count, message::Encoder& into);
  void drop(u64 cursor);

 private:
  using Datasets = std::vector<pool::DatasetId>;
  using Snapshots = std::vector<pool::SnapshotId>;
  using Row = std::vector<message::Value>;
  struct Marks {
    pool::DatasetId dataset{};
    std::vector<std::string> names;
  };
  struct Properties {
    verb::Target target;
    std::vector<std::string> names;
    bool values = true;
  };
  using Items = std::variant<Datasets, Snapshots, Marks, Properties, std::vector<Row>>;
  struct List {
    Items items;
    size_t count = 0;
    u64 used = 0;  // When last: in steps of step_.
  };

  std::expected<Items, std::string> find(std::string_view what, std::string_view name) const;
  std::vector<Row> exports_below(pool::DatasetId top) const;
  std::vector<Row> links_below(pool::DatasetId top) const;
  std::vector<Row> objects() const;
  void make_room(size_t count);
  bool put_row(const List& list, size_t index, message::Encoder& into);
  bool put_property(const Properties& list, size_t index, message::Encoder& into) const;
  std::string_view prefix(pool::DatasetId id);

  const pool::Transaction& view_;
  const verb::Facts& facts_;
  verb::Reader& reader_;
  std::map<u64, List> lists_;
  u64 next_ = 1;
  u64 step_ = 0;
  size_t items_ = 0;
  // The full name that rows of one page share.
  pool::DatasetId prefix_of_{};
  std::string prefix_;
};

// A property's value as programs get it: numbers as integers.
message::Value value_of(const verb::PropertyValue& value, std::string_view property);
// The dataset where it is set, "default", or nil.
message::Value source_of(const pool::CatalogView& view, const verb::Target& target,
                         const verb::PropertyValue& value);

}  // namespace coppice::channel
