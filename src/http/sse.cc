#include "http/sse.h"

#include "http/client.h"
#include "net/task.h"

namespace glovebox::http {

Result<void> SseParser::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (after_cr_ && bytes.front() == '\n') bytes.remove_prefix(1);
    after_cr_ = false;
    auto end = bytes.find_first_of("\r\n");
    auto piece = bytes.substr(0, end);
    if (line_.size() + piece.size() > limit_)
      return Error{Code::too_large, str("an event line over ", limit_, " bytes")};
    line_ += piece;
    if (end == bytes.npos) return ok;
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    TRY_DO(take_line(line_));
    line_.clear();
  }
  return ok;
}

Result<void> SseParser::take_line(std::string_view line) {
  if (std::exchange(at_start_, false) && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  if (line.empty()) {
    dispatch();
    return ok;
  }
  auto colon = line.find(':');
  if (colon == 0) return ok;  // a comment, sent to keep the connection warm
  auto name = line.substr(0, colon);
  auto value = colon == line.npos ? "" : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "event") event_.event = valid_utf8(value);
  if (name == "id" && !value.contains('\0')) last_id_ = valid_utf8(value);
  if (name == "data") {
    if (event_.data.size() + value.size() > limit_)
      return Error{Code::too_large, str("an event over ", limit_, " bytes")};
    if (std::exchange(has_data_, true)) event_.data += '\n';
    event_.data += valid_utf8(value);
  }
  return ok;
}

void SseParser::dispatch() {
  SseEvent event = std::exchange(event_, {});
  if (!std::exchange(has_data_, false)) return;
  event.id = last_id_;
  ready_.push_back(std::move(event));
}

std::optional<SseEvent> SseParser::next() {
  if (ready_.empty()) return std::nullopt;
  SseEvent event = std::move(ready_.front());
  ready_.pop_front();
  return event;
}

struct SseReader::Impl {
  BodyReader& body;
  SseParser parser;
};

SseReader::SseReader(BodyReader& body, std::size_t limit)
    : impl_(std::make_unique<Impl>(body, SseParser(limit))) {}
SseReader::~SseReader() = default;

Task<std::optional<SseEvent>> SseReader::next() {
  for (;;) {
    if (auto event = impl_->parser.next()) co_return event;
    CO_TRY(piece, co_await impl_->body.read());
    if (piece.empty())
      co_return std::nullopt;  // an event without its empty line was cut off: not an event
    CO_TRY_DO(impl_->parser.feed(piece));
  }
}

}  // namespace glovebox::http
