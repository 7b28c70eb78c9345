// cli/table.h — every table the program prints: aligned columns, tabs for scripts, or JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "base/types.h"

namespace coppice::cli {

// One value, which knows how it is shown to a person, exactly (-p), and in JSON.
class Cell {
 public:
  Cell() = default;  // Nothing: "-", null.
  static Cell text(std::string text);
  static Cell bytes(u64 bytes);                      // 1.50G; exactly 1610612736.
  static Cell count(u64 count);                      // 1.46K; exactly 1500.
  static Cell exact(u64 number);                     // 1500 always: ids, groups, percentages.
  static Cell named(u64 number, std::string shown);  // \"none\"; exactly 0.
  static Cell time(u64 unix_s);                      // Local time; exactly Unix seconds.
  static Cell nanoseconds(u64 nanoseconds);          // 12.4us; exactly 12400.

  std::string show(bool exactly) const;
  nlohmann::ordered_json json() const;
  // Numbers before texts, nothing first: the order of `list -s`.
  friend bool operator<(const Cell& left, const Cell& right);

 private:
  enum class Kind : u8 { none, text, bytes, count, exact, time, nanoseconds };
  Kind kind_ = Kind::none;
  u64 number_ = 0;
  std::string text_;
};

struct Column {
  std::string name;  // The key in JSON.
  bool right = false;
  std::string header = {};  // Empty: the name in capitals.
};

struct Format {
  bool headers = true;  // Without them (-H), one tab stands between values.
  bool exact = false;   // -p
  bool json = false;    // An array of objects. Wins over both.
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // Each as long as `columns`.
};

// By one column; rows that are equal in it keep their order.
void sort_rows(Table& table, size_t column, bool descending);

std::string render(const Table& table, const Format& format);
void print(const Table& table, const Format& format);  // To stdout.

}  // namespace coppice::cli
