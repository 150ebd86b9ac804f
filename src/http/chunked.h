// The chunked transfer coding, taken off byte by byte. Strict: where one reader forgives and the
// next does not, a second request can hide.
#pragma once

#include <cstdint>

#include "http/parser.h"

namespace glovebox::http {

class ChunkReader {
 public:
  // Takes all of `input` or as far as the body goes, and puts the text of the chunks behind `body`.
  Parsed<std::size_t> feed(std::string_view input, std::string& body);
  bool done() const { return state_ == State::done; }

 private:
  enum class State { size, data, data_end, trailers, done };
  Parsed<bool> take_line(std::string_view& input,
                         std::size_t limit);  // into line_; true when it is complete
  Parsed<void> take_size();

  State state_ = State::size;
  std::string line_;
  std::uint64_t left_ = 0;  // of the present chunk
  std::size_t trailers_size_ = 0;
};

}  // namespace glovebox::http
