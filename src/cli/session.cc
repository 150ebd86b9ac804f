#include <unistd.h>

#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/prompt.h"
#include "cli/session_drive.h"
#include "wire/to_json.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

// What our own brain says of itself; empty: it is another service.
Result<json::object> status_of(BrainClient& brain) {
  auto status = brain.get("/glovebox/v1/status");
  if (status) return status;
  if (status.error().code == Code::not_found) return json::object();
  return std::move(status.error());
}

// Once: from then on each of its answers says it.
bool has_sessions(BrainClient& brain) {
  auto list = brain.get("/v1/sessions?limit=1");
  const json::value* data = list ? list->if_contains("data") : nullptr;
  return data && data->is_array() && !data->get_array().empty();
}

// Where nobody should take what answers for a language model.
void say_who_answers(const Context& context, const json::object& status, BrainClient& brain,
                     Output& out) {
  if (text_at(json::value(status), "/model/kind") != "rehearsal") return;
  std::string key = context.variable("ANTHROPIC_API_KEY").value_or("");
  std::string state = context.state_dir().value_or("STATE");
  if (!key.empty() && !key.starts_with("gb-")) {
    out.note(
        str("glovebox: ANTHROPIC_API_KEY is set here, but the brain that runs has no model "
            "key, so the rehearsal model answers (rules, not a language model); to change "
            "that: glovebox down && glovebox up --detach, or put the key into ",
            state, "/keys/model"));
  } else if (!has_sessions(brain)) {
    out.note(
        str("glovebox: without a model key the rehearsal model answers (rules, not a language "
            "model); for a real one put its key into ",
            state, "/keys/model, mode 0600, or start with ANTHROPIC_API_KEY set"));
  }
}

Result<json::object> create(BrainClient& brain, const Context& context, const Args& args,
                            const json::object& status) {
  // The variables are for other services: our brain has an agent and an environment of its own.
  auto pick = [&](std::string_view option, std::string_view member,
                  std::string_view variable) -> Result<std::string> {
    if (auto given = args.option(option)) return *given;
    if (std::string own = text_of(status, member); !own.empty()) return own;
    if (auto set = context.variable(variable)) return *set;
    return usage_error(str("which one? Say ", option, ", or set ", variable));
  };
  TRY(agent, pick("--agent", "default_agent_id", "ANTHROPIC_AGENT_ID"));
  TRY(environment, pick("--environment", "default_environment_id", "ANTHROPIC_ENVIRONMENT_ID"));
  TRY(agent_id, brain.agent_id(agent));
  TRY(environment_id, brain.environment_id(environment));
  json::object body{{"agent", agent_id}, {"environment_id", environment_id}};
  if (auto title = args.option("--title")) body["title"] = *title;
  json::object metadata;
  for (const std::string& text : args.options("--metadata")) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == text.npos)
      return usage_error(str("--metadata: '", text, "' is not KEY=VALUE"));
    metadata[text.substr(0, equals)] = text.substr(equals + 1);
  }
  if (!metadata.empty()) body["metadata"] = std::move(metadata);
  return brain.post("/v1/sessions", json::serialize(body));
}

Style style_of(const Context& context, const Args& args) {
  return {.colours = ::isatty(STDOUT_FILENO) && !args.flag("--no-color") &&
                     !context.variable("NO_COLOR") && context.variable("TERM") != "dumb"};
}

// The words that go on with this session, as the person started it.
std::string again(const Context& context, const std::string& id) {
  if (context.variable("MAKELEVEL")) return str("make session SESSION=", id, " PROMPT=…");
  std::string state = context.state ? str(" --state=", *context.state) : "";
  return str("glovebox session", state, " --session=", id, " PROMPT");
}

Result<int> run(Context& context, Args& args, Output& out) {
  TRY(prompt, read_prompt(context, args, "PROMPT"));
  auto session = args.option("--session");
  if (!session) session = context.variable("SESSION");
  if (session && trim(*session).empty()) return usage_error("--session: that is no id");
  if (!prompt && !session)
    return usage_error(
        "what shall it do? Give a PROMPT, or - to read it from stdin, or set the variable PROMPT");
  if (session && (args.option("--agent") || args.option("--environment") ||
                  args.option("--title") || !args.options("--metadata").empty()))
    return usage_error("--agent, --environment, --title and --metadata are for a new session");
  TRY(lost_after, parse_duration(args.option("--retry-for").value_or("5m")), "--retry-for");
  bool ours = !context.url && !context.variable("GLOVEBOX_BRAIN_URL");
  if (ours && context.ensure_started) TRY_DO(context.ensure_started(context, out));

  TRY(brain, BrainClient::open(context));
  TRY(status, status_of(*brain), "ask the brain");
  if (!session) say_who_answers(context, status, *brain, out);
  auto record = session ? brain->get("/v1/sessions/" + http::encode_path(*session))
                        : create(*brain, context, args, status);
  if (!record)
    return std::move(record.error()).with(session ? str("session ", *session) : "new session");

  DriveSpec spec{.session = text_of(*record, "id"),
                 .prompt = prompt,
                 .json = context.json_asked,
                 .style = style_of(context, args),
                 .can_ask = ::isatty(STDIN_FILENO) && ::isatty(STDERR_FILENO),
                 .fresh = !session,
                 .environment = text_of(*record, "environment_id"),
                 .lost_after = lost_after};
  std::string id = spec.session;
  if (spec.json) {
    out.text(wire::to_json(*record) + "\n");
  } else {
    out.text(session ? spec.style.dim("reusing session " + printable(id)) + "\n"
                     : str(spec.style.bold("session " + printable(id)), "  (env ",
                           printable(text_of(*record, "environment_id")), ")\n"));
    if (prompt) out.text(str(spec.style.bold(">"), " ", printable_lines(*prompt), "\n"));
  }
  Style style = spec.style;
  TRY(end, drive(*brain, std::move(spec), out), "session ", id);
  if (end.how == Driven::How::left || end.how == Driven::How::lost) {
    out.note(str(end.how == Driven::How::left ? "\nglovebox: left" : "glovebox: lost",
                 "; the session goes on. Come back to it: glovebox session --session=", id,
                 "   or stop it: glovebox sessions interrupt ", id));
  } else if (end.how == Driven::How::terminated) {
    out.note("glovebox: this session has ended for good");
  } else if (!context.json_asked) {
    out.text(style.dim("go on with it: " + again(context, printable(id))) + "\n");
  }
  return end.code();
}

}  // namespace

const Command kSession{
    .name = "session",
    .usage =
        "session [PROMPT] [--session=SESSION] [--agent=AGENT] [--environment=ENVIRONMENT] "
        "[--title=TEXT] [--metadata=KEY=VALUE]... [--prompt-file=FILE] [--retry-for=DURATION] "
        "[--no-color] [-- PROMPT]",
    .help =
        "Give an agent something to do and follow it to the end.\n"
        "\n"
        "PROMPT is one word; - reads it from stdin, and without one the variable PROMPT counts.\n"
        "--session (or the variable SESSION) goes on with a session: same sandbox, same files, "
        "same\n"
        "shell; without a PROMPT it follows the turn that runs. Starts Glovebox in the background\n"
        "if it does not run here. Where the agent has to ask, you are asked; in a pipe stderr "
        "says\n"
        "how to answer. --json prints the session and then its events, one per line; a pipe alone\n"
        "changes nothing.\n"
        "--metadata says what the session's sandbox is made of, such as session.image=NAME or\n"
        "glovebox.git=https://…, as far as the operator offers it (docs/session-policy.md).\n"
        "Ctrl-C interrupts the turn and shows its end; a second one leaves, and the session goes "
        "on.\n"
        "A connection that breaks is made anew, for --retry-for (5m), and nothing is missed or "
        "shown\n"
        "twice.\n"
        "Exit codes: 0 the turn ended by itself, 1 it failed, 3 no such session, 5 the session "
        "has\n"
        "ended for good, 6 the brain is not to be reached any more, 130 you interrupted or left "
        "it.",
    .run = run};

}  // namespace glovebox::cli
