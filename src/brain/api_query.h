// Query strings and the cursors in them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brain/records.h"

namespace glovebox::brain {

class Query {
 public:
  explicit Query(std::string_view raw);  // what follows the '?'

  std::optional<std::string> raw(std::string_view name) const;
  // An empty value counts as none.
  std::optional<std::string> text(std::string_view name) const;
  Result<std::optional<std::int64_t>> integer(std::string_view name, std::int64_t min,
                                              std::int64_t max) const;
  Result<bool> flag(std::string_view name) const;  // false where it is not given
  // All values of name[]=a&name[]=b, name[0]=a&name[1]=b, name=a&name=b.
  std::vector<std::string> list(std::string_view name) const;
  // created_at[gt], [gte], [lt], [lte] as a range, both ends inclusive.
  struct Range {
    std::optional<Micros> from, to;
  };
  Result<Range> times(std::string_view name) const;
  // "asc" or "desc"; true: ascending.
  Result<bool> ascending(bool otherwise) const;

 private:
  Result<std::optional<Micros>> time(std::string_view name) const;
  std::vector<std::pair<std::string, std::string>> pairs_;  // decoded
};

// Where a list goes on. It is good for the list with the filters and the order it was made for.
struct Cursor {
  std::int64_t number = 0;
  bool backward = false;  // towards the start of the list
};
std::string encode_cursor(const Cursor& cursor, std::string_view filters);
Result<Cursor> decode_cursor(std::string_view text, std::string_view filters);

// The same for lists that are ordered by a text.
std::string encode_place(std::string_view place, std::string_view filters);
Result<std::string> decode_place(std::string_view text, std::string_view filters);

// `limit` and `page` of a list that is named and filtered by `filters`.
struct Page {
  int limit = 20;
  Cursor cursor;
};
constexpr int kMaxPage = 1000;
Result<Page> page_of(const Query& query, std::string_view filters, int default_limit = 20);

}  // namespace glovebox::brain
