// The JSON a model wrote as a tool's input. Models write anything: whatever does not fit is told
// back in words, never thrown.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::tools {

class Input {
 public:
  static Result<Input> parse(std::string_view tool, std::string_view json);

  // Absent and null are the same. A value of another type is an error "<tool>: <name> must be …".
  Result<std::optional<std::string>> text(std::string_view name) const;
  Result<std::string> required(
      std::string_view name) const;                // "<tool>: <name> is required" when empty
  Result<bool> flag(std::string_view name) const;  // false when absent
  Result<std::optional<std::int64_t>> integer(std::string_view name) const;
  // nullopt: not a list of integers
  std::optional<std::vector<std::int64_t>> integers(std::string_view name) const;

 private:
  Input(std::string_view tool, std::shared_ptr<const boost::json::object> object);
  const boost::json::value* find(std::string_view name) const;
  Error must_be(std::string_view name, std::string_view what) const;

  std::string tool_;
  std::shared_ptr<const boost::json::object> object_;
};

}  // namespace glovebox::tools
