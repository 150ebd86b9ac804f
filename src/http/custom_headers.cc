#include "http/custom_headers.h"

#include <algorithm>
#include <cctype>

#include "base/str.h"

namespace glovebox::http {

namespace {

constexpr std::string_view kFraming[] = {"host",
                                         "content-length",
                                         "transfer-encoding",
                                         "connection",
                                         "proxy-connection",
                                         "keep-alive",
                                         "upgrade",
                                         "te",
                                         "trailer",
                                         "expect"};

bool is_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) || std::string_view("!#$%&'*+-.^_`|~").contains(static_cast<char>(c));
  });
}

bool is_value(std::string_view value) {
  return std::ranges::none_of(value,
                              [](unsigned char c) { return (c < ' ' && c != '\t') || c == 127; });
}

}  // namespace

Result<Headers> parse_custom_headers(std::string_view lines) {
  Headers headers;
  int number = 0;
  for (const std::string& line : split(lines, '\n')) {
    ++number;
    const std::size_t colon = line.find(':');
    if (colon == line.npos) continue;  // as the official clients do
    const std::string_view name = trim(std::string_view(line).substr(0, colon));
    const std::string_view value = trim(std::string_view(line).substr(colon + 1));
    auto wrong = [&](std::string_view why) {
      return Error{Code::invalid, str("line ", number, ": ", why)};
    };
    if (!is_name(name)) return wrong("what stands before the colon is no header's name");
    if (std::ranges::find(kFraming, lower(name)) != std::end(kFraming))
      return wrong(str(name, " is set by the connection itself"));
    if (!is_value(value)) return wrong(str("the value of ", name, " has control characters"));
    headers.set(name, std::string(value));
  }
  return headers;
}

std::string custom_header_lines(const Headers& headers) {
  std::string lines;
  for (const auto& [name, value] : headers.all())
    lines += str(lines.empty() ? "" : "\n", name, ": ", value);
  return lines;
}

}  // namespace glovebox::http
