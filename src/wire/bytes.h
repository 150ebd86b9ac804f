// Little-endian, length-prefixed fields: what frames are made of. A Reader never reads past its end
// and never allocates more than what is there; after the last field `done()` must hold.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::wire {

class Writer {
 public:
  Writer& u8(std::uint8_t v) { return raw(v, 1); }
  Writer& u32(std::uint32_t v) { return raw(v, 4); }
  Writer& u64(std::uint64_t v) { return raw(v, 8); }
  Writer& i64(std::int64_t v) { return raw(static_cast<std::uint64_t>(v), 8); }
  Writer& text(std::string_view v);  // u32 length, bytes
  Writer& list(const std::vector<std::string>& v);
  std::string take() { return std::move(out_); }

 private:
  Writer& raw(std::uint64_t v, int bytes);
  std::string out_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  Result<std::uint8_t> u8();
  Result<std::uint32_t> u32();
  Result<std::uint64_t> u64();
  Result<std::int64_t> i64();
  Result<std::string> text(std::size_t limit);
  Result<std::vector<std::string>> list(std::size_t max_items, std::size_t item_limit);
  std::string_view rest() const { return rest_; }
  Result<void> done() const;

 private:
  Result<std::uint64_t> raw(std::size_t bytes);
  std::string_view rest_;
};

}  // namespace glovebox::wire
