#include "cli/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "base/check.h"
#include "cli/size.h"

namespace coppice::cli {
namespace {

constexpr size_t kGap = 2;  // Blanks between two columns.

std::string header_of(const Column& column) {
  if (!column.header.empty()) return column.header;
  std::string header = column.name;
  for (char& each : header)
    each = static_cast<char>(std::toupper(static_cast<unsigned char>(each)));
  return header;
}

// Characters, not bytes: the bytes that continue a UTF-8 sequence take no place.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char each) { return (static_cast<unsigned char>(each) & 0xc0) != 0x80; }));
}

// What a value holds must not end a row or a column of a table that a script reads.
std::string on_one_line(std::string text) {
  for (char& each : text) {
    if (static_cast<unsigned char>(each) < ' ' || each == 0x7f) each = ' ';
  }
  return text;
}

std::string render_json(const Table& table) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const std::vector<Cell>& row : table.rows) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (size_t i = 0; i < row.size(); ++i) object[table.columns[i].name] = row[i].json();
    rows.push_back(std::move(object));
  }
  return rows.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

Cell Cell::text(std::string text) {
  Cell cell;
  cell.kind_ = Kind::text;
  cell.text_ = std::move(text);
  return cell;
}
#define COPPICE_NUMBER_CELL(kind)                                                                  \
  Cell Cell::kind(u64 number) {                                                                    \
    Cell cell;                                                                                     \
    cell.kind_ = Kind::kind;                                                                       \
    cell.number_ = number;                                                                         \
    return cell;                                                                                   \
  }
COPPICE_NUMBER_CELL(bytes)
COPPICE_NUMBER_CELL(count)
COPPICE_NUMBER_CELL(exact)
COPPICE_NUMBER_CELL(time)
COPPICE_NUMBER_CELL(nanoseconds)
#undef COPPICE_NUMBER_CELL
Cell Cell::named(u64 number, std::string shown) {
  Cell cell = exact(number);
  cell.text_ = std::move(shown);
  return cell;
}

std::string Cell::show(bool exactly) const {
  if (kind_ == Kind::none) return "-";
  if (kind_ == Kind::text) return text_.empty() ? "-" : on_one_line(text_);
  if (exactly) return std::to_string(number_);
  if (!text_.empty()) return text_;
  switch (kind_) {
    case Kind::bytes: return show_bytes(number_);
    case Kind::count: return show_count(number_);
    case Kind::time: return show_time(number_);
    case Kind::nanoseconds: return show_nanoseconds(number_);
    default: return std::to_string(number_);
  }
}

nlohmann::ordered_json Cell::json() const {
  if (kind_ == Kind::none) return nullptr;
  if (kind_ == Kind::text) return text_;
  return number_;
}

bool operator<(const Cell& left, const Cell& right) {
  const auto rank = [](const Cell& cell) {
    return cell.kind_ == Cell::Kind::none ? 0 : cell.kind_ == Cell::Kind::text ? 2 : 1;
  };
  if (rank(left) != rank(right)) return rank(left) < rank(right);
  return rank(left) == 2 ? left.text_ < right.text_ : left.number_ < right.number_;
}

void sort_rows(Table& table, size_t column, bool descending) {
  CHECK(column < table.columns.size());
  std::vector<size_t> order(table.rows.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, [&](size_t left, size_t right) {
    const Cell& a = table.rows[left][column];
    const Cell& b = table.rows[right][column];
    if (descending ? b < a : a < b) return true;
    if (descending ? a < b : b < a) return false;
    return left < right;
  });
  std::vector<std::vector<Cell>> sorted;
  sorted.reserve(order.size());
  for (size_t from : order) sorted.push_back(std::move(table.rows[from]));
  table.rows = std::move(sorted);
}

std::string render(const Table& table, const Format& format) {
  for (const std::vector<Cell>& row : table.rows) CHECK(row.size() == table.columns.size());
  if (format.json) return render_json(table);
  std::vector<std::vector<std::string>> lines;
  if (format.headers) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const Column& column : table.columns) line.push_back(header_of(column));
  }
  for (const std::vector<Cell>& row : table.rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const Cell& cell : row) line.push_back(cell.show(format.exact));
  }
  std::vector<size_t> widths(table.columns.size());
  for (const std::vector<std::string>& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  }
  std::string text;
  for (const std::vector<std::string>& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      const bool last = i + 1 == line.size();
      if (!format.headers) {
        text += line[i] + (last ? "" : "\t");
        continue;
      }
      const std::string blanks(widths[i] - width_of(line[i]), ' ');
      if (table.columns[i].right) text += blanks;
      text += line[i];
      if (last) break;  // No blanks at the end of a line.
      if (!table.columns[i].right) text += blanks;
      text.append(kGap, ' ');
    }
    text += '\n';
  }
  return text;
}

void print(const Table& table, const Format& format) {
  const std::string text = render(table, format);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace coppice::cli
