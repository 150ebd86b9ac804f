#include "cli/output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <ctime>

#include "base/str.h"
#include "wire/to_json.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

// Columns, not bytes: continuation bytes of UTF-8 take no room.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (c & '\xc0') != '\x80'; }));
}

// A point in time as the engine gives it, in milliseconds: "created_at".
std::optional<std::string> time_text(std::string_view key, const json::value& value) {
  const auto* ms = value.if_int64();
  if (!ms || *ms <= 0 || !key.ends_with("_at")) return std::nullopt;
  const std::time_t seconds = *ms / 1000;
  std::tm here{};
  ::localtime_r(&seconds, &here);
  char text[40];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &here));
}

// Nothing that a person would miss.
bool nothing(const json::value& value) {
  const json::array* array = value.if_array();
  const json::object* object = value.if_object();
  return value.is_null() || (array && array->empty()) || (object && object->empty());
}

// An object that words with blanks between them can tell.
bool flat(const json::value& value) {
  const json::object* object = value.if_object();
  return object && std::ranges::none_of(*object, [](const auto& member) {
           const json::string* text = member.value().if_string();
           return (member.value().is_structured() && !nothing(member.value())) ||
                  (text && text->find(' ') != text->npos);
         });
}

std::string cell_text(const json::value& value) {
  if (value.is_string()) return printable(std::string_view(value.as_string()));
  if (value.is_array()) {
    std::string out;
    for (const json::value& item : value.as_array())
      out += str(out.empty() ? "" : " ", cell_text(item));
    return out;
  }
  if (flat(value)) {  // a record in a record: cpus=1 memory_mb=1024
    std::string out;
    for (const auto& member : value.as_object())
      if (!nothing(member.value()))
        out += str(out.empty() ? "" : " ", printable(member.key()), "=", cell_text(member.value()));
    return out;
  }
  if (value.is_double()) return str(value.as_double());  // 1 rather than 1.0
  return printable(wire::to_json(value));
}

bool of_objects(const json::value& value) {
  const json::array* items = value.if_array();
  return items && !items->empty() && items->front().is_object();
}

struct Line {
  std::string name, text;
};

// One for each member, or more: of a list of objects one each, of an object with more in it than a
// line can tell one for each of its members, "agent.name".
void add_lines(std::vector<Line>& lines, const std::string& prefix, const json::object& value) {
  for (const auto& member : value) {
    const json::value& of = member.value();
    std::string name = str(prefix, printable(member.key()));
    if (nothing(of)) continue;
    if (of_objects(of)) {
      for (const json::value& item : of.get_array())
        lines.push_back({std::exchange(name, ""), cell_text(item)});
    } else if (of.is_object() && !flat(of)) {
      add_lines(lines, name + ".", of.get_object());
    } else {
      auto time = time_text(member.key(), of);
      lines.push_back({std::move(name), time ? std::move(*time) : cell_text(of)});
    }
  }
}

}  // namespace

Result<void> write_fd(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {  // whoever shares this descriptor made it non-blocking
      pollfd event{fd, POLLOUT, 0};
      ::poll(&event, 1, -1);
    } else if (errno != EINTR) {
      return sys_error("write");
    }
  }
  return ok;
}

Output Output::of_process(Format format) {
  return Output(
      format, [](std::string_view text) { return write_fd(STDOUT_FILENO, text); },
      [](std::string_view text) { return write_fd(STDERR_FILENO, text); });
}

void Output::put(std::string_view text) {
  if (written_) written_ = out_(text);
}

void Output::object(const json::object& value) {
  if (json()) return put(wire::to_json(value) + "\n");
  std::vector<Line> lines;
  add_lines(lines, "", value);
  std::size_t widest = 0;
  for (const Line& line : lines) widest = std::max(widest, width(line.name));
  std::string text;
  for (const Line& line : lines) {
    text += str(line.name, std::string(widest - width(line.name) + 2, ' '), line.text);
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  put(text);
}

void Output::list(const json::array& items, const std::vector<Column>& columns) {
  if (json()) return put(wire::to_json(items) + "\n");
  std::vector<std::vector<std::string>> rows(1);
  for (const Column& column : columns) rows[0].push_back(column.title);
  for (const json::value& item : items) {
    std::vector<std::string> row;
    for (const Column& column : columns) row.push_back(printable(column.cell(item.as_object())));
    rows.push_back(std::move(row));
  }
  std::vector<std::size_t> widest(columns.size(), 0);
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widest[i] = std::max(widest[i], width(row[i]));
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += str(row[i], std::string(widest[i] - width(row[i]) + 2, ' '));
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  put(text);
}

void Output::text(std::string_view text) { put(text); }

void Output::note(std::string_view line) { (void)err_(str(line, "\n")); }

std::string printable(std::string_view text) {
  std::string out;
  for (char c : valid_utf8(text)) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      constexpr char kHex[] = "0123456789abcdef";
      out += str("\\x", kHex[byte >> 4], kHex[byte & 15]);
    } else if (byte >= 0x80 && byte < 0xa0 && !out.empty() && out.back() == '\xc2') {
      out.pop_back();  // U+0080 to U+009F steer a terminal too
      out += "\\x";
      out += hex(std::span(&byte, 1));
    } else {
      out += c;
    }
  }
  return out;
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  auto tenths = static_cast<std::uint64_t>(value * 10 + 0.5);
  bool whole = unit == 0 || tenths >= 1000 || tenths % 10 == 0;
  return str((tenths + (whole ? 5 : 0)) / 10, whole ? "" : str('.', tenths % 10), ' ',
             kUnits[unit]);
}

std::string human_age(std::int64_t milliseconds) {
  std::int64_t seconds = std::max<std::int64_t>(0, milliseconds / 1000);
  if (seconds < 120) return str(seconds, "s");
  if (seconds < 120 * 60) return str(seconds / 60, "m");
  if (seconds < 48 * 3600) return str(seconds / 3600, "h");
  return str(seconds / 86400, "d");
}

}  // namespace glovebox::cli
