#include "brain/conversation_trim.h"

#include <algorithm>
#include <boost/json.hpp>
#include <vector>

#include "base/str.h"
#include "brain/json_read.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

constexpr std::int64_t kImageTokens = 1'600;  // of a large one
constexpr std::string_view kLeftOut =
    "[An old tool result, left out to save room. Run it again if it is needed.]";

bool is_type(const json::object& block, std::string_view type) {
  return text_of(block, "type") == type;
}

std::size_t characters_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](unsigned char c) { return (c & 0xc0) != 0x80; }));
}

// The byte where the n-th character starts, counted from the front.
std::size_t byte_of(std::string_view text, std::size_t n) {
  std::size_t at = 0;
  for (; at < text.size(); ++at)
    if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80 && n-- == 0) break;
  return at;
}

std::string cut_middle(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  std::size_t all = characters_of(text);
  if (all <= limit) return std::string(text);
  std::size_t head = limit * 6 / 10, tail = limit - head;
  return str(text.substr(0, byte_of(text, head)), "\n\n[… ", all - limit, " of ", all,
             " characters left out …]\n\n", text.substr(byte_of(text, all - tail)));
}

json::array note(std::string_view text) { return {json::object{{"type", "text"}, {"text", text}}}; }

class Trimmer {
 public:
  Trimmer(json::array& messages, std::int64_t limit, int harder)
      : messages_(messages), limit_(limit), harder_(harder) {
    for (json::value& message : messages) {
      if (message.at("role") != "user") continue;  // what a model calls a result is none
      for (json::value& block : message.at("content").as_array())
        if (is_type(block.as_object(), "tool_result")) results_.push_back(&block.as_object());
    }
    total_ = estimate_tokens(json::value(messages));
  }

  void run() {
    if (total_ > limit_) leave_out_media();
    if (harder_ > 0) shorten_the_rest();
  }

 private:
  void leave_out_media() {
    for (std::size_t i = 0; i + 1 < messages_.size() && total_ > limit_; ++i)
      for (json::value& block : messages_[i].at("content").as_array()) {
        if (!is_media(block)) continue;
        total_ -= estimate_tokens(block);
        std::string type(block.at("type").as_string());
        block = note(str("[", type, " left out to save room]")).front();
      }
  }

  // The last resort, when the model itself said that it was too much.
  void shorten_the_rest() {
    constexpr std::size_t kEach[] = {kResultCharacters, 20'000, 5'000, 1'000};
    std::size_t each = kEach[std::clamp(harder_, 0, 3)];
    for (json::object* result : results_) shorten_result(result->at("content").as_array(), each);
    if (harder_ < 3) return;
    for (json::value& message : messages_)
      if (message.at("role") == "user") shorten_result(message.at("content").as_array(), 10 * each);
  }

  json::array& messages_;
  std::int64_t limit_;
  int harder_;
  std::int64_t total_ = 0;
  std::vector<json::object*> results_;
};

}  // namespace

// Between prose (4 bytes to a token) and code (3).
std::int64_t estimate_tokens(std::string_view text) {
  return static_cast<std::int64_t>(text.size() * 2 / 7);
}

std::int64_t estimate_tokens(const json::value& value) {
  std::int64_t sum = 1;
  if (value.is_string()) return estimate_tokens(std::string_view(value.get_string()));
  if (value.is_array())
    for (const json::value& item : value.get_array()) sum += estimate_tokens(item);
  if (const json::object* object = value.if_object()) {
    if (is_type(*object, "image")) return kImageTokens;
    // A PDF: some 100 KB to a page, some 2,000 tokens to a page. (The input of a tool call may look
    // like anything.)
    const json::value* data = is_type(*object, "base64") ? object->if_contains("data") : nullptr;
    if (data && data->is_string())
      return static_cast<std::int64_t>(data->get_string().size() / 50) + 1'000;
    for (const auto& [key, member] : *object)
      sum += estimate_tokens(std::string_view(key)) + estimate_tokens(member);
  }
  return sum;
}

bool is_media(const json::value& block) {
  const json::object& object = block.as_object();
  return is_type(object, "image") || is_type(object, "document");
}

void shorten_result(json::array& content, std::size_t characters) {
  std::size_t bytes = 0;
  for (const json::value& block : content)
    if (const json::value* text = block.as_object().if_contains("text"))
      bytes += text->as_string().size();
  if (bytes <= characters) return;
  std::size_t left = characters;
  for (json::value& block : content) {
    json::value* text = block.as_object().if_contains("text");
    if (!text) continue;
    std::string_view whole = text->as_string();
    std::size_t had = characters_of(whole);
    if (had > left) *text = cut_middle(whole, left);
    left -= std::min(had, left);
  }
}

std::optional<json::object> without_result(const json::value& block) {
  const json::object& result = block.as_object();
  if (!is_type(result, "tool_result")) return std::nullopt;
  if (estimate_tokens(result.at("content")) <= 2 * estimate_tokens(kLeftOut)) return std::nullopt;
  json::object without = result;
  without["content"] = note(kLeftOut);
  return without;
}

std::int64_t room_for(std::int64_t tokens, int harder) {
  for (int i = 0; i < harder; ++i) tokens = tokens * 6 / 10;
  return std::max<std::int64_t>(tokens, 1'000);
}

void trim(json::array& messages, std::int64_t room, int harder) {
  Trimmer(messages, room, harder).run();
}

}  // namespace glovebox::brain
