#include "wire/bytes.h"

namespace glovebox::wire {

Writer& Writer::raw(std::uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i, v >>= 8) out_ += static_cast<char>(v & 0xff);
  return *this;
}

Writer& Writer::text(std::string_view v) {
  u32(static_cast<std::uint32_t>(v.size()));
  out_ += v;
  return *this;
}

Writer& Writer::list(const std::vector<std::string>& v) {
  u32(static_cast<std::uint32_t>(v.size()));
  for (const auto& item : v) text(item);
  return *this;
}

Result<std::uint64_t> Reader::raw(std::size_t bytes) {
  if (rest_.size() < bytes) return Error{Code::invalid, "ends in the middle of a field"};
  std::uint64_t value = 0;
  for (std::size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(rest_[i]);
  rest_.remove_prefix(bytes);
  return value;
}

Result<std::uint8_t> Reader::u8() {
  TRY(value, raw(1));
  return static_cast<std::uint8_t>(value);
}

Result<std::uint32_t> Reader::u32() {
  TRY(value, raw(4));
  return static_cast<std::uint32_t>(value);
}

Result<std::uint64_t> Reader::u64() { return raw(8); }

Result<std::int64_t> Reader::i64() {
  TRY(value, raw(8));
  return static_cast<std::int64_t>(value);
}

Result<std::string> Reader::text(std::size_t limit) {
  TRY(length, u32());
  if (length > limit)
    return Error{Code::too_large, str("text of ", length, " bytes; at most ", limit)};
  if (length > rest_.size()) return Error{Code::invalid, "ends in the middle of a text"};
  std::string value(rest_.substr(0, length));
  rest_.remove_prefix(length);
  return value;
}

Result<std::vector<std::string>> Reader::list(std::size_t max_items, std::size_t item_limit) {
  TRY(count, u32());
  if (count > max_items)
    return Error{Code::too_large, str("list of ", count, " items; at most ", max_items)};
  // Each item takes four bytes at least: a count that cannot be true reserves nothing.
  if (count > rest_.size() / 4) return Error{Code::invalid, "ends in the middle of a list"};
  std::vector<std::string> items;
  items.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    TRY(item, text(item_limit), "item ", i);
    items.push_back(std::move(item));
  }
  return items;
}

Result<void> Reader::done() const {
  if (!rest_.empty()) return Error{Code::invalid, str(rest_.size(), " bytes after the last field")};
  return ok;
}

}  // namespace glovebox::wire
