#include "http/parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

#include "http/chunked.h"
#include "http/text.h"

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;

namespace glovebox::http {
namespace {

std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }
Refused bad(std::string what) { return Refused{400, "INVALID", std::move(what)}; }

Refused refused_by_beast(const beast::error_code& error) {
  if (error == bhttp::error::bad_version)
    return {505, "HTTP_VERSION", "this is a server of HTTP/1.1 and HTTP/1.0"};
  return bad(str("malformed HTTP: ", error.message()));
}

// What is wrong with the bytes of a head that Beast would forgive. `from` is where the last look
// ended.
std::optional<Refused> check_raw(std::string_view head, std::size_t from) {
  // Almost all bytes are beyond '\r'. What follows the last one is seen by the next look.
  for (std::size_t i = from > 0 ? from - 1 : 0; i < head.size(); ++i) {
    const char c = head[i];
    if (static_cast<unsigned char>(c) > '\r') continue;
    const char before = i > 0 ? head[i - 1] : '\0';
    const std::string_view after = head.substr(i + 1, 1);
    if (c == '\0') return bad("a NUL byte in the head");
    if (c == '\n' && before != '\r') return bad("a line that ends in LF alone");
    if (c == '\r' && !after.empty() && after != "\n") return bad("a carriage return inside a line");
    if (c == '\n' && (after == " " || after == "\t")) return bad("a folded header line");
  }
  return std::nullopt;
}

template <bool is_request>
class BeastParser final : public Parser, private bhttp::basic_parser<is_request> {
  using Base = bhttp::basic_parser<is_request>;

 public:
  BeastParser(ParserLimits limits, bool has_no_body) : limits_(limits) {
    Base::header_limit(static_cast<std::uint32_t>(limits.head) + 4);
    Base::body_limit(boost::none);  // bounded by who reads it
    if (has_no_body) Base::skip(true);
  }

  Parsed<std::size_t> feed(std::string_view input) override {
    if (!Base::is_header_done()) return feed_head(input);
    if (Base::chunked()) return chunks_.feed(input, body);
    auto piece = until_end_ ? input : input.substr(0, std::min<std::uint64_t>(input.size(), left_));
    body += piece;
    if (!until_end_) left_ -= piece.size();
    return piece.size();
  }

  Parsed<void> feed_end() override {
    if (!Base::is_header_done())
      return std::unexpected(bad("the connection ended inside the head"));
    until_end_ = false;
    if (!done()) return std::unexpected(bad("the connection ended inside the body"));
    return {};
  }

  bool head_done() const override { return Base::is_header_done(); }
  bool done() const override {
    if (!Base::is_header_done()) return false;
    return Base::is_done() || (Base::chunked() ? chunks_.done() : left_ == 0 && !until_end_);
  }
  bool keep_alive() const override { return Base::keep_alive(); }
  bool chunked() const override { return Base::chunked(); }
  std::optional<std::uint64_t> content_length() const override {
    auto length = Base::content_length();
    if (!length) return std::nullopt;
    return *length;
  }

 private:
  Parsed<std::size_t> feed_head(std::string_view input) {
    // An empty line before a request is a leftover of some old client's POST.
    if (is_request && input == "\r") return 0;
    if (is_request && input.starts_with("\r\n")) {
      if (++empty_lines_ > 4) return std::unexpected(bad("empty lines instead of a request"));
      return 2;
    }
    std::size_t end = input.find("\r\n\r\n", looked_at_ < 3 ? 0 : looked_at_ - 3);
    std::string_view head =
        input.substr(0, std::min(end == input.npos ? end : end + 4, limits_.head + 1));
    if (auto refused = check_raw(head, looked_at_)) return std::unexpected(std::move(*refused));
    looked_at_ = head.size();
    if (head.size() > limits_.head) return std::unexpected(too_long(head));
    if (end == input.npos) return 0;

    beast::error_code error;
    std::size_t used = Base::put(boost::asio::const_buffer(head.data(), head.size()), error);
    if (refused_) return std::unexpected(std::move(*refused_));
    if (error) return std::unexpected(refused_by_beast(error));
    until_end_ = Base::need_eof();
    left_ = Base::content_length().value_or(0);
    return used;
  }

  Refused too_long(std::string_view head) const {
    if (is_request && !head.contains('\n'))
      return {414, "URI_TOO_LONG", "the request line is too long"};
    return {431, "HEADERS_TOO_LARGE", str("the head is larger than ", limits_.head, " bytes")};
  }

  void refuse(Refused refused, beast::error_code& error) {
    refused_ = std::move(refused);
    error = bhttp::error::bad_field;  // only to stop the parser
  }

  void on_request_impl(bhttp::verb, beast::string_view method_text, beast::string_view target_text,
                       int version, beast::error_code&) override {
    method = view(method_text);
    target = view(target_text);
    minor_version = version % 10;
  }

  void on_response_impl(int code, beast::string_view, int version, beast::error_code&) override {
    status = code;
    minor_version = version % 10;
  }

  void on_field_impl(bhttp::field, beast::string_view name_text, beast::string_view value_text,
                     beast::error_code& error) override {
    std::string_view name = view(name_text), value = view(value_text);
    if (headers.all().size() >= limits_.headers)
      return refuse({431, "HEADERS_TOO_LARGE", str("more than ", limits_.headers, " headers")},
                    error);
    if (same_name(name, "Content-Length")) {
      if (headers.get(name)) return refuse(bad("more than one Content-Length"), error);
      if (!parse_int<std::uint64_t>(value))
        return refuse(bad("the Content-Length is not a number"), error);
    }
    if (same_name(name, "Transfer-Encoding")) {
      // Any other coding would leave it open where the message ends.
      if (!same_name(value, "chunked"))
        return refuse({501, "UNSUPPORTED", "the only Transfer-Encoding here is chunked"}, error);
      if (minor_version == 0) return refuse(bad("Transfer-Encoding in HTTP/1.0"), error);
    }
    if (is_request && same_name(name, "Host") && headers.get(name))
      return refuse(bad("more than one Host"), error);
    headers.add(name, std::string(value));
  }

  // Beast gets the head only; bodies are simpler without it.
  void on_header_impl(beast::error_code&) override {}
  void on_body_init_impl(boost::optional<std::uint64_t> const&, beast::error_code&) override {}
  std::size_t on_body_impl(beast::string_view, beast::error_code&) override { return 0; }
  void on_chunk_header_impl(std::uint64_t, beast::string_view, beast::error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view, beast::error_code&) override {
    return 0;
  }
  void on_finish_impl(beast::error_code&) override {}

  ParserLimits limits_;
  ChunkReader chunks_;
  std::uint64_t left_ = 0;     // of a body with a length
  bool until_end_ = false;     // of the connection: how an answer without a length ends
  std::size_t looked_at_ = 0;  // bytes of the head already checked
  int empty_lines_ = 0;
  std::optional<Refused> refused_;
};

}  // namespace

std::unique_ptr<Parser> request_parser(ParserLimits limits) {
  return std::make_unique<BeastParser<true>>(limits, false);
}

std::unique_ptr<Parser> response_parser(ParserLimits limits, bool has_no_body) {
  return std::make_unique<BeastParser<false>>(limits, has_no_body);
}

}  // namespace glovebox::http
