// Taking a JSON object apart, member by member: each taker says by its name what it wants, and the
// error says which member is wrong and what it must be. What nobody took is unknown. Only for .cc
// files, here and in the parts.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::wire {

Result<boost::json::value> parse_json(
    std::string_view text);  // errors name the byte where it ends to be JSON

class Members {
 public:
  static Result<Members> of(const boost::json::value& value, std::string where = "");

  // Null for one that is absent, and for one that is null.
  const boost::json::value* take(std::string_view key);
  bool is_null(std::string_view key) const;  // present and null
  // Texts hold no NUL byte: all of them end as C strings somewhere.
  Result<std::optional<std::string>> text(std::string_view key, std::size_t limit);
  Result<std::optional<bool>> flag(std::string_view key);
  Result<std::optional<std::int64_t>> integer(std::string_view key, std::int64_t min,
                                              std::int64_t max);
  Result<std::optional<double>> number(std::string_view key, double min, double max);
  Result<std::optional<std::vector<std::string>>> texts(std::string_view key, std::size_t items,
                                                        std::size_t limit);
  Result<std::optional<std::vector<std::int64_t>>> integers(std::string_view key, std::size_t items,
                                                            std::int64_t min, std::int64_t max);
  Result<std::optional<Members>> object(std::string_view key);

  Error wrong(std::string_view key, std::string_view what) const;  // "resources.cpus: what"
  const boost::json::object& raw() const { return *object_; }
  void done() const;  // counts what nobody took

 private:
  Members(const boost::json::object& object, std::string where)
      : object_(&object), where_(std::move(where)) {}
  const boost::json::object* object_;
  std::string where_;  // "" or "resources."
  std::size_t taken_ = 0;
};

}  // namespace glovebox::wire
