// What a model said becomes events: all of one answer in one batch, so that there is no half of it
// in the log.

#include <algorithm>
#include <boost/json.hpp>

#include "base/log.h"
#include "brain/agent_tools.h"
#include "brain/conversation.h"
#include "brain/ids.h"
#include "brain/json_read.h"
#include "brain/messages_stream.h"
#include "brain/sessions_core.h"
#include "wire/to_json.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

constexpr int kMostAnswersAlone = 50;  // without anybody else having said a word
constexpr int kMostCutAnswers = 3;

std::string quoted(std::string_view text) { return str('"', json_escape(text), '"'); }

// A call as it goes into the log.
struct Call {
  std::string type = "agent.tool_use";
  std::string permission;  // members that say who may run it
  std::string refusal;     // not empty: we answer it ourselves
};

Call allow(std::string_view policy) {
  return {.permission =
              str(R"("evaluated_permission":"allow","evaluation":{"type":")", policy, R"("})")};
}

// A call that no worker and no client is to see as theirs to run is an agent.tool_use that was
// denied, followed by our own agent.tool_result: whoever reads the log, today's worker or
// tomorrow's, knows that it is settled.
Call refuse(std::string refusal) {
  return {.permission = R"("evaluated_permission":"deny")", .refusal = std::move(refusal)};
}

Call judge(const Agent& agent, const std::string& name, const json::object& input) {
  auto tool = agent.tools.find(name);
  if (tool == agent.tools.end()) {
    std::string names;
    for (const auto& [offered, rule] : agent.tools)
      names += str(names.empty() ? "" : ", ", offered);
    return refuse(str("There is no tool named ", name, ". ",
                      names.empty() ? "There are no tools." : str("There are: ", names, ".")));
  }
  if (input.size() == 1 && input.contains(kInvalidJson))
    return refuse("The input of this call is not a JSON object, or was cut off: it was not run.");
  if (tool->second.custom) return {.type = "agent.custom_tool_use"};
  switch (tool->second.policy) {
    case Policy::always_allow: return allow("always_allow");
    case Policy::always_ask:
      return {.permission = R"("evaluated_permission":"ask","evaluation":{"type":"always_ask"})"};
    case Policy::automatic:  // there is no classifier: whoever asks for one is asked
      return {.permission =
                  R"("evaluated_permission":"ask","evaluation":{"type":"auto",)"
                  R"("evaluated_permission":{"type":"ask","reason_code":"indeterminate"}})"};
    case Policy::always_deny: return refuse("This tool is not allowed in this session.");
  }
  return refuse("This tool is not allowed in this session.");
}

// What an endpoint says of itself may be anything; the sums are ours.
std::int64_t tokens_of(const json::object& said, std::string_view key) {
  return std::clamp<std::int64_t>(integer_of(said, key), 0, std::int64_t{1} << 40);
}

json::object usage_of(const ModelReply& reply) {
  json::object said = parse_object(reply.usage);
  json::object usage;
  for (std::string_view key :
       {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"})
    usage[key] = tokens_of(said, key);
  if (std::string speed = text_of(said, "speed"); !speed.empty()) usage["speed"] = speed;
  return usage;
}

void add_to(json::object& totals, std::string_view key, std::int64_t more) {
  totals[key] = integer_of(totals, key) + more;
}

// The totals of a session tell what was written to the cache by how long it stays there.
std::string add_usage(const std::string& before, const ModelReply& reply) {
  json::object totals = parse_object(before), said = parse_object(reply.usage);
  for (std::string_view key : {"input_tokens", "output_tokens", "cache_read_input_tokens"})
    add_to(totals, key, tokens_of(said, key));
  const json::object* had = object_of(totals, "cache_creation");
  json::object creation = had ? *had : json::object();
  const json::object* parts = object_of(said, "cache_creation");
  add_to(creation, "ephemeral_5m_input_tokens",
         parts ? tokens_of(*parts, "ephemeral_5m_input_tokens")
               : tokens_of(said, "cache_creation_input_tokens"));
  add_to(creation, "ephemeral_1h_input_tokens",
         parts ? tokens_of(*parts, "ephemeral_1h_input_tokens") : 0);
  totals["cache_creation"] = std::move(creation);
  return json::serialize(totals);
}

// The text blocks of an answer, as its agent.message has them.
json::array message_of(const json::array& content) {
  json::array message;
  bool blank = true;
  for (const json::value& block : content) {
    const json::object* object = block.if_object();
    if (!object || text_of(*object, "type") != "text") continue;
    std::string text = text_of(*object, "text");
    if (text.empty()) continue;  // it had no preview, either: the others keep their place
    blank = blank && text.find_first_not_of(" \t\r\n") == text.npos;
    message.push_back({{"type", "text"}, {"text", text}});
  }
  return blank ? json::array() : message;
}

struct Refusal {
  std::string call, text;
};

// Adds the calls of `content` and puts our ids into it in place of the model's.
std::vector<Refusal> add_calls(Change& change, const Agent& agent, json::array& content) {
  std::vector<Refusal> refused;
  for (json::value& value : content) {
    json::object* block = value.if_object();
    if (!block || text_of(*block, "type") != "tool_use") continue;
    std::string name = text_of(*block, "name");
    const json::object* input = object_of(*block, "input");
    Call call = judge(agent, name, input ? *input : json::object());
    std::string id =
        change.add(call.type, str(R"("name":)", quoted(name), R"(,"input":)",
                                  wire::to_json(input ? *input : json::object()),
                                  call.permission.empty() ? "" : ",", call.permission));
    (*block)["id"] = id;
    if (!call.refusal.empty()) refused.push_back({id, std::move(call.refusal)});
  }
  return refused;
}

}  // namespace

Result<void> Sessions::Impl::take_answer(Turn& turn, const Hearing& hearing,
                                         const ModelReply& reply) {
  TRY(change, begin(turn.session));
  TRY(agent, Agent::parse(change.row.agent));
  json::error_code error;
  json::value parsed = json::parse(reply.content, error);
  if (error || !parsed.is_array())
    return fail_turn(turn.session, {Code::invalid, "the model's answer has no content",
                                    "model_request_failed_error"});
  json::array& content = parsed.get_array();

  if (json::array message = message_of(content); !message.empty())
    change.add_with_id(hearing.message_id.empty() ? new_id("sevt") : hearing.message_id,
                       "agent.message", str(R"("content":)", json::serialize(message)));
  auto refused = add_calls(change, agent, content);
  bool called = !refused.empty() || !change.state.open.empty();
  change.end_request("false", json::serialize(usage_of(reply)),
                     answer_memo(json::serialize(content), reply.stop_reason));
  for (const Refusal& one : refused) change.refuse_call(one.call, one.text);
  change.row.usage = add_usage(change.row.usage, reply);

  bool cut = !called && reply.stop_reason == "max_tokens";
  turn.cut_answers = cut ? turn.cut_answers + 1 : 0;
  bool goes_on =
      called || reply.stop_reason == "pause_turn" || (cut && turn.cut_answers < kMostCutAnswers);
  if (!change.state.open.empty()) {
    change.wait_for_calls();
  } else if (goes_on && change.state.answers_alone >= kMostAnswersAlone) {
    change.error("tool_use_limit_reached_error",
                 str("the model was asked ", kMostAnswersAlone, " times in a row without a result"),
                 "terminal");
    change.idle(R"({"type":"retries_exhausted"})");
  } else if (!goes_on && reply.stop_reason == "refusal") {
    change.idle(R"({"type":"refusal"})", reply.stop_details);
  } else if (!goes_on) {
    change.idle(R"({"type":"end_turn"})");
  }
  change.settle();
  return finish(change, "brain.turn_answered");
}

Result<void> Sessions::Impl::fail_turn(const std::string& session, const Error& error) {
  log::warn("brain.model_failed",
            {{"session", session}, {"type", error.tag}, {"error", error.what}});
  TRY(change, begin(session));
  change.end_request("true", "", "");
  change.error(error.tag.empty() ? "unknown_error" : error.tag, error.what,
               may_pass(error) ? "exhausted" : "terminal");
  change.idle(R"({"type":"retries_exhausted"})");
  change.settle();
  return finish(change, "brain.turn_failed");
}

}  // namespace glovebox::brain
