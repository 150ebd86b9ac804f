#include "brain/conversation.h"

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <optional>
#include <ranges>
#include <span>

#include "brain/conversation_trim.h"
#include "brain/json_read.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

constexpr std::string_view kGoOn = "Go on.";
constexpr std::string_view kCutOff =
    "[Your last answer was cut off at the limit of its length. Go on exactly where it stopped; "
    "make what is left in smaller steps if a tool call was cut.]";
constexpr std::string_view kInterrupted = "[The user interrupted you here.]";
constexpr std::string_view kNoOutput = "(no output)";

json::object text_block(std::string_view text) { return {{"type", "text"}, {"text", text}}; }

// The model's side of the API takes no NUL, and no block of text that is empty.
std::optional<json::object> clean(const json::value& block) {
  const json::object* object = block.if_object();
  if (!object) return std::nullopt;
  if (text_of(*object, "type") != "text") return *object;
  std::string words = text_of(*object, "text");
  if (words.find_first_not_of(" \t\r\n") == words.npos) return std::nullopt;
  for (auto at = words.find('\0'); at != words.npos; at = words.find('\0', at))
    words.replace(at, 1, "\xef\xbf\xbd");
  return text_block(words);
}

json::object result_block(const std::string& call, const json::object& event) {
  bool is_error = flag_of(event, "is_error");
  json::array content;
  if (const json::array* blocks = array_of(event, "content"))
    for (const json::value& block : *blocks) {
      auto cleaned = clean(block);
      if (!cleaned) continue;
      std::string type = text_of(*cleaned, "type");
      // An error may carry nothing but text.
      content.push_back(is_error && type != "text" ? text_block(str("[", type, " left out]"))
                                                   : *cleaned);
    }
  if (content.empty()) content.push_back(text_block(kNoOutput));
  shorten_result(content, kResultCharacters);
  json::object block{{"type", "tool_result"}, {"tool_use_id", call}, {"content", content}};
  if (is_error) block["is_error"] = true;
  return block;
}

std::size_t held_by(const json::value& value) {
  std::size_t sum = sizeof value;
  if (value.is_string()) sum += value.get_string().capacity();
  if (value.is_array())
    for (const json::value& item : value.get_array()) sum += held_by(item);
  if (value.is_object())
    for (const auto& [key, member] : value.get_object()) sum += key.size() + held_by(member);
  return sum;
}

std::vector<std::string> taken_by(const Event& status_running) {
  std::vector<std::string> ids;
  if (status_running.memo.empty()) return ids;
  json::object memo = parse_object(status_running.memo);
  if (const json::array* takes = array_of(memo, "takes"))
    for (const json::value& id : *takes)
      if (id.is_string()) ids.emplace_back(id.get_string());
  return ids;
}

// Blocks as they stand between the brackets of a message.
struct Blocks {
  std::string text;
  std::int64_t tokens = 0;
  void add(std::string_view block, std::int64_t its_tokens) {
    if (!text.empty()) text += ',';
    text += block;
    tokens += its_tokens;
  }
};

// A message as it stands in each request from now on: taken apart again only to be trimmed by more
// than its results.
struct Said {
  std::string_view role;
  Blocks whole;
  std::optional<Blocks> bare;  // without its results, where they are long
  bool media = false;          // it has images or documents of its own

  void add(const json::array& blocks) {
    for (const json::value& block : blocks) {
      const std::string text = json::serialize(block);
      const std::int64_t tokens = estimate_tokens(block);
      auto without = role == "user" ? without_result(block) : std::nullopt;
      if (without && !bare) bare = whole;
      if (bare && without) bare->add(json::serialize(*without), estimate_tokens(*without));
      if (bare && !without) bare->add(text, tokens);
      whole.add(text, tokens);
      media = media || is_media(block);
    }
  }
};

// What of it goes into a request.
struct Part {
  std::string_view role;
  const Blocks* blocks;
  const Blocks* bare;  // null: there is nothing to leave out
  bool media;
  json::object object() const {
    return {{"role", role}, {"content", json::parse(str('[', blocks->text, ']'))}};
  }
};

}  // namespace

struct Conversation::Impl {
  void add(const Event& event) {
    last_seq_ = event.seq;
    read_ += event.json.size() + event.memo.size();
    if (event.type == "user.message" || event.type == "system.message") {
      if (event.memo == kStandsHere)
        message(event);
      else
        waiting_.emplace(event.id, event);
    } else if (event.type == "session.status_running") {
      in_turn_ = true;
      for (const std::string& id : taken_by(event))
        if (auto taken = waiting_.extract(id)) message(taken.mapped());
    } else if (event.type == "session.status_idle") {
      in_turn_ = event.json.find(R"("requires_action")") != event.json.npos;
    } else if (event.type == "user.interrupt") {
      if (in_turn_) texts_.push_back(text_block(kInterrupted));
    } else if (event.type == "span.model_request_end") {
      if (!event.memo.empty()) answer(event.memo);
    } else if (event.type == "user.tool_result" || event.type == "agent.tool_result") {
      result(event, "tool_use_id");
    } else if (event.type == "user.custom_tool_result") {
      result(event, "custom_tool_use_id");
    }
  }

  void message(const Event& event) {
    json::object value = parse_object(event.json);
    const json::array* content = array_of(value, "content");
    if (!content) return;
    bool system = event.type == "system.message";
    for (const json::value& block : *content) {
      auto cleaned = clean(block);
      if (!cleaned) continue;
      // One role fewer than it could be: not every model knows system messages on the way.
      if (system)
        cleaned =
            text_block(str("<system_message>\n", text_of(*cleaned, "text"), "\n</system_message>"));
      texts_.push_back(std::move(*cleaned));
    }
  }

  void result(const Event& event, std::string_view key) {
    json::object value = parse_object(event.json);
    std::string call = text_of(value, key);
    results_.try_emplace(call, result_block(call, value));
  }

  // What the user's side said since the last answer, as one message: results first, in the order of
  // their calls.
  json::array since_answer() const {
    json::array content;
    for (const std::string& call : calls_) {
      auto found = results_.find(call);
      content.push_back(found != results_.end() ? found->second
                                                : result_block(call, {{"is_error", true}}));
    }
    for (const json::value& block : texts_) content.push_back(block);
    if (content.empty() && !said_.empty() && stop_reason_ != "pause_turn")
      content.push_back(text_block(stop_reason_ == "max_tokens" ? kCutOff : kGoOn));
    return content;
  }

  void flush() {
    say("user", since_answer());
    calls_.clear();
    results_.clear();
    texts_.clear();
  }

  void answer(const std::string& memo) {
    json::object value = parse_object(memo);
    const json::array* blocks = array_of(value, "content");
    json::array content;
    std::vector<std::string> calls;
    if (blocks)
      for (const json::value& block : *blocks) {
        auto cleaned = clean(block);
        if (!cleaned) continue;
        std::string type = text_of(*cleaned, "type");
        // Thinking without its signature cannot be handed back.
        if (type == "thinking" && text_of(*cleaned, "signature").empty()) continue;
        if (type == "tool_use") calls.push_back(text_of(*cleaned, "id"));
        content.push_back(std::move(*cleaned));
      }
    // An answer may not end with a thought.
    while (!content.empty() && text_of(content.back().as_object(), "type").contains("thinking"))
      content.pop_back();
    if (content.empty()) return;  // it said nothing: for the API it never spoke
    flush();
    if (said_.empty()) say("user", {text_block(kGoOn)});
    say("assistant", content);
    calls_ = std::move(calls);
    stop_reason_ = text_of(value, "stop_reason");
  }

  void say(std::string_view role, const json::array& content) {
    if (content.empty()) return;
    if (said_.empty() || said_.back().role != role) said_.push_back(begin(role));
    said_.back().add(content);
  }
  static Said begin(std::string_view role) {
    const json::object empty{{"role", role}, {"content", json::array()}};
    return {.role = role, .whole = {.tokens = estimate_tokens(empty)}};
  }

  // Counted when asked for: results may hold images, of which nothing is left out.
  std::size_t bytes() const {
    std::size_t sum = held_by(texts_);
    for (const Said& said : said_)
      sum +=
          sizeof said + said.whole.text.capacity() + (said.bare ? said.bare->text.capacity() : 0);
    for (const auto& [id, event] : waiting_) sum += sizeof event + event.json.size();
    for (const auto& [call, block] : results_) sum += held_by(block);
    return sum;
  }

  std::map<std::string, Event, std::less<>> waiting_;  // messages whose turn has not begun
  std::vector<Said> said_;
  std::vector<std::string> calls_;  // of the last answer
  std::map<std::string, json::object, std::less<>> results_;
  json::array texts_;
  std::string stop_reason_;
  bool in_turn_ = false;
  std::int64_t last_seq_ = 0;
  std::size_t read_ = 0;
};

namespace {

json::value cached() { return {{"type", "ephemeral"}}; }

// The end of what the next request will begin with, too.
void mark_for_cache(json::object& message) {
  message.at("content").as_array().back().as_object()["cache_control"] = cached();
}

using Messages = std::vector<Part>;

// Where that is; past the end: nowhere.
std::size_t last_of_user(const Messages& messages) {
  auto found = std::ranges::find(messages | std::views::reverse, "user", &Part::role);
  return static_cast<std::size_t>(messages.rend() - found) - 1;
}

std::int64_t tokens_of(const Messages& messages) {
  std::int64_t tokens = 1;
  for (const Part& part : messages) tokens += part.blocks->tokens;
  return tokens;
}

// The oldest results until the rest fits, and then some: each change of what stands in front makes
// the prompt cache start anew, so it comes in big steps.
void leave_out_results(Messages& messages, std::int64_t room, int harder) {
  std::int64_t tokens = tokens_of(messages);
  const std::int64_t step = std::max<std::int64_t>(room / 4, 1);
  const std::int64_t goal = tokens - (tokens - room + step - 1) / step * step;
  const std::size_t recent = harder >= 2 ? 1 : 2;  // messages that keep theirs
  for (std::size_t i = 0; i + 2 * recent <= messages.size() && tokens > goal; ++i) {
    Part& part = messages[i];
    if (!part.bare) continue;
    tokens -= part.blocks->tokens - part.bare->tokens;
    part.blocks = part.bare;
  }
}

std::string as_they_are(const Messages& messages) {
  const std::size_t marked = last_of_user(messages);
  std::string text;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    text += i == 0 ? '[' : ',';
    if (i == marked) {
      json::object message = messages[i].object();
      mark_for_cache(message);
      text += json::serialize(message);
    } else {
      text += str(R"({"role":")", messages[i].role, R"(","content":[)");
      text += messages[i].blocks->text;
      text += "]}";
    }
  }
  return text += ']';
}

std::string fitted(Messages messages, std::int64_t room, int harder) {
  room = room_for(room, harder);
  if (tokens_of(messages) > room) leave_out_results(messages, room, harder);
  const bool enough = tokens_of(messages) <= room || !std::ranges::any_of(messages, &Part::media);
  if (enough && harder == 0) return as_they_are(messages);
  json::array all;
  for (const Part& part : messages) all.push_back(part.object());
  trim(all, room, harder);
  if (std::size_t marked = last_of_user(messages); marked < all.size())
    mark_for_cache(all[marked].as_object());
  return json::serialize(all);
}

}  // namespace

std::string takes_memo(const std::vector<std::string>& message_ids) {
  return json::serialize(
      json::object{{"takes", json::array(message_ids.begin(), message_ids.end())}});
}

std::string answer_memo(const std::string& content, const std::string& stop_reason) {
  return str(R"({"stop_reason":")", json_escape(stop_reason), R"(","content":)", content, '}');
}

Conversation::Conversation() : impl_(std::make_unique<Impl>()) {}
Conversation::~Conversation() = default;
void Conversation::add(const Event& event) { impl_->add(event); }
std::int64_t Conversation::last_seq() const { return impl_->last_seq_; }
std::size_t Conversation::bytes() const { return impl_->bytes(); }
std::size_t Conversation::read() const { return impl_->read_; }

Result<std::string> Conversation::request(const Agent& agent, const RequestLimits& limits) const {
  try {
    Messages messages;
    auto part_of = [](const Said& said) {
      return Part{said.role, &said.whole, said.bare ? &*said.bare : nullptr, said.media};
    };
    for (const Said& said : impl_->said_) messages.push_back(part_of(said));
    Said last = Impl::begin("user");
    if (json::array content = impl_->since_answer(); !content.empty()) {
      if (!messages.empty() && messages.back().role == "user") {
        last = impl_->said_.back();
        messages.pop_back();
      }
      last.add(content);
      messages.push_back(part_of(last));
    }
    if (messages.empty()) return Error{Code::internal, "a request without any message"};
    std::int64_t room =
        limits.context_tokens - estimate_tokens(agent.system) - estimate_tokens(agent.offered);

    json::object request;
    if (agent.speed == "fast") request["speed"] = "fast";  // first: see kFastRequest
    request["model"] = agent.model;
    request["max_tokens"] = limits.max_tokens;
    if (!agent.system.empty()) {
      json::object system = text_block(agent.system);
      system["cache_control"] = cached();
      request["system"] = json::array{std::move(system)};
    }
    json::array tools = json::parse(agent.offered).as_array();
    if (!tools.empty()) {
      tools.back().as_object()["cache_control"] = cached();
      request["tools"] = std::move(tools);
    }
    if (!agent.effort.empty()) request["output_config"] = {{"effort", agent.effort}};
    std::string text = json::serialize(request);
    text.pop_back();
    text += R"(,"messages":)";
    text += fitted(std::move(messages), room, limits.harder);
    return text += '}';
  } catch (const std::exception& e) {  // Boost.JSON throws where a shape is not what it must be
    return Error{Code::internal, str("make the request: ", e.what())};
  }
}

}  // namespace glovebox::brain
