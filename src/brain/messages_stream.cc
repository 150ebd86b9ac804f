#include "brain/messages_stream.h"

#include <boost/json.hpp>

#include "brain/json_read.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

// Deeper than any tool's input has reason to be; what we store of it is read again by parsers that
// stop at 32, some levels further out.
constexpr std::size_t kMaxDepth = 24;
constexpr std::size_t kMostMessage = 2'000;  // of an error, which is stored, shown and logged
constexpr std::size_t kMostBlocks = 1'000;
constexpr std::size_t kMostBytes = 32 << 20;
constexpr std::string_view kFailed = "model_request_failed_error";

Error malformed(std::string_view what) {
  return {Code::unavailable, str("the model's answer is malformed: ", what), std::string(kFailed)};
}

std::optional<json::value> parse(std::string_view text) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::value value = json::parse(text, error, {}, options);
  if (error) return std::nullopt;
  return value;
}

// A number, or an object of them; null says nothing new.
void merge_usage(json::object& usage, const json::object* more) {
  if (!more) return;
  for (const auto& [key, value] : *more)
    if (!value.is_null()) usage[key] = value;
}

struct Block {
  json::object start;
  std::string type;
  std::string text;       // of text and thinking
  std::string signature;  // of thinking
  std::string input;      // of tool calls, as it came

  json::object finished() const {
    json::object block = start;
    if (type == "text") return {{"type", "text"}, {"text", text}};
    if (type == "thinking") {
      block["thinking"] = text;
      block["signature"] = signature;
    }
    if (type == "tool_use" || type == "server_tool_use") {
      if (input.empty()) {
        if (!object_of(block, "input")) block["input"] = json::object();
        return block;
      }
      auto value = parse(input);
      block["input"] =
          value && value->is_object() ? value->get_object() : json::object{{kInvalidJson, input}};
    }
    return block;
  }
};

}  // namespace

struct MessagesStream::Impl {
  ModelListener listener;
  std::map<std::int64_t, Block> blocks;
  json::object usage;
  std::string stop_reason;
  json::value stop_details;
  std::size_t bytes = 0;
  bool started = false, done = false;

  void heard_thinking() const {
    if (listener.thinking) listener.thinking();
  }
  void heard_text(std::int64_t block, std::string_view text) const {
    if (listener.text && !text.empty()) listener.text(static_cast<std::size_t>(block), text);
  }

  Result<void> start_block(std::int64_t index, const json::object& content);
  Result<void> add_delta(Block& block, std::int64_t index, const json::object& delta);
  void take_end(const json::object& from);
  Result<void> event(std::string_view type, const json::object& data);
};

Result<void> MessagesStream::Impl::start_block(std::int64_t index, const json::object& content) {
  if (index < 0 || index >= static_cast<std::int64_t>(kMostBlocks) || blocks.contains(index))
    return malformed("a block out of order");
  Block block{.start = content, .type = text_of(content, "type")};
  if (block.type.empty()) return malformed("a block without a type");
  block.text = text_of(content, block.type == "thinking" ? "thinking" : "text");
  block.signature = text_of(content, "signature");
  if (block.type == "thinking" || block.type == "redacted_thinking") heard_thinking();
  if (block.type == "text") heard_text(index, block.text);
  blocks.emplace(index, std::move(block));
  return ok;
}

Result<void> MessagesStream::Impl::add_delta(Block& block, std::int64_t index,
                                             const json::object& delta) {
  std::string type = text_of(delta, "type");
  if (type == "text_delta") {
    std::string text = text_of(delta, "text");
    block.text += text;
    if (block.type == "text") heard_text(index, text);
  } else if (type == "thinking_delta") {
    block.text += text_of(delta, "thinking");
  } else if (type == "signature_delta") {
    block.signature += text_of(delta, "signature");
  } else if (type == "input_json_delta") {
    block.input += text_of(delta, "partial_json");
  }  // others (citations, what is yet to come) change nothing that we pass on
  return ok;
}

void MessagesStream::Impl::take_end(const json::object& from) {
  if (std::string reason = text_of(from, "stop_reason"); !reason.empty()) stop_reason = reason;
  if (const json::object* details = object_of(from, "stop_details")) stop_details = *details;
}

Result<void> MessagesStream::Impl::event(std::string_view type, const json::object& data) {
  if (type == "ping") return ok;
  if (type == "error") {
    const json::object* error = object_of(data, "error");
    return model_error(0, error ? text_of(*error, "type") : "",
                       error ? text_of(*error, "message") : "the stream ended with an error");
  }
  if (type == "message_start") {
    if (started) return malformed("it starts twice");
    started = true;
    if (const json::object* message = object_of(data, "message"))
      merge_usage(usage, object_of(*message, "usage"));
    return ok;
  }
  bool of_message = type == "content_block_start" || type == "content_block_delta" ||
                    type == "message_delta" || type == "message_stop";
  if (!of_message) return ok;
  if (!started) return malformed("it does not start");
  std::int64_t index = data.contains("index") ? integer_of(data, "index") : -1;
  if (type == "content_block_start") {
    const json::object* content = object_of(data, "content_block");
    return content ? start_block(index, *content) : malformed("a block without content");
  }
  if (type == "content_block_delta") {
    auto block = blocks.find(index);
    const json::object* delta = object_of(data, "delta");
    if (block == blocks.end() || !delta) return malformed("a piece of no block");
    return add_delta(block->second, index, *delta);
  }
  if (type == "message_delta") {
    if (const json::object* delta = object_of(data, "delta")) take_end(*delta);
    merge_usage(usage, object_of(data, "usage"));
    return ok;
  }
  if (stop_reason.empty()) return malformed("it ends without a stop_reason");
  done = true;
  return ok;
}

MessagesStream::MessagesStream(ModelListener listener) : impl_(std::make_unique<Impl>()) {
  impl_->listener = std::move(listener);
}
MessagesStream::~MessagesStream() = default;

bool MessagesStream::done() const { return impl_->done; }

Result<void> MessagesStream::feed(std::string_view name, std::string_view data) {
  if (impl_->done) return ok;
  impl_->bytes += data.size();
  if (impl_->bytes > kMostBytes) return malformed("it is too long");
  auto value = parse(data);
  if (!value || !value->is_object()) {
    if (name == "ping") return ok;
    return malformed("an event is not JSON");
  }
  std::string type = text_of(value->get_object(), "type");
  return impl_->event(type.empty() ? name : type, value->get_object());
}

Result<void> MessagesStream::feed_message(std::string_view text) {
  auto value = parse(text);
  if (!value || !value->is_object()) return malformed("it is not JSON");
  const json::object& message = value->get_object();
  if (text_of(message, "type") == "error") return impl_->event("error", message);
  const json::array* content = array_of(message, "content");
  if (!content || content->size() > kMostBlocks) return malformed("it has no content");
  for (const json::value& block : *content) {
    if (!block.is_object()) return malformed("a block is not an object");
    TRY_DO(impl_->start_block(static_cast<std::int64_t>(impl_->blocks.size()), block.get_object()));
  }
  merge_usage(impl_->usage, object_of(message, "usage"));
  impl_->take_end(message);
  if (impl_->stop_reason.empty()) return malformed("it ends without a stop_reason");
  impl_->done = true;
  return ok;
}

ModelReply MessagesStream::reply() {
  json::array content;
  for (const auto& [index, block] : impl_->blocks) content.push_back(block.finished());
  return {.content = json::serialize(content),
          .stop_reason = impl_->stop_reason,
          .stop_details = json::serialize(impl_->stop_details),
          .usage = json::serialize(impl_->usage)};
}

namespace {

bool says_too_long(std::string_view message) {
  std::string text = lower(message);
  for (std::string_view words : {"prompt is too long", "input is too long", "context window",
                                 "context limit", "context length", "maximum context"})
    if (text.contains(words)) return true;
  return false;
}

}  // namespace

bool may_pass(const Error& error) {
  return error.code == Code::unavailable || error.code == Code::exhausted ||
         error.code == Code::timeout;
}

Error model_error(int status, std::string_view type, std::string message) {
  if (message.empty()) message = str("the model's API answered ", status);
  if (message.size() > kMostMessage) message = valid_utf8(message.substr(0, kMostMessage));
  auto error = [&message](Code code, std::string_view tag = kFailed) {
    return Error{code, std::move(message), std::string(tag)};
  };
  if (status == 529 || type == "overloaded_error")
    return error(Code::unavailable, "model_overloaded_error");
  if (status == 429 || type == "rate_limit_error")
    return error(Code::exhausted, "model_rate_limited_error");
  if (status == 402 || type == "billing_error" || lower(message).contains("credit balance"))
    return error(Code::forbidden, "billing_error");
  if (status == 401 || type == "authentication_error") return error(Code::unauthenticated);
  if (status == 403 || type == "permission_error") return error(Code::forbidden);
  if (status == 404 || type == "not_found_error") return error(Code::not_found);
  if (status == 413 || type == "request_too_large") return error(Code::too_large);
  if (status == 408 || status == 504 || type == "timeout_error") return error(Code::timeout);
  if (status == 409 || status >= 500 || type == "api_error") return error(Code::unavailable);
  if (status == 400 || type == "invalid_request_error")
    return error(says_too_long(message) ? Code::too_large : Code::invalid);
  // A stream may come to know errors that we do not: those may pass.
  return error(status == 0 ? Code::unavailable : Code::invalid);
}

}  // namespace glovebox::brain
