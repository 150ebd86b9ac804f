#include "brain/memory_path.h"

#include <algorithm>

namespace glovebox::brain {
namespace {

constexpr std::size_t kMaxPath = 1024, kMaxParts = 20;
// A name in a file system has 255 bytes; what makes it unique comes behind it.
constexpr std::size_t kMaxSlug = 240;

struct Range {
  char32_t first, last;
};
// Controls, format characters (Unicode's Cc and Cf), and the two separators of lines.
constexpr Range kInvisible[] = {
    {0x0, 0x1f},        {0x7f, 0x9f},       {0xad, 0xad},       {0x600, 0x605},
    {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},
    {0x8e2, 0x8e2},     {0x180e, 0x180e},   {0x200b, 0x200f},   {0x2028, 0x202e},
    {0x2060, 0x2064},   {0x2066, 0x206f},   {0xfeff, 0xfeff},   {0xfff9, 0xfffb},
    {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3},
    {0x1d173, 0x1d17a}, {0xe0001, 0xe0001}, {0xe0020, 0xe007f},
};

bool invisible(char32_t c) {
  return std::ranges::any_of(kInvisible, [c](Range r) { return r.first <= c && c <= r.last; });
}

// The next character of valid UTF-8, taken off its front.
char32_t next_character(std::string_view& text) {
  const auto first = static_cast<unsigned char>(text.front());
  const std::size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  char32_t c = length == 1 ? first : first & (0x7f >> length);
  for (std::size_t i = 1; i < length && i < text.size(); ++i)
    c = c << 6 | (static_cast<unsigned char>(text[i]) & 0x3f);
  text.remove_prefix(std::min(length, text.size()));
  return c;
}

}  // namespace

Result<void> check_memory_path(std::string_view path) {
  auto wrong = [](std::string what) { return Error{Code::invalid, "path: " + std::move(what)}; };
  if (!path.starts_with('/')) return wrong("must start with /");
  if (path.size() > kMaxPath) return wrong(str("has more than ", kMaxPath, " bytes"));
  const auto parts = split(path.substr(1), '/');
  if (parts.size() > kMaxParts) return wrong(str("has more than ", kMaxParts, " parts"));
  for (const auto& part : parts)
    if (part.empty() || part == "." || part == "..")
      return wrong("no part of it may be empty, \".\" or \"..\"");
  while (!path.empty())
    if (invisible(next_character(path))) return wrong("must not hold control or format characters");
  return ok;
}

std::string memory_slug(std::string_view store_name) {
  std::string slug;
  for (char c : lower(store_name)) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (kept)
      slug += c;
    else if (!slug.ends_with('-'))
      slug += '-';
  }
  return slug.substr(0, kMaxSlug);
}

}  // namespace glovebox::brain
