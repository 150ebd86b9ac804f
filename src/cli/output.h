// Results go to stdout: a table for people on a terminal, JSON with --json or in a pipe. All the
// rest goes to stderr.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace boost::json {
class array;
class object;
}  // namespace boost::json

namespace glovebox::cli {

// A column of a table: its title, and what stands in it for one item.
struct Column {
  std::string title;
  std::function<std::string(const boost::json::object&)> cell;
};

class Output {
 public:
  enum class Format { text, json };
  using Sink = std::function<Result<void>(std::string_view)>;

  Output(Format format, Sink out, Sink err)
      : format_(format), out_(std::move(out)), err_(std::move(err)) {}
  static Output of_process(Format format);  // stdout and stderr

  bool json() const { return format_ == Format::json; }
  void object(
      const boost::json::object& value);  // "name  value" lines; what is null or empty is left out
  void list(const boost::json::array& items, const std::vector<Column>& columns);
  void text(std::string_view text);  // as it is, in both formats
  void note(std::string_view line);  // for people, on stderr
  // Whether all of stdout was written: a full disk is a failure of the command.
  const Result<void>& written() const { return written_; }

 private:
  void put(std::string_view text);
  Format format_;
  Sink out_, err_;
  Result<void> written_ = ok;
};

// The text with control characters made visible: names and texts from elsewhere must not steer a
// terminal.
std::string printable(std::string_view text);
std::string human_bytes(std::uint64_t bytes);      // "1.5 GiB"
std::string human_age(std::int64_t milliseconds);  // "3m", "2h", "5d"

Result<void> write_fd(int fd, std::string_view bytes);

}  // namespace glovebox::cli
