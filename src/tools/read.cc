#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/file_tools.h"
#include "tools/fs.h"
#include "tools/place.h"

namespace glovebox::tools {
namespace {

struct Range {
  std::int64_t first = 1, last = 0;  // as the model wrote them
  std::uint64_t start() const { return first > 1 ? static_cast<std::uint64_t>(first) - 1 : 0; }
  std::uint64_t end() const { return last > 0 ? static_cast<std::uint64_t>(last) : UINT64_MAX; }
  bool empty() const { return end() <= start(); }
};

Result<std::optional<Range>> view_range(const Input& input) {
  auto numbers = input.integers("view_range");
  if (!numbers || (numbers->size() != 0 && numbers->size() != 2))
    return Error{Code::invalid, "read: view_range must be [start_line, end_line]"};
  if (numbers->empty()) return std::optional<Range>{};
  return std::optional(Range{(*numbers)[0], (*numbers)[1]});
}

// Lines start()…end() out of a file that comes in pieces, so that neither a huge file nor a huge
// line is ever held whole.
class Lines {
 public:
  explicit Lines(Range range) : range_(range) {}
  bool complete() const { return line_ >= range_.end(); }
  const std::string& text() const { return text_; }

  void add(std::string_view piece) {
    while (!piece.empty() && !complete()) {
      std::size_t length = piece.find('\n');
      bool ended = length != piece.npos;
      if (line_ >= range_.start()) {
        text_ += piece.substr(0, length);
        if (ended && line_ + 1 < range_.end()) text_ += '\n';
      }
      if (!ended) return;
      ++line_;
      piece.remove_prefix(length + 1);
    }
  }

 private:
  Range range_;
  std::uint64_t line_ = 0;
  std::string text_;
};

Error over_limit(const std::string& file, Range range, std::size_t limit) {
  if (range.end() - range.start() == 1)
    return {Code::too_large,
            str("read: line ", range.start() + 1, " of ", file, " alone exceeds ", limit,
                "-byte limit. The read tool cannot return part of a line, so view_range cannot "
                "narrow this further.")};
  return {Code::too_large,
          str("read: view_range [", range.first, ", ", range.last, "] of ", file, " exceeds ",
              limit, "-byte limit. Narrow the view_range to read a smaller portion.")};
}

Result<std::string> read_lines(int descriptor, const std::string& file, Range range,
                               std::size_t limit) {
  Lines lines(range);
  std::string piece(64 * 1024, '\0');
  while (!range.empty() && !lines.complete()) {
    ssize_t got = ::read(descriptor, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{Code::internal, str("read: ", file, ": ", reason(errno))};
    if (got == 0) break;
    lines.add({piece.data(), static_cast<std::size_t>(got)});
    if (limit && lines.text().size() > limit) return over_limit(file, range, limit);
  }
  return lines.text();
}

}  // namespace

Result<std::string> read(const Input& input, const Context& context) {
  TRY(file, input.required("file_path"));
  TRY(place, locate(context, file));
  TRY(range, view_range(input));

  auto opened = open_regular(place.path);
  if (!opened) return Error{Code::not_found, str("read: ", file, ": ", reason(opened.error()))};
  if (!opened->file) return Error{Code::invalid, str("read: ", file, " is not a regular file")};
  const std::size_t limit = context.read_limit;
  if (range) return read_lines(opened->file.get(), file, *range, limit);

  // One byte more than allowed tells a file that grew since, or one of those whose size reads as 0.
  auto too_large = [&](std::uint64_t size) {
    return Error{Code::too_large,
                 str("read: ", file, " is ", size, " bytes, exceeds ", limit,
                     "-byte limit. Use the view_range parameter to read specific line ranges, "
                     "e.g. view_range: [1, 500].")};
  };
  auto size = static_cast<std::uint64_t>(opened->info.st_size);
  if (limit && size > limit) return too_large(size);
  auto content = read_up_to(opened->file.get(), limit ? limit + 1 : SIZE_MAX);
  if (!content) return Error{Code::internal, str("read: ", file, ": ", reason(content.error()))};
  if (limit && content->size() > limit) return too_large(content->size());
  return *std::move(content);
}

}  // namespace glovebox::tools
