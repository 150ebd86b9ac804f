#include "brain/content.h"

#include <algorithm>
#include <boost/json.hpp>

#include "wire/decode.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMostBlocks = 1000;
constexpr std::size_t kNameLimit = 4096;  // titles, URLs, context
constexpr std::string_view kImageTypes[] = {"image/jpeg", "image/png", "image/gif", "image/webp"};

bool takes_media(Content what) { return what == Content::message || what == Content::result; }

bool may_be_empty(Content what) { return what == Content::result || what == Content::quote; }

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == text.npos; }

// Whole groups of four from the usual alphabet, padded: what the Messages API takes.
bool is_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return false;
  std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  return std::ranges::all_of(text.substr(0, text.size() - padding), [](unsigned char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
  });
}

// Not Members::text: the output of a program may hold NUL, and has no limit but the request's.
Result<std::string> long_text(Members& block, std::string_view key) {
  const json::value* value = block.take(key);
  if (!value || !value->is_string()) return block.wrong(key, "must be a string");
  return std::string(value->get_string());
}

Result<void> optional_text(Members& from, json::object& to, std::string_view key) {
  TRY(text, from.text(key, kNameLimit));
  if (text) to[key] = *text;
  return ok;
}

Result<json::object> base64_source(Members& source, bool image) {
  TRY(media_type, source.text("media_type", 128));
  if (image && std::ranges::find(kImageTypes, media_type.value_or("")) == std::end(kImageTypes))
    return source.wrong("media_type", "must be image/jpeg, image/png, image/gif or image/webp");
  if (!image && media_type != "application/pdf")
    return source.wrong("media_type", "must be application/pdf");
  TRY(data, long_text(source, "data"));
  if (!is_base64(data)) return source.wrong("data", "must be base64");
  return json::object{{"type", "base64"}, {"media_type", *media_type}, {"data", data}};
}

Result<json::object> url_source(Members& source) {
  TRY(url, source.text("url", kNameLimit));
  if (!url || (!url->starts_with("https://") && !url->starts_with("http://")))
    return source.wrong("url", "must be an http or https URL");
  return json::object{{"type", "url"}, {"url", *url}};
}

Result<json::object> text_source(Members& source) {
  TRY(media_type, source.text("media_type", 128));
  if (media_type.value_or("text/plain") != "text/plain")
    return source.wrong("media_type", "must be text/plain");
  TRY(data, long_text(source, "data"));
  return json::object{{"type", "text"}, {"media_type", "text/plain"}, {"data", data}};
}

Result<json::object> check_source(Members& block, bool image) {
  TRY(source, block.object("source"));
  if (!source) return block.wrong("source", "must be an object");
  TRY(type, source->text("type", 64));
  Result<json::object> checked = source->wrong(
      "type", image ? R"(must be "base64" or "url")" : R"(must be "base64", "url" or "text")");
  if (type == "file")
    checked = source->wrong(
        "type", "file: files are not available in messages: send their bytes as base64");
  else if (type == "base64")
    checked = base64_source(*source, image);
  else if (type == "url")
    checked = url_source(*source);
  else if (type == "text" && !image)
    checked = text_source(*source);
  source->done();
  return checked;
}

Result<void> check_text(Members& block, json::object& out, Content what) {
  TRY(text, long_text(block, "text"));
  if (!may_be_empty(what) && is_blank(text)) return block.wrong("text", "must not be empty");
  out["text"] = std::move(text);
  return ok;
}

Result<void> check_search_result(Members& block, json::object& out, const std::string& where) {
  TRY_DO(optional_text(block, out, "source"));
  TRY_DO(optional_text(block, out, "title"));
  for (std::string_view key : {"source", "title"})
    if (!out.contains(key)) return block.wrong(key, "must be a string");
  TRY(content, check_content(block.take("content"), where + ".content", Content::quote));
  out["content"] = std::move(content);
  TRY(citations, block.object("citations"));
  bool enabled = false;
  if (citations) {
    TRY(flag, citations->flag("enabled"));
    enabled = flag.value_or(false);
  }
  out["citations"] = {{"enabled", enabled}};
  return ok;
}

Result<json::object> check_block(const json::value& value, const std::string& where, Content what) {
  TRY(block, Members::of(value, where));
  TRY(type, block.text("type", 64));
  json::object out{{"type", type.value_or("")}};
  if (type == "text") {
    TRY_DO(check_text(block, out, what));
  } else if ((type == "image" || type == "document") && takes_media(what)) {
    TRY(source, check_source(block, type == "image"));
    out["source"] = std::move(source);
    if (type == "document") {
      TRY_DO(optional_text(block, out, "title"));
      TRY_DO(optional_text(block, out, "context"));
    }
  } else if (type == "search_result" && what == Content::result) {
    TRY_DO(check_search_result(block, out, where));
  } else {
    return block.wrong("type", what == Content::result
                                   ? "must be text, image, document or search_result"
                               : takes_media(what) ? "must be text, image or document"
                                                   : "must be text");
  }
  block.done();
  return out;
}

}  // namespace

Result<json::array> check_content(const json::value* value, std::string where, Content what) {
  if (!value && may_be_empty(what)) return json::array{};
  // A bare string is how the Messages API abbreviates one block of text.
  if (value && value->is_string()) {
    json::value block = {{"type", "text"}, {"text", value->get_string()}};
    TRY(one, check_block(block, where, what));
    return json::array{std::move(one)};
  }
  if (!value || !value->is_array())
    return Error{Code::invalid, str(where, ": must be an array of content blocks")};
  const json::array& blocks = value->get_array();
  if (blocks.size() > kMostBlocks)
    return Error{Code::invalid, str(where, ": at most ", kMostBlocks, " blocks")};
  if (blocks.empty() && !may_be_empty(what))
    return Error{Code::invalid, str(where, ": must have at least one block")};
  json::array checked;
  for (const json::value& block : blocks) {
    TRY(one, check_block(block, str(where, "[", checked.size(), "]"), what));
    checked.push_back(std::move(one));
  }
  return checked;
}

}  // namespace glovebox::brain
