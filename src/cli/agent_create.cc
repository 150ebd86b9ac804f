#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/prompt.h"

namespace glovebox::cli {

namespace json = boost::json;

// What is not said is not sent: the brain has the defaults.
static Result<json::object> request(Args& args) {
  json::object body;
  if (auto file = args.option("--from")) {
    TRY(text, read_input(*file, 4 << 20), "--from");
    boost::system::error_code wrong;
    json::value given = json::parse(text, wrong);
    if (wrong || !given.is_object()) return usage_error("--from: that is no JSON object");
    body = std::move(given.as_object());
  }
  if (auto name = args.optional()) body["name"] = *name;
  TRY_DO(args.done());
  if (!body.contains("name")) return usage_error("NAME is missing");
  if (auto model = args.option("--model")) body["model"] = *model;
  if (auto description = args.option("--description")) body["description"] = *description;
  if (args.option("--system") && args.option("--system-file"))
    return usage_error("--system and --system-file exclude each other");
  if (auto system = args.option("--system")) body["system"] = *system;
  if (auto file = args.option("--system-file")) {
    TRY(text, read_input(*file, 1 << 20), "--system-file");
    body["system"] = text;
  }
  json::array configs;
  for (const std::string& tool : args.options("--ask"))
    configs.push_back({{"name", tool}, {"permission_policy", {{"type", "always_ask"}}}});
  for (const std::string& tool : args.options("--without"))
    configs.push_back({{"name", tool}, {"enabled", false}});
  if (!body.contains("tools") || !configs.empty())
    body["tools"] = json::array{
        json::object{{"type", "agent_toolset_20260401"}, {"configs", std::move(configs)}}};
  return body;
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(body, request(args));
  TRY(brain, BrainClient::open(context));
  std::string name = text_of(body, "name");
  TRY(agents, brain->list("/v1/agents?limit=100"), "look for ", name);
  for (const json::value& agent : agents)
    if (text_of(agent.as_object(), "name") == name)
      return Error{Code::conflict,
                   str("there is an agent '", name, "' already: ", text_of(agent.as_object(), "id"),
                       " (archive it, or choose another name)")};
  if (!body.contains("model")) {
    auto status = brain->get("/glovebox/v1/status");
    std::string own = status ? text_of(*status, "default_agent_id") : "";
    if (own.empty()) return usage_error("--model is missing");
    TRY(agent, brain->get("/v1/agents/" + http::encode_path(own)), "the default agent");
    body["model"] = text_at(json::value(agent), "/model/id");
  }
  TRY(created, brain->post("/v1/agents", json::serialize(body)), "create");
  out.object(created);
  return 0;
}

const Command kAgentCreate{
    .name = "agent create",
    .usage =
        "agent create [NAME] [--model=MODEL] [--system=TEXT] [--system-file=FILE] "
        "[--description=TEXT] [--ask=TOOL]... [--without=TOOL]... [--from=FILE]",
    .help =
        "Make an agent with the six tools: bash, read, write, edit, glob, grep.\n"
        "\n"
        "--ask: a person must allow each call of that tool; --without: it has no such tool.\n"
        "--from is the whole definition as JSON, as the API takes it (- for stdin); options go\n"
        "on top. Without --model it has the default agent's. An agent of that name must not exist.",
    .run = run};

}  // namespace glovebox::cli
