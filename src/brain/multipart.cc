#include "brain/multipart.h"

#include <algorithm>

namespace glovebox::brain {
namespace {

constexpr std::size_t kMaxBoundary = 70;  // RFC 2046
constexpr std::size_t kMaxPadding = 100;  // behind a boundary

Error broken(std::string_view what) { return Error{Code::invalid, str("multipart body: ", what)}; }

// Takes "; name=value" off its front; what cannot be read stays.
bool next_parameter(std::string_view& text, std::string& name, std::string& value) {
  std::string_view rest = trim(text);
  if (!rest.starts_with(';')) return false;
  rest = trim(rest.substr(1));
  const auto equals = rest.find('=');
  if (equals == rest.npos) return false;
  name = lower(trim(rest.substr(0, equals)));
  rest.remove_prefix(equals + 1);
  value.clear();
  if (!rest.starts_with('"')) {
    const auto end = std::min(rest.find(';'), rest.size());
    value = trim(rest.substr(0, end));
    text = rest.substr(end);
    return true;
  }
  for (rest.remove_prefix(1); !rest.empty() && rest.front() != '"'; rest.remove_prefix(1)) {
    // curl writes \" and \\; a path with backslashes stands as it is.
    if (rest.size() > 1 && rest[0] == '\\' && (rest[1] == '"' || rest[1] == '\\'))
      rest.remove_prefix(1);
    value += rest.front();
  }
  if (rest.empty()) return false;
  text = rest.substr(1);
  return true;
}

// What browsers and fetch() write for the three characters that a quoted name cannot have.
std::string unescaped(std::string text) {
  constexpr std::pair<std::string_view, char> kEscapes[] = {
      {"%22", '"'}, {"%0D", '\r'}, {"%0A", '\n'}};
  for (auto [escape, character] : kEscapes)
    for (auto at = text.find(escape); at != text.npos; at = text.find(escape, at + 1))
      text.replace(at, escape.size(), 1, character);
  return text;
}

Result<void> read_disposition(std::string_view value, FormPart& part) {
  const auto end = std::min(value.find(';'), value.size());
  if (lower(trim(value.substr(0, end))) != "form-data") return broken("a part is no form-data");
  std::string name, text;
  for (value.remove_prefix(end); next_parameter(value, name, text);) {
    if (name == "name") part.name = unescaped(std::move(text));
    if (name == "filename") part.filename = unescaped(std::move(text));
  }
  if (value.find_first_not_of("; \t") != value.npos)
    return broken("a Content-Disposition cannot be read");
  if (part.name.empty()) return broken("a part has no name");
  return ok;
}

Result<FormPart> read_head(std::string_view head) {
  FormPart part;
  while (!head.empty()) {
    const auto end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    const auto colon = line.find(':');
    if (colon == line.npos) return broken("a line of a part's head has no colon");
    const std::string name = lower(trim(line.substr(0, colon)));
    const std::string_view value = trim(line.substr(colon + 1));
    if (name == "content-disposition") TRY_DO(read_disposition(value, part));
    if (name == "content-type") part.type = value;
    if (name == "content-transfer-encoding" && lower(value) != "binary" && lower(value) != "8bit" &&
        lower(value) != "7bit")
      return broken("a part is encoded");
  }
  if (part.name.empty()) return broken("a part has no Content-Disposition");
  return part;
}

}  // namespace

FormParser::FormParser(std::string_view boundary, FormLimits limits, FormSink& sink)
    : delimiter_(str("\r\n--", boundary)), limits_(limits), sink_(sink) {}

Result<void> FormParser::feed(std::string_view bytes) {
  if (state_ == State::done) return ok;  // what follows the last boundary is nobody's
  kept_.append(bytes);
  for (;;) {
    TRY(further, step());
    if (!further) break;
  }
  kept_.erase(0, at_);
  at_ = 0;
  return ok;
}

Result<void> FormParser::finish() {
  if (state_ != State::done) return broken("ends before its last boundary");
  return ok;
}

Result<bool> FormParser::step() {
  switch (state_) {
    case State::preamble:
    case State::data: return scan();
    case State::boundary: return after_boundary();
    case State::head: return head();
    case State::done: at_ = kept_.size(); return false;
  }
  return false;
}

// Up to the next boundary; what may be its beginning stays until more has come.
Result<bool> FormParser::scan() {
  const auto found = kept_.find(delimiter_, at_);
  std::size_t end = found;
  if (found == kept_.npos) {
    end = std::max(at_, kept_.size() - std::min(kept_.size(), delimiter_.size() - 1));
  }
  if (state_ == State::data && end > at_)
    TRY_DO(sink_.data(std::string_view(kept_).substr(at_, end - at_)));
  at_ = end;
  if (found == kept_.npos) return false;
  at_ += delimiter_.size();
  if (state_ == State::data) TRY_DO(sink_.end());
  state_ = State::boundary;
  return true;
}

Result<bool> FormParser::after_boundary() {
  const std::string_view rest = std::string_view(kept_).substr(at_);
  if (rest.starts_with("--")) {
    state_ = State::done;
    return true;
  }
  const auto end = rest.find("\r\n");
  const std::string_view padding = rest.substr(0, end);
  if (padding.size() > kMaxPadding ||
      padding.find_first_not_of(end == rest.npos ? " \t\r-" : " \t") != padding.npos)
    return broken("a boundary is followed by something");
  if (end == rest.npos) return false;
  at_ += end + 2;
  state_ = State::head;
  return true;
}

Result<bool> FormParser::head() {
  const std::string_view rest = std::string_view(kept_).substr(at_);
  constexpr std::string_view kEnd = "\r\n\r\n";
  const auto end = rest.find(kEnd);
  // The same whether its end has come already or not.
  if (end == rest.npos ? rest.size() >= limits_.head + kEnd.size() : end > limits_.head)
    return broken("the head of a part is too long");
  if (end == rest.npos) return false;
  if (++parts_ > limits_.parts) return broken(str("has more than ", limits_.parts, " parts"));
  TRY(part, read_head(rest.substr(0, end)));
  at_ += end + kEnd.size();
  state_ = State::data;
  TRY_DO(sink_.begin(part));
  return true;
}

Result<std::string> form_boundary(std::string_view content_type) {
  const auto end = std::min(content_type.find(';'), content_type.size());
  if (lower(trim(content_type.substr(0, end))) != "multipart/form-data")
    return Error{Code::invalid, "the body: must be multipart/form-data"};
  std::string name, value;
  for (content_type.remove_prefix(end); next_parameter(content_type, name, value);)
    if (name == "boundary" && !value.empty() && value.size() <= kMaxBoundary) return value;
  return broken("its Content-Type has no boundary");
}

}  // namespace glovebox::brain
