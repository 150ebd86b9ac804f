#include "brain/scenario.h"

#include <toml++/toml.h>

#include <boost/json.hpp>
#include <fstream>
#include <optional>
#include <sstream>

#include "brain/json_read.h"
#include "wire/decode.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kFileLimit = 4 << 20;
constexpr std::int64_t kLongestDelay = 3'600'000;

Result<json::value> from_toml(std::string_view text, std::string_view name) {
  try {
    toml::table table = toml::parse(text, name);
    std::ostringstream out;
    out << toml::json_formatter(table);
    return wire::parse_json(out.str());
  } catch (const toml::parse_error& error) {
    return Error{Code::invalid, str("line ", error.source().begin.line, ": ", error.description())};
  }
}

// Our own format: what is unknown is a mistake.
Result<void> only(const Members& members, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : members.raw())
    if (std::ranges::find(known, std::string_view(key)) == known.end())
      return members.wrong(key, "is not known here");
  return ok;
}

// "text", {text}, {thinking}, {tool, input}
Result<json::object> block_of(const json::value& value, const std::string& where) {
  if (value.is_string()) return json::object{{"type", "text"}, {"text", value.get_string()}};
  TRY(members, Members::of(value, where));
  TRY_DO(only(members, {"text", "thinking", "tool", "input"}));
  TRY(text, members.text("text", kFileLimit));
  if (text) return json::object{{"type", "text"}, {"text", *text}};
  TRY(thinking, members.text("thinking", kFileLimit));
  if (thinking) return json::object{{"type", "thinking"}, {"thinking", *thinking}};
  TRY(tool, members.text("tool", 128));
  if (!tool) return members.wrong("tool", R"(there must be "text", "thinking" or "tool")");
  const json::object* input = object_of(members.raw(), "input");
  return json::object{
      {"type", "tool_use"}, {"name", *tool}, {"input", input ? *input : json::object()}};
}

Result<ScenarioTurn> turn_of(const json::value& value, const std::string& where) {
  TRY(members, Members::of(value, where));
  TRY_DO(only(members, {"match", "reply", "error", "error_times", "delay_ms", "stop_reason"}));
  ScenarioTurn turn;
  TRY(match, members.text("match", kFileLimit));
  TRY(error, members.text("error", 64));
  TRY(times, members.integer("error_times", 1, 1'000'000));
  TRY(delay, members.integer("delay_ms", 0, kLongestDelay));
  TRY(stop_reason, members.text("stop_reason", 64));
  const json::value* reply = members.take("reply");
  if (!reply && !error) return members.wrong("reply", "is missing");
  json::array content;
  bool calls = false;
  const json::array one = reply && !reply->is_array() ? json::array{*reply} : json::array();
  const json::array& items = reply && reply->is_array() ? reply->get_array() : one;
  for (const json::value& item : items) {
    TRY(block, block_of(item, str(where, ".reply[", content.size(), "]")));
    calls = calls || text_of(block, "type") == "tool_use";
    content.push_back(std::move(block));
  }
  turn.match = lower(match.value_or(""));
  turn.content = json::serialize(content);
  turn.stop_reason = stop_reason.value_or(calls ? "tool_use" : "end_turn");
  turn.error = error.value_or("");
  if (error) turn.error_times = times ? static_cast<int>(*times) : reply ? 1 : -1;
  turn.delay = Millis(delay.value_or(0));
  return turn;
}

}  // namespace

Result<Scenario> Scenario::parse(std::string_view text, std::string_view name) {
  auto value = name.ends_with(".json") ? wire::parse_json(text) : from_toml(text, name);
  if (!value) return std::move(value.error()).with(std::string(name));
  TRY(members, Members::of(*value, "scenario"), name);
  TRY_DO(only(members, {"turns"}), name);
  const json::array* turns = array_of(members.raw(), "turns");
  if (!turns) return members.wrong("turns", "must be a list").with(std::string(name));
  Scenario scenario;
  for (const json::value& one : *turns) {
    TRY(turn, turn_of(one, str("turns[", scenario.turns_.size(), "]")), name);
    scenario.turns_.push_back(std::move(turn));
  }
  return scenario;
}

Result<Scenario> Scenario::load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{Code::not_found, str("scenario ", path, " cannot be read")};
  std::string text(kFileLimit + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kFileLimit)
    return Error{Code::too_large, str("scenario ", path, " is over ", kFileLimit, " bytes")};
  return parse(text, path);
}

// Nothing is kept between two requests: where a session stands in the script is found by going
// through its conversation again.
const ScenarioTurn* Scenario::next(const std::vector<std::string>& said) const {
  const ScenarioTurn* chosen = nullptr;
  std::size_t in_line = 0;  // turns without a match that were used
  for (const std::string& words : said) {
    std::string low = lower(words);
    auto matching = std::ranges::find_if(turns_, [&](const ScenarioTurn& turn) {
      return !turn.match.empty() && low.contains(turn.match);
    });
    if (matching != turns_.end()) {
      chosen = &*matching;
      continue;
    }
    chosen = nullptr;
    std::size_t skip = in_line++;
    for (const ScenarioTurn& turn : turns_)
      if (turn.match.empty() && skip-- == 0) {
        chosen = &turn;
        break;
      }
  }
  return chosen;
}

}  // namespace glovebox::brain
