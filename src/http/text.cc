#include "http/text.h"

#include <algorithm>
#include <cctype>

#include "http/client.h"

namespace glovebox::http {

static char lower_char(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower_char(x) == lower_char(y); });
}

bool has_token(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    auto item = list.substr(0, list.find(','));
    if (same_name(trim(item), token)) return true;
    list.remove_prefix(std::min(list.size(), item.size() + 1));
  }
  return false;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower_char(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The byte of a "%41" at the front of `text`, or -1.
static int percent_byte(std::string_view text) {
  if (text.size() < 3 || text[0] != '%') return -1;
  int high = hex_digit(text[1]), low = hex_digit(text[2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool valid_percent(std::string_view text) {
  for (auto at = text.find('%'); at != text.npos; at = text.find('%', at + 3))
    if (percent_byte(text.substr(at)) <= 0) return false;
  return true;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    int byte = percent_byte(text.substr(i));
    out += byte < 0 ? text[i] : static_cast<char>(byte);
    if (byte >= 0) i += 2;
  }
  return out;
}

std::string form_decode(std::string_view text) {
  std::string spaced(text);
  std::ranges::replace(spaced, '+', ' ');
  return percent_decode(spaced);
}

static std::string percent_encode(std::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    bool plain = (c < 0x80 && std::isalnum(c)) || c == '-' || c == '.' || c == '_' || c == '~';
    if (plain)
      out += static_cast<char>(c);
    else
      out += str('%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15]);
  }
  return out;
}

std::string encode_query(std::string_view text) { return percent_encode(text); }
std::string encode_path(std::string_view segment) { return percent_encode(segment); }

}  // namespace glovebox::http
