// The model for when there is none: rules, or a script. Everything it needs to know stands in the
// request, as for any other model, so it has no memory of sessions.

#include <algorithm>
#include <boost/json.hpp>
#include <optional>

#include "brain/attempts.h"
#include "brain/json_read.h"
#include "brain/messages_stream.h"
#include "brain/model.h"
#include "brain/rehearsal_steps.h"
#include "brain/scenario.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

constexpr std::string_view kName = "Rehearsal model (rules, no language model): ";
constexpr std::size_t kShownOutput = 2'000;
constexpr std::string_view kNoUsage = R"({"input_tokens":0,"output_tokens":0})";

struct Answered {
  std::string text;
  bool failed = false;
};

// What the rules look at: the last thing the user asked for, and what was done about it since.
struct Situation {
  std::string prompt;
  std::string last_file;           // named by a call before the prompt
  std::vector<std::string> calls;  // ids, since the prompt
  std::map<std::string, Answered, std::less<>> results;
  std::vector<std::string> said;  // by the user's side, before each answer
  std::vector<std::string> tools;
};

bool is_ours(std::string_view text) {  // put into the conversation by the brain
  return text.starts_with("<system_message>") || text.starts_with("[Your last answer was cut");
}

std::string text_of_blocks(const json::object& holder) {
  std::string all;
  const json::array* blocks = array_of(holder, "content");
  if (!blocks) return text_of(holder, "content");
  for (const json::value& block : *blocks)
    if (const json::object* object = block.if_object())
      if (text_of(*object, "type") == "text")
        all += str(all.empty() ? "" : "\n", text_of(*object, "text"));
  return all;
}

class Reader {
 public:
  explicit Reader(const json::object& request) {
    if (const json::array* tools = array_of(request, "tools"))
      for (const json::value& tool : *tools)
        if (tool.is_object()) out_.tools.push_back(text_of(tool.get_object(), "name"));
    if (const json::array* messages = array_of(request, "messages"))
      for (const json::value& message : *messages)
        if (message.is_object()) take(message.get_object());
    out_.said.push_back(std::move(words_));
  }
  Situation take_result() { return std::move(out_); }

 private:
  void take(const json::object& message) {
    const json::array* content = array_of(message, "content");
    if (!content) return;
    bool assistant = text_of(message, "role") == "assistant";
    if (assistant) out_.said.push_back(std::exchange(words_, ""));
    std::string prompt;
    for (const json::value& value : *content)
      if (const json::object* block = value.if_object()) {
        if (assistant)
          take_answer(*block);
        else
          take_words(*block, prompt);
      }
    if (prompt.empty()) return;
    out_.prompt = std::move(prompt);
    out_.last_file = file_;
    out_.calls.clear();
  }

  void take_answer(const json::object& block) {
    if (text_of(block, "type") != "tool_use") return;
    out_.calls.push_back(text_of(block, "id"));
    if (const json::object* input = object_of(block, "input"))
      if (std::string file = text_of(*input, "file_path"); !file.empty()) file_ = file;
  }

  void take_words(const json::object& block, std::string& prompt) {
    std::string type = text_of(block, "type");
    if (type == "tool_result") {
      std::string text = text_of_blocks(block);
      words_ += text + "\n";
      out_.results[text_of(block, "tool_use_id")] = {std::move(text), flag_of(block, "is_error")};
    } else if (type == "text") {
      std::string text = text_of(block, "text");
      words_ += text + "\n";
      if (text.starts_with("[The user interrupted"))
        prompt.clear();  // what was asked before is no longer wanted
      else if (!is_ours(text))
        prompt += str(prompt.empty() ? "" : "\n", text);
    }
  }

  Situation out_;
  std::string words_, file_;
};

struct Answer {
  std::string thinking;
  std::string text;
  std::optional<Step> call;
};

std::string shown(std::string_view output) {
  output = trim(output);
  if (output.empty()) return "(nothing)";
  std::string text(output.substr(0, kShownOutput));
  if (output.size() > kShownOutput)
    text = str(valid_utf8(text), " … (+", output.size() - kShownOutput, " bytes)");
  return text.contains('\n') ? "\n" + text + "\n" : text;
}

Answer by_rules(const Situation& now) {
  std::vector<Step> steps = parse_steps(now.prompt, now.last_file);
  for (const Step& step : steps)
    if (step.tool.empty())
      return {.text = str(kName, "I did not understand \"", step.said,
                          "\". I understand: ", rehearsal_help(), '.')};
  if (steps.empty())
    return {.text = str(kName, "tell me what to do. I understand: ", rehearsal_help(), '.')};
  std::string summary;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    if (i >= now.calls.size()) {
      if (std::ranges::find(now.tools, step.tool) == now.tools.end())
        return {.text = str(kName, summary, summary.empty() ? "" : "; ", "I have no tool ",
                            step.tool, " in this session, so I cannot ", step.failing, '.')};
      return {.thinking = i == 0 ? str("A plan of ", steps.size(), " steps.") : "", .call = step};
    }
    auto result = now.results.find(now.calls[i]);
    std::string output = result == now.results.end() ? "" : shown(result->second.text);
    if (!summary.empty()) summary += "; ";
    if (result != now.results.end() && result->second.failed)
      return {.text = str(kName, summary, "could not ", step.failing, ": ", output)};
    summary += step.tells ? str(step.doing, ": ", output) : step.doing;
  }
  return {.text = str(kName, summary)};
}

// As a model would speak: some words at a time.
Task<void> speak(std::string text, std::size_t block, ModelListener listener) {
  if (!listener.text) co_return ok;
  for (std::size_t at = 0; at < text.size();) {
    auto end = std::min(text.find(' ', at + 16), text.size());
    listener.text(block, std::string_view(text).substr(at, end - at));
    at = end;
    CO_TRY_DO(co_await net::yield());
  }
  co_return ok;
}

class RehearsalModel final : public Model {
 public:
  RehearsalModel(ModelOptions options, std::optional<Scenario> scenario)
      : options_(std::move(options)), scenario_(std::move(scenario)) {}
  std::string kind() const override { return "rehearsal"; }
  std::string describe() const override {
    return scenario_
               ? str("rehearsal model (the script ", options_.scenario, ", no language model)")
               : "rehearsal model (rules, no language model)";
  }
  std::int64_t context_tokens() const override { return options_.context_tokens; }

  Task<ModelReply> ask(std::string request, ModelListener listener) override {
    Situation now = Reader(parse_object(request)).take_result();
    if (scenario_) co_return co_await by_script(std::move(now), std::move(listener));
    Answer answer = by_rules(now);
    json::array content;
    if (!answer.thinking.empty() && listener.thinking) listener.thinking();
    if (!answer.text.empty()) {
      CO_TRY_DO(co_await speak(answer.text, 0, listener));
      content.push_back({{"type", "text"}, {"text", answer.text}});
    }
    if (answer.call)
      content.push_back({{"type", "tool_use"},
                         {"id", "toolu_rehearsal"},
                         {"name", answer.call->tool},
                         {"input", parse_object(answer.call->input)}});
    co_return ModelReply{.content = json::serialize(content),
                         .stop_reason = answer.call ? "tool_use" : "end_turn",
                         .usage = std::string(kNoUsage)};
  }

 private:
  Task<ModelReply> by_script(Situation now, ModelListener listener) {
    const ScenarioTurn* turn = scenario_->next(now.said);
    if (!turn) {
      std::string text = str(kName, "the script has no further turn for this.");
      json::array content{json::object{{"type", "text"}, {"text", text}}};
      co_return ModelReply{.content = json::serialize(content),
                           .stop_reason = "end_turn",
                           .usage = std::string(kNoUsage)};
    }
    Attempts attempts(options_);
    for (int failed = 0; turn->error_times < 0 || failed < turn->error_times; ++failed) {
      if (turn->delay > 0ms) CO_TRY_DO(co_await net::sleep(turn->delay));
      Error error = model_error(0, turn->error, str("the script says ", turn->error));
      auto wait = attempts.next(error);
      if (!wait) co_return error;
      CO_TRY_DO(co_await wait_for_next_attempt(listener, error, *wait));
    }
    if (turn->delay > 0ms) CO_TRY_DO(co_await net::sleep(turn->delay));
    co_return co_await say(*turn, std::move(listener));
  }

  Task<ModelReply> say(const ScenarioTurn& turn, ModelListener listener) {
    json::array content = json::parse(turn.content).as_array();
    for (std::size_t i = 0; i < content.size(); ++i) {
      json::object& block = content[i].as_object();
      std::string type = text_of(block, "type");
      if (type == "thinking" && listener.thinking) listener.thinking();
      if (type == "text") CO_TRY_DO(co_await speak(text_of(block, "text"), i, listener));
      if (type == "tool_use") block["id"] = str("toolu_rehearsal_", i);
    }
    co_return ModelReply{
        .content = json::serialize(content),
        .stop_reason = turn.stop_reason,
        .stop_details = turn.stop_reason == "refusal"
                            ? R"({"type":"refusal","category":null,"explanation":null})"
                            : "null",
        .usage = std::string(kNoUsage)};
  }

  ModelOptions options_;
  std::optional<Scenario> scenario_;
};

}  // namespace

Result<std::unique_ptr<Model>> make_rehearsal_model(const ModelOptions& options) {
  std::optional<Scenario> scenario;
  if (!options.scenario.empty()) {
    TRY(loaded, Scenario::load(options.scenario));
    scenario = std::move(loaded);
  }
  return std::make_unique<RehearsalModel>(options, std::move(scenario));
}

}  // namespace glovebox::brain
