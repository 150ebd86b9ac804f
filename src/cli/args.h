// What stands behind a command's name. The usage line is the grammar, so help and parser cannot
// disagree:
//
//   sandbox exec NAME [--user=USER] [--env=K=V]... [-t] -- COMMAND [ARG]...
//
// `--user=USER` takes a value (`--user root` or `--user=root`), `...` behind it allows repetition,
// `-t` is a flag. Words after
// `--` belong to somebody else and are not looked at. A secret is never a flag: everybody can read
// a command line.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace glovebox::cli {

Error usage_error(std::string what);  // ends in exit code 2
bool is_usage_error(const Error& error);

// "250ms", "10s", "5m", "2h", "1d"; a plain number is seconds.
Result<Millis> parse_duration(std::string_view text);
// "512M", "2G", "1.5GiB", in mebibytes; a plain number is mebibytes.
Result<std::int64_t> parse_mebibytes(std::string_view text);

class Args {
 public:
  static Result<Args> parse(std::string_view usage, const std::vector<std::string>& words);

  bool flag(std::string_view name) const;
  std::optional<std::string> option(std::string_view name) const;
  std::vector<std::string> options(std::string_view name) const;  // of a repeated one
  Result<Millis> duration(std::string_view name, Millis otherwise) const;
  Result<std::int64_t> number(std::string_view name, std::int64_t least, std::int64_t most,
                              std::int64_t otherwise) const;

  Result<std::string> positional(
      std::string_view what);             // the next one; `what` names it in the error
  std::optional<std::string> optional();  // the next one, if any
  std::vector<std::string> remaining();   // all that are left
  const std::vector<std::string>& rest() const { return rest_; }  // behind `--`
  Result<void> done() const;                                      // nothing is left over

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> given_;
  std::vector<std::string> positionals_;
  std::size_t next_ = 0;
  std::vector<std::string> rest_;
};

}  // namespace glovebox::cli
