#include "brain/api_query.h"

#include <algorithm>

#include "brain/ids.h"
#include "http/text.h"

namespace glovebox::brain {
namespace {

// The N of "name[N]", where N is empty or a number.
bool is_element_of(std::string_view key, std::string_view name) {
  if (key == name) return true;
  if (!key.starts_with(name)) return false;
  key.remove_prefix(name.size());
  return key.starts_with('[') && key.ends_with(']') &&
         key.find_first_not_of("0123456789", 1) == key.size() - 1;
}

// Eight characters are enough against mistakes, and cursors are no secret.
std::string fingerprint(std::string_view filters) { return hash_of(filters).substr(0, 8); }

}  // namespace

Query::Query(std::string_view raw) {
  while (!raw.empty()) {
    auto pair = raw.substr(0, raw.find('&'));
    raw.remove_prefix(std::min(raw.size(), pair.size() + 1));
    if (pair.empty()) continue;
    auto equals = pair.find('=');
    pairs_.emplace_back(http::form_decode(pair.substr(0, equals)),
                        equals == pair.npos ? "" : http::form_decode(pair.substr(equals + 1)));
  }
}

std::optional<std::string> Query::raw(std::string_view name) const {
  for (const auto& [key, value] : pairs_)
    if (key == name) return value;
  return std::nullopt;
}

std::optional<std::string> Query::text(std::string_view name) const {
  for (const auto& [key, value] : pairs_)
    if (key == name && !value.empty()) return value;
  return std::nullopt;
}

Result<std::optional<std::int64_t>> Query::integer(std::string_view name, std::int64_t min,
                                                   std::int64_t max) const {
  auto given = text(name);
  if (!given) return std::nullopt;
  auto number = parse_int<std::int64_t>(*given);
  if (!number || *number < min || *number > max)
    return Error{Code::invalid, str(name, ": must be a whole number from ", min, " to ", max)};
  return number;
}

Result<bool> Query::flag(std::string_view name) const {
  auto given = text(name);
  if (!given || *given == "false" || *given == "0") return false;
  if (*given == "true" || *given == "1") return true;
  return Error{Code::invalid, str(name, ": must be true or false")};
}

std::vector<std::string> Query::list(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [key, value] : pairs_)
    if (is_element_of(key, name)) values.push_back(value);
  return values;
}

Result<std::optional<Micros>> Query::time(std::string_view name) const {
  auto given = text(name);
  if (!given) return std::nullopt;
  auto time = parse_rfc3339(*given);
  if (!time) return Error{Code::invalid, str(name, ": must be a time as 2026-11-20T10:00:00Z")};
  return time;
}

Result<Query::Range> Query::times(std::string_view name) const {
  TRY(gte, time(str(name, "[gte]")));
  TRY(gt, time(str(name, "[gt]")));
  TRY(lte, time(str(name, "[lte]")));
  TRY(lt, time(str(name, "[lt]")));
  if (gt) gte = std::max(gte.value_or(*gt + 1), *gt + 1);
  if (lt) lte = std::min(lte.value_or(*lt - 1), *lt - 1);
  return Range{gte, lte};
}

Result<bool> Query::ascending(bool otherwise) const {
  auto given = text("order");
  if (!given) return otherwise;
  if (*given == "asc") return true;
  if (*given == "desc") return false;
  return Error{Code::invalid, "order: must be asc or desc"};
}

std::string encode_cursor(const Cursor& cursor, std::string_view filters) {
  return base64url(str(cursor.backward ? 'b' : 'f', cursor.number, '.', fingerprint(filters)));
}

Result<Cursor> decode_cursor(std::string_view text, std::string_view filters) {
  const Error wrong{Code::invalid, "page: is no cursor of this list"};
  auto plain = text.size() <= 100 ? unbase64url(text) : std::nullopt;
  if (!plain || plain->empty()) return wrong;
  std::string_view rest = *plain;
  const char way = rest[0];
  if (way != 'f' && way != 'b') return wrong;
  auto dot = rest.find('.');
  auto number = parse_int<std::int64_t>(rest.substr(1, dot - 1));
  if (dot == rest.npos || !number || *number < 1) return wrong;
  if (rest.substr(dot + 1) != fingerprint(filters))
    return Error{Code::invalid, "page: was made for another list, or for other filters"};
  return Cursor{.number = *number, .backward = way == 'b'};
}

std::string encode_place(std::string_view place, std::string_view filters) {
  return base64url(str('p', fingerprint(filters), place));
}

Result<std::string> decode_place(std::string_view text, std::string_view filters) {
  constexpr std::size_t kHead = 9, kMaxText = 4096;
  auto plain = text.size() <= kMaxText ? unbase64url(text) : std::nullopt;
  if (!plain || plain->size() <= kHead || plain->front() != 'p')
    return Error{Code::invalid, "page: is no cursor of this list"};
  if (plain->substr(1, kHead - 1) != fingerprint(filters))
    return Error{Code::invalid, "page: was made for another list, or for other filters"};
  return plain->substr(kHead);
}

Result<Page> page_of(const Query& query, std::string_view filters, int default_limit) {
  Page page;
  TRY(limit, query.integer("limit", 1, kMaxPage));
  page.limit = static_cast<int>(limit.value_or(default_limit));
  if (auto text = query.text("page")) {
    TRY(cursor, decode_cursor(*text, filters));
    page.cursor = cursor;
  }
  return page;
}

}  // namespace glovebox::brain
