// Small string helpers. `str(a, b, …)` glues anything printable; enums print through their
// `name(value)`.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace glovebox {

namespace detail {
inline void append(std::string& out, std::string_view text) { out += text; }
inline void append(std::string& out, const char* text) { out += text; }
inline void append(std::string& out, const std::string& text) { out += text; }
inline void append(std::string& out, char c) { out += c; }
inline void append(std::string& out, bool value) { out += value ? "true" : "false"; }
template <class T>
  requires(std::is_arithmetic_v<T> && !std::same_as<T, bool> && !std::same_as<T, char>)
void append(std::string& out, T value) {
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  out.append(buffer, end);
}
template <class E>
  requires std::is_enum_v<E>
void append(std::string& out, E value) {
  out += name(value);
}
}  // namespace detail

template <class... Parts>
std::string str(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
std::string lower(std::string_view text);
std::string hex(std::span<const std::uint8_t> bytes);
std::optional<std::string> unhex(std::string_view text);  // bytes
std::string base64url(std::string_view bytes);            // without padding
std::optional<std::string> unbase64url(std::string_view text);
// The text as the inside of a JSON string; invalid UTF-8 becomes U+FFFD.
std::string json_escape(std::string_view text);
// Valid UTF-8, each invalid byte sequence replaced by U+FFFD.
std::string valid_utf8(std::string_view bytes);
// Equal without telling by its time where the first difference is.
bool equal_constant_time(std::string_view a, std::string_view b);

// The whole text as a number; nothing else before or after it.
template <std::integral T>
std::optional<T> parse_int(std::string_view text) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

}  // namespace glovebox
