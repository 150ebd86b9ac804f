#include "http/chunked.h"

#include <algorithm>

namespace glovebox::http {
namespace {

constexpr std::size_t kSizeLineLimit =
    4 * 1024;  // the size and its extensions, which mean nothing to us
constexpr std::size_t kTrailersLimit = 16 * 1024;

std::unexpected<Refused> bad(std::string_view what) {
  return std::unexpected(Refused{400, "INVALID", str("chunked body: ", what)});
}

}  // namespace

Parsed<bool> ChunkReader::take_line(std::string_view& input, std::size_t limit) {
  auto end = input.find('\n');
  auto piece = input.substr(0, end == input.npos ? end : end + 1);
  input.remove_prefix(piece.size());
  line_ += piece;
  if (line_.size() > limit) return bad("a line is too long");
  if (end == piece.npos) return false;
  if (!line_.ends_with("\r\n")) return bad("a line that ends in LF alone");
  line_.resize(line_.size() - 2);
  auto is_control = [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; };
  if (std::ranges::any_of(line_, is_control)) return bad("a control character");
  return true;
}

Parsed<void> ChunkReader::take_size() {
  auto digits = std::min(line_.find_first_not_of("0123456789abcdefABCDEF"), line_.size());
  if (digits == 0 || digits > 16) return bad("the size of a chunk is not a number");
  std::from_chars(line_.data(), line_.data() + digits, left_, 16);
  std::string_view rest = std::string_view(line_).substr(digits);
  if (!rest.empty() && !trim(rest).starts_with(';'))
    return bad("something else behind the size of a chunk");
  return {};
}

Parsed<std::size_t> ChunkReader::feed(std::string_view input, std::string& body) {
  const std::size_t size = input.size();
  while (!input.empty() && state_ != State::done) {
    if (state_ == State::data) {
      auto piece = input.substr(0, std::min<std::uint64_t>(left_, input.size()));
      body += piece;
      input.remove_prefix(piece.size());
      left_ -= piece.size();
      if (left_ == 0) state_ = State::data_end;
      continue;
    }
    auto complete = take_line(input, state_ == State::size ? kSizeLineLimit : kTrailersLimit);
    if (!complete) return std::unexpected(std::move(complete.error()));
    bool is_end = *complete ? line_.empty() : line_ == "\r";
    if (state_ == State::data_end && !is_end) return bad("a chunk is longer than its size says");
    if (!*complete) break;
    if (state_ == State::size) {
      auto taken = take_size();
      if (!taken) return std::unexpected(std::move(taken.error()));
      state_ = left_ > 0 ? State::data : State::trailers;
    } else if (state_ == State::data_end) {
      state_ = State::size;
    } else {
      // Nobody here asked for trailers, and they must not pose as headers: read and dropped.
      if (line_.empty()) state_ = State::done;
      trailers_size_ += line_.size();
      if (trailers_size_ > kTrailersLimit) return bad("the trailers are too long");
    }
    line_.clear();
  }
  return size - input.size();
}

}  // namespace glovebox::http
