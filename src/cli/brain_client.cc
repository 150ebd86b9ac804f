#include "cli/brain_client.h"

#include <boost/json.hpp>

#include "cli/engine_client.h"
#include "cli/json_text.h"
#include "cli/wait.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

// Pings come every 15 s: a stream that is silent for longer is none any more.
constexpr Millis kSilence = 60s;
constexpr Millis kLongestPause = 1s;

http::Headers headers_of(const Secret& key) {
  http::Headers headers;
  if (!key.empty()) headers.set("Authorization", str("Bearer ", key.reveal()));
  headers.set("User-Agent", "glovebox/" GLOVEBOX_VERSION);
  headers.set("anthropic-version", "2026-10-21");
  headers.set("anthropic-beta", "managed-agents-2026-04-01");
  return headers;
}

Result<json::object> parse_object(const std::string& text) {
  boost::system::error_code wrong;
  json::value value = json::parse(text, wrong);
  if (wrong || !value.is_object())
    return Error{Code::internal, "the answer is no JSON object; is this a Managed Agents API?"};
  return std::move(value.as_object());
}

}  // namespace

Error brain_error(int status, std::string_view body) {
  Error error{code_of_status(status), "", ""};
  boost::system::error_code wrong;
  json::value value = json::parse(body, wrong);
  if (wrong || !value.is_object()) {
    error.what = trim(body.substr(0, 1000));
  } else {
    error.what = text_at(value, "/error/message");
    error.tag = text_at(value, "/error/details/error_code");
    if (error.tag.empty()) error.tag = text_at(value, "/error/type");
  }
  if (error.what.empty()) error.what = str("the brain answered with status ", status);
  error.what = printable(error.what);
  return error;
}

BrainClient::BrainClient(Target target)
    : target_(std::move(target)),
      http_(std::make_unique<http::Client>(
          loop_, target_.url, headers_of(target_.key),
          http::ClientOptions{.body_deadline = kSilence, .also_trust = target_.also_trust})) {}
BrainClient::~BrainClient() = default;

Result<std::unique_ptr<BrainClient>> BrainClient::open(const Context& context) {
  TRY(target, find_brain(context));
  return std::unique_ptr<BrainClient>(new BrainClient(std::move(target)));
}

Error BrainClient::explain(Error error) const {
  if (error.code == Code::unavailable && (error.tag == "ECONNREFUSED" || error.tag == "ENOENT"))
    error.what =
        str("nothing listens on ",
            target_.url.unix_path.empty() ? target_.url.authority() : target_.url.unix_path,
            is_loopback(target_.url.host) ? "; start it with: glovebox up --detach" : "");
  if (error.code == Code::unauthenticated)
    error.what += target_.key.empty()
                      ? " (no key was sent: set ANTHROPIC_API_KEY, or use --state of the instance)"
                      : " (the key is not this brain's: look at ANTHROPIC_API_KEY and --state)";
  return error;
}

Task<std::string> BrainClient::call(std::string method, std::string target, std::string body) {
  http::Headers headers;
  if (!body.empty()) headers.set("Content-Type", "application/json");
  auto answer = co_await http_->call(method, target, std::move(body), std::move(headers));
  // A brain that is being restarted breaks connections and then answers; asking again does no harm.
  for (Millis pause = 100ms;
       method == "GET" && !answer && pause < kLongestPause &&
       answer.error().code == Code::unavailable && answer.error().tag != "ECONNREFUSED";
       pause *= 2) {
    CO_TRY_DO(co_await net::sleep(pause));
    answer = co_await http_->call("GET", target);
  }
  if (!answer) co_return explain(std::move(answer.error()));
  if (answer->status / 100 != 2) co_return explain(brain_error(answer->status, answer->body));
  co_return std::move(answer->body);
}

Task<std::unique_ptr<BrainClient::Events>> BrainClient::events(std::string target) {
  http::Headers headers;
  headers.set("Accept", "text/event-stream");
  auto answer = co_await http_->open("GET", std::move(target), {}, std::move(headers));
  if (!answer) co_return explain(std::move(answer.error()));
  if (answer->status / 100 != 2) {
    std::string body;
    for (;;) {
      auto piece = co_await answer->body->read();
      if (!piece || piece->empty() || body.size() > 64 * 1024) break;
      body += *piece;
    }
    co_return explain(brain_error(answer->status, body));
  }
  auto events = std::make_unique<Events>();
  events->response = std::move(*answer);
  events->reader = std::make_unique<http::SseReader>(*events->response.body);
  co_return events;
}

Task<std::string> BrainClient::Events::next() {
  for (;;) {
    CO_TRY(event, co_await reader->next());
    if (!event) co_return Error{Code::gone, "the stream has ended"};
    if (event->event == "ping" || event->data.empty()) continue;
    if (event->event == "error") co_return brain_error(500, event->data);
    co_return std::move(event->data);
  }
}

Result<json::object> BrainClient::wait_for(std::string method, std::string target,
                                           std::string body) {
  TRY(text, wait(loop_, call(std::move(method), std::move(target), std::move(body))));
  if (text.empty()) return json::object();  // 204
  return parse_object(text);
}

Result<json::object> BrainClient::get(std::string target) {
  return wait_for("GET", std::move(target), {});
}
Result<json::object> BrainClient::post(std::string target, std::string body) {
  return wait_for("POST", std::move(target), std::move(body));
}
Result<json::object> BrainClient::remove(std::string target) {
  return wait_for("DELETE", std::move(target), {});
}

Result<json::array> BrainClient::list(std::string target, std::size_t most) {
  json::array all;
  std::string page;
  char separator = target.contains('?') ? '&' : '?';
  for (;;) {
    TRY(answer,
        get(page.empty() ? target : str(target, separator, "page=", http::encode_query(page))));
    json::value* data = answer.if_contains("data");
    if (!data || !data->is_array()) return Error{Code::internal, "the brain's list has no 'data'"};
    for (json::value& item : data->as_array())
      if (item.is_object() && all.size() < most) all.push_back(std::move(item));
    std::string next = text_of(answer, "next_page");
    // The end, or a server that never gets there.
    if (next.empty() || next == page || all.size() >= most) return all;
    page = std::move(next);
  }
}

Result<std::string> BrainClient::find(std::string_view kind, std::string_view prefix,
                                      std::string_view target, const std::string& id_or_name) {
  if (id_or_name.starts_with(prefix)) return id_or_name;
  TRY(all, list(std::string(target)), "look for ", kind, ' ', id_or_name);
  std::vector<std::string> found;
  for (const json::value& item : all)
    if (text_of(item.as_object(), "name") == id_or_name)
      found.push_back(text_of(item.as_object(), "id"));
  if (found.size() == 1) return found[0];
  if (found.empty())
    return Error{Code::not_found,
                 str("there is no ", kind, " '", id_or_name, "' ('glovebox ", kind, " ls')")};
  return Error{Code::conflict, str(found.size(), " ", kind, "s are called '", id_or_name,
                                   "'; use an id ('glovebox ", kind, " ls')")};
}

Result<std::string> BrainClient::agent_id(const std::string& id_or_name) {
  return find("agent", "agent_", "/v1/agents?limit=100", id_or_name);
}
Result<std::string> BrainClient::environment_id(const std::string& id_or_name) {
  return find("environment", "env_", "/v1/environments?limit=100", id_or_name);
}

Result<std::string> BrainClient::environment(const Context& context, const Args& args) {
  if (auto named = args.option("--environment")) return environment_id(*named);
  auto status = get("/glovebox/v1/status");
  if (status) return text_of(*status, "default_environment_id");
  if (status.error().code != Code::not_found) return std::move(status.error());
  if (auto id = context.variable("ANTHROPIC_ENVIRONMENT_ID")) return *id;
  return usage_error("which environment? Say --environment, or set ANTHROPIC_ENVIRONMENT_ID");
}

}  // namespace glovebox::cli
