#include "wire/decode.h"

#include <cmath>

#include "base/metrics.h"
#include "wire/sandbox.h"

namespace glovebox::wire {

namespace json = boost::json;

static metrics::Counter unknown(
    "api_unknown_members_total",
    "Members of request bodies that this version does not know and ignored.");
std::uint64_t unknown_members() { return unknown.value(); }

Result<json::value> parse_json(std::string_view text) {
  // Depth is limited by the parser (32), size by whoever read the text.
  json::error_code error;
  json::parser parser;
  std::size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error && used < text.size()) error = json::make_error_code(json::error::extra_data);
  if (error)
    return Error{Code::invalid, str("not valid JSON at byte ", used, ": ", error.message())};
  return parser.release();
}

Result<Members> Members::of(const json::value& value, std::string where) {
  if (!value.is_object())
    return Error{Code::invalid, str(where.empty() ? "the body" : where, ": must be a JSON object")};
  return Members(value.get_object(), where.empty() ? "" : where + ".");
}

const json::value* Members::take(std::string_view key) {
  const json::value* found = object_->if_contains(key);
  if (!found) return nullptr;
  ++taken_;
  return found->is_null() ? nullptr : found;
}

bool Members::is_null(std::string_view key) const {
  const json::value* found = object_->if_contains(key);
  return found && found->is_null();
}

Error Members::wrong(std::string_view key, std::string_view what) const {
  return Error{Code::invalid, str(where_, key, ": ", what)};
}

void Members::done() const { unknown.add(object_->size() - taken_); }

namespace {

Result<std::string> as_text(const json::value& value, std::size_t limit) {
  if (!value.is_string()) return Error{Code::invalid, "must be a string"};
  std::string_view text = value.get_string();
  if (text.size() > limit) return Error{Code::invalid, str("is longer than ", limit, " bytes")};
  if (text.find('\0') != text.npos) return Error{Code::invalid, "must not hold a NUL character"};
  return std::string(text);
}

Result<std::int64_t> as_integer(const json::value& value, std::int64_t min, std::int64_t max) {
  Error wrong{Code::invalid, str("must be a whole number from ", min, " to ", max)};
  std::int64_t number = 0;
  if (value.is_int64()) {
    number = value.get_int64();
  } else if (value.is_double()) {  // 1024.0 is a whole number to many a client
    double real = value.get_double();
    if (std::trunc(real) != real || std::abs(real) > 9e15) return wrong;
    number = static_cast<std::int64_t>(real);
  } else {
    return wrong;
  }
  if (number < min || number > max) return wrong;
  return number;
}

}  // namespace

Result<std::optional<std::string>> Members::text(std::string_view key, std::size_t limit) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  auto text = as_text(*value, limit);
  if (!text) return wrong(key, text.error().what);
  return std::move(*text);
}

Result<std::optional<bool>> Members::flag(std::string_view key) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  if (!value->is_bool()) return wrong(key, "must be true or false");
  return value->get_bool();
}

Result<std::optional<std::int64_t>> Members::integer(std::string_view key, std::int64_t min,
                                                     std::int64_t max) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  auto number = as_integer(*value, min, max);
  if (!number) return wrong(key, number.error().what);
  return *number;
}

Result<std::optional<double>> Members::number(std::string_view key, double min, double max) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  double number = value->is_double()   ? value->get_double()
                  : value->is_int64()  ? static_cast<double>(value->get_int64())
                  : value->is_uint64() ? static_cast<double>(value->get_uint64())
                                       : std::nan("");
  // Written so that what is no number fails too.
  if (!(number >= min && number <= max))
    return wrong(key, str("must be a number from ", min, " to ", max));
  return number;
}

Result<std::optional<std::vector<std::string>>> Members::texts(std::string_view key,
                                                               std::size_t items,
                                                               std::size_t limit) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  if (!value->is_array()) return wrong(key, "must be an array of strings");
  if (value->get_array().size() > items)
    return wrong(key, str("has more than ", items, " entries"));
  std::vector<std::string> texts;
  for (const json::value& item : value->get_array()) {
    auto text = as_text(item, limit);
    if (!text) return wrong(key, str("entry ", texts.size(), " ", text.error().what));
    texts.push_back(std::move(*text));
  }
  return texts;
}

Result<std::optional<std::vector<std::int64_t>>> Members::integers(std::string_view key,
                                                                   std::size_t items,
                                                                   std::int64_t min,
                                                                   std::int64_t max) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  if (!value->is_array()) return wrong(key, "must be an array of whole numbers");
  if (value->get_array().size() > items)
    return wrong(key, str("has more than ", items, " entries"));
  std::vector<std::int64_t> numbers;
  for (const json::value& item : value->get_array()) {
    auto number = as_integer(item, min, max);
    if (!number) return wrong(key, str("entry ", numbers.size(), " ", number.error().what));
    numbers.push_back(*number);
  }
  return numbers;
}

Result<std::optional<Members>> Members::object(std::string_view key) {
  const json::value* value = take(key);
  if (!value) return std::nullopt;
  TRY(members, Members::of(*value, str(where_, key)));
  return members;
}

}  // namespace glovebox::wire
