#include "gateway/steward_body.h"

#include <signal.h>

#include <algorithm>
#include <optional>

#include "http/client.h"
#include "wire/agents.h"
#include "wire/decode.h"
#include "wire/outputs.h"
#include "wire/sandbox.h"

namespace glovebox::gateway {

namespace json = boost::json;

namespace {

constexpr std::size_t kText = 256;
constexpr std::string_view kOwnVolume = "session-";

bool offered(const std::vector<std::string>& list, const std::string& name) {
  return std::ranges::any_of(list, [&](const auto& one) { return one == "*" || one == name; });
}

Error not_offered(std::string_view what, const std::string& name) {
  return {Code::forbidden, str(what, " '", name, "' is not offered here")};
}

Result<json::array> file_systems(const Stewardship& may, const StewardRecords& knows,
                                 const std::vector<wire::FileSystem>& wanted) {
  json::array out;
  for (const wire::FileSystem& one : wanted) {
    if (!is_volume_of_session(knows, one.id) && !offered(may.volumes, one.id))
      return not_offered("volume", one.id);
    out.emplace_back(json::object{
        {"file_system_id", one.id}, {"mount_path", one.mount_path}, {"read_only", one.read_only}});
  }
  return out;
}

struct WorkerArgument {
  std::string_view name;
  std::optional<std::string> value = {};
};

// "--name=value", each of them once; what else there is makes it something else than our worker.
Result<void> take_arguments(const std::vector<std::string>& args,
                            std::span<WorkerArgument> wanted) {
  if (args.size() < 2 || args[0] != "worker" || args[1] != "run")
    return Error{Code::forbidden, "a steward starts workers and nothing else"};
  for (std::size_t i = 2; i < args.size(); ++i) {
    const std::string& word = args[i];
    auto found = std::ranges::find_if(wanted, [&](const WorkerArgument& one) {
      return word.starts_with("--") && word.substr(2).starts_with(one.name) &&
             word.substr(2 + one.name.size()).starts_with('=');
    });
    if (found == wanted.end() || found->value)
      return Error{Code::forbidden, "an argument that a worker is not given"};
    found->value = word.substr(3 + found->name.size());
  }
  for (const WorkerArgument& one : wanted)
    if (!one.value) return Error{Code::invalid, str("--", one.name, ": is missing")};
  return ok;
}

// Stands where a credential would, and is read by nobody but the worker.
bool is_placeholder(const std::string& name, const std::string& value) {
  return (name == "ANTHROPIC_ENVIRONMENT_KEY" || name == "ANTHROPIC_WORK_SECRET") &&
         value.size() <= kText && std::ranges::all_of(value, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

bool is_own_listener(const std::string& url) {
  auto parsed = http::Url::parse(url);
  return parsed && parsed->scheme == "http" && parsed->host == "127.0.0.1" && parsed->port > 0 &&
         url == str("http://127.0.0.1:", parsed->port);
}

bool is_millis(std::string_view text) {
  if (!text.ends_with("ms")) return false;
  auto number = parse_int<std::int64_t>(text.substr(0, text.size() - 2));
  return number && *number >= 0;
}

// A session's JSON is as deep as what it was made of.
Result<json::value> parse_deep(std::string_view text) {
  json::parse_options options;
  options.max_depth = 1000;
  boost::system::error_code error;
  json::value value = json::parse(text, error, {}, options);
  if (error) return Error{Code::unavailable, "the service's answer is no JSON"};
  return value;
}

const json::value* member(const json::value& value, std::string_view key) {
  return value.is_object() ? value.get_object().if_contains(key) : nullptr;
}

constexpr std::string_view kOfEvents[] = {"id",
                                          "type",
                                          "name",
                                          "tool_use_id",
                                          "custom_tool_use_id",
                                          "evaluated_permission",
                                          "result",
                                          "session_thread_id",
                                          "processed_at"};

json::object event_seen(const json::value& event) {
  json::object out;
  for (std::string_view key : kOfEvents)
    if (const json::value* found = member(event, key); found && !found->is_structured())
      out[key] = *found;
  // Whether a turn has ended is in its kind.
  if (const json::value* reason = member(event, "stop_reason"))
    if (const json::value* type = member(*reason, "type"); type && type->is_string())
      out["stop_reason"] = json::object{{"type", *type}};
  return out;
}

constexpr std::string_view kError = "Error: ";
constexpr std::size_t kReason = 4096, kMostCalls = 100;

Result<json::object> refusal(const json::value& given) {
  TRY(event, wire::Members::of(given));
  TRY(type, event.text("type", kText));
  TRY(call, event.text("tool_use_id", kText));
  TRY(is_error, event.flag("is_error"));
  const json::value* content = event.take("content");
  const bool one = content && content->is_array() && content->get_array().size() == 1;
  const json::value* text = one ? member(content->get_array()[0], "text") : nullptr;
  if (type != "user.tool_result" || !call || !is_error.value_or(false) || !text ||
      !text->is_string() || !std::string_view(text->get_string()).starts_with(kError))
    return Error{Code::forbidden, "a steward refuses calls, and does not answer them"};
  json::object block{{"type", "text"},
                     {"text", std::string_view(text->get_string()).substr(0, kReason)}};
  return json::object{{"type", *type},
                      {"tool_use_id", *call},
                      {"is_error", true},
                      {"content", json::array{std::move(block)}}};
}

}  // namespace

bool is_volume_of_session(const StewardRecords& knows, const std::string& name) {
  const std::string outputs = wire::outputs_volume("");
  for (std::string_view prefix : {std::string_view(outputs), kOwnVolume})
    if (name.starts_with(prefix) && knows.item_of(std::string_view(name).substr(prefix.size())))
      return true;
  return false;
}

Result<std::string> rewrite_new_box(const Stewardship& may, const StewardRecords& knows,
                                    std::string_view text) {
  TRY(box, wire::decode_create(text));
  if (!is_session_box(box.name))
    return Error{Code::forbidden, str("name: must begin with ", kSessionBoxes)};
  if (!box.entrypoint.empty() || !box.exposed_ports.empty() || box.allow_unauthenticated_access ||
      !box.template_id.empty() || box.has_gpus || box.has_secrets)
    return Error{Code::forbidden, "a member that is not a steward's to choose"};
  json::object out{{"name", box.name}};
  if (!box.image.empty() && !offered(may.images, box.image)) return not_offered("image", box.image);
  if (!box.image.empty()) out["image"] = box.image;
  if (!box.snapshot_id.empty() && !offered(may.snapshots, box.snapshot_id))
    return not_offered("snapshot", box.snapshot_id);
  if (!box.snapshot_id.empty()) out["snapshot_id"] = box.snapshot_id;
  const bool internet = box.network && box.network->allow_internet_access;
  // What is not said would be the engine's default.
  if (!box.network || !box.network->allow_out.empty() || !box.network->deny_out.empty())
    return Error{Code::forbidden, "network: must say allow_internet_access, and nothing else"};
  if (internet && !may.internet) return not_offered("network", "internet");
  out["network"] = json::object{{"allow_internet_access", internet}};
  out["timeout_secs"] = std::clamp<std::int64_t>(
      box.timeout_secs.value_or(may.longest_timeout_secs), 0, may.longest_timeout_secs);
  if (!box.isolation.empty()) out["isolation"] = box.isolation;
  TRY(volumes, file_systems(may, knows, box.file_systems));
  if (!volumes.empty()) out["file_systems"] = std::move(volumes);
  return json::serialize(out);
}

Result<std::string> rewrite_new_volume(const StewardRecords& knows, std::string_view text) {
  TRY(value, wire::parse_json(text));
  TRY(members, wire::Members::of(value));
  TRY(name, members.text("name", kText));
  if (!name || !is_volume_of_session(knows, *name))
    return Error{Code::forbidden, "name: must be of a volume of a session's own"};
  return json::serialize(json::object{{"name", *name}});
}

Result<std::string> rewrite_open(std::string_view text) {
  TRY(value, wire::parse_json(text));
  TRY(members, wire::Members::of(value));
  TRY(port, members.integer("port", 0, 65535));
  return json::serialize(json::object{{"port", port.value_or(0)}});
}

Result<std::string> rewrite_worker(const Stewardship& may, const StewardRecords& knows,
                                   std::string_view text) {
  TRY(process, wire::decode_process_start(text));
  if (process.managed || process.spec.argv.empty() || process.spec.argv[0] != kWorkerProgram)
    return Error{Code::forbidden, "a steward starts workers and nothing else"};
  WorkerArgument wanted[] = {{"work-id"}, {"session-id"}, {"environment-id"}, {"base-url"},
                             {"workdir"}, {"log-format"}, {"max-idle"}};
  const std::vector<std::string> args(process.spec.argv.begin() + 1, process.spec.argv.end());
  TRY_DO(take_arguments(args, wanted));
  const StewardRecords::Item* item = knows.item(*wanted[0].value);
  if (!item || item->session.empty() || item->session != *wanted[1].value ||
      *wanted[2].value != may.environment || !is_own_listener(*wanted[3].value) ||
      *wanted[4].value != "/workspace" || *wanted[5].value != "json" ||
      !is_millis(*wanted[6].value))
    return Error{Code::forbidden, "a worker of no item of this steward's"};
  json::object env;
  for (const std::string& pair : process.spec.env) {
    const std::size_t equals = pair.find('=');
    const std::string name = pair.substr(0, equals), value = pair.substr(name.size() + 1);
    if (!is_placeholder(name, value))
      return Error{Code::forbidden, "a variable that a worker is not given"};
    env[name] = value;
  }
  json::array words{"worker", "run"};
  for (const WorkerArgument& one : wanted) words.emplace_back(str("--", one.name, '=', *one.value));
  return json::serialize(
      json::object{{"command", kWorkerProgram}, {"args", std::move(words)}, {"env", env}});
}

Result<std::string> rewrite_signal(std::string_view text) {
  TRY(number, wire::decode_signal(text));
  if (number != SIGTERM && number != SIGKILL)
    return Error{Code::forbidden, "signal: must be 15 or 9"};
  return str(R"({"signal":)", number, '}');
}

Result<std::string> work_in(std::string_view text) {
  TRY(value, parse_deep(text));
  TRY(members, wire::Members::of(value));
  TRY(work, members.text("work_id", kText));
  if (!work) return Error{Code::invalid, "work_id: must be there"};
  return std::move(*work);
}

Result<std::string> rewrite_refusals(std::string_view text) {
  TRY(value, wire::parse_json(text));
  const json::value* events = member(value, "events");
  if (!events || !events->is_array() || events->get_array().empty() ||
      events->get_array().size() > kMostCalls)
    return Error{Code::invalid, str("events: must be a list of 1 to ", kMostCalls)};
  json::array out;
  for (const json::value& given : events->get_array()) {
    TRY(event, refusal(given));
    out.emplace_back(std::move(event));
  }
  return json::serialize(json::object{{"events", std::move(out)}});
}

Result<std::string> rewrite_reason(std::string_view text) {
  TRY(value, wire::parse_json(text));
  TRY(members, wire::Members::of(value));
  TRY(message, members.text("message", kReason));
  if (!message) return Error{Code::invalid, "message: must be there"};
  return json::serialize(json::object{{"message", *message}});
}

Result<std::string> history_for_steward(std::string_view text) {
  TRY(value, parse_deep(text));
  const json::value* events = member(value, "data");
  if (!events || !events->is_array())
    return Error{Code::unavailable, "the service's answer is no list of events"};
  json::array seen;
  for (const json::value& event : events->get_array()) seen.emplace_back(event_seen(event));
  json::object out{{"data", std::move(seen)}};
  if (const json::value* next = member(value, "next_page")) out["next_page"] = *next;
  return json::serialize(out);
}

std::string event_for_steward(std::string_view text) {
  auto value = parse_deep(text);
  return value ? json::serialize(event_seen(*value)) : "{}";
}

Result<std::string> session_for_steward(std::string_view text) {
  TRY(value, parse_deep(text));
  if (!value.is_object()) return Error{Code::unavailable, "the service's answer is no session"};
  json::object out;
  for (std::string_view key : {"id", "status", "archived_at", "metadata"})
    if (json::value* found = value.get_object().if_contains(key)) out[key] = std::move(*found);
  return json::serialize(out);
}

Result<std::optional<Offered>> offered_to_steward(std::string_view text) {
  if (trim(text).empty() || trim(text) == "null") return std::optional<Offered>();
  TRY(value, parse_deep(text));
  TRY(members, wire::Members::of(value));
  TRY(work, members.text("id", kText));
  if (!work || !plain_id(*work)) return std::optional<Offered>();
  json::object out{{"id", *work}};
  for (std::string_view key : {"environment_id", "state"}) {
    TRY(text, members.text(key, kText));
    if (text) out[key] = *text;
  }
  Offered offered{.work = *work};
  TRY(data, members.object("data"));
  if (data) {
    TRY(type, data->text("type", kText));
    TRY(id, data->text("id", kText));
    out["data"] = json::object{{"type", type.value_or("")}, {"id", id.value_or("")}};
    if (type == "session" && id && plain_id(*id)) offered.session = *id;
  }
  TRY(secret, members.text("secret", 64 * 1024));
  if (secret) offered.token = wire::sessions_token(*secret);
  // So that it knows that there is one, which is here.
  if (!offered.token.empty())
    out["secret"] = base64url(R"({"sessions_token":"held-by-the-uplink"})");
  offered.json = json::serialize(out);
  return std::optional(std::move(offered));
}

}  // namespace glovebox::gateway
