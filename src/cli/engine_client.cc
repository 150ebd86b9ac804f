#include "cli/engine_client.h"

#include <algorithm>
#include <boost/json.hpp>

#include "cli/wait.h"

namespace glovebox::cli {

namespace json = boost::json;

Code code_of_status(int status) {
  switch (status) {
    case 400:
    case 415:
    case 422: return Code::invalid;
    case 401: return Code::unauthenticated;
    case 403: return Code::forbidden;
    case 404: return Code::not_found;
    case 409: return Code::conflict;
    case 410: return Code::gone;
    case 413:
    case 431: return Code::too_large;
    case 429:
    case 507: return Code::exhausted;
    case 501: return Code::unsupported;
    case 502:
    case 503: return Code::unavailable;
    case 408:
    case 504: return Code::timeout;
    default: return Code::internal;
  }
}

namespace {

http::Headers credentials(const Secret& key) {
  http::Headers headers;
  if (!key.empty()) headers.set("Authorization", str("Bearer ", key.reveal()));
  headers.set("User-Agent", "glovebox/" GLOVEBOX_VERSION);
  return headers;
}

Result<json::object> parse_object(const std::string& text) {
  boost::system::error_code wrong;
  json::value value = json::parse(text, wrong);
  if (wrong || !value.is_object())
    return Error{Code::internal, "the engine's answer is no JSON object; is this an engine?"};
  return std::move(value.as_object());
}

}  // namespace

Error api_error(int status, std::string_view body) {
  boost::system::error_code wrong;
  json::value value = json::parse(body, wrong);
  Error error{code_of_status(status), "", ""};
  if (!wrong && value.is_object()) {
    for (const char* member : {"error", "message"})
      if (const json::value* text = value.as_object().if_contains(member);
          text && text->is_string())
        if (error.what.empty()) error.what = std::string_view(text->as_string());
    if (const json::value* tag = value.as_object().if_contains("code"); tag && tag->is_string())
      error.tag = std::string_view(tag->as_string());
  } else {
    error.what = trim(body.substr(0, 1000));
  }
  if (error.what.empty()) error.what = str("the engine answered with status ", status);
  error.what = printable(error.what);
  return error;
}

EngineClient::EngineClient(Target target, std::string_view space)
    : target_(std::move(target)),
      origin_(lifecycle_origin(target_.url, space)),
      http_(std::make_unique<http::Client>(loop_, origin_.url, credentials(target_.key),
                                           http::ClientOptions{.also_trust = target_.also_trust})) {
}
EngineClient::~EngineClient() = default;

Result<std::unique_ptr<EngineClient>> EngineClient::open(const Context& context) {
  TRY(target, find_engine(context));
  std::string space = context.variable("INDEXIFY_NAMESPACE").value_or("default");
  return std::unique_ptr<EngineClient>(new EngineClient(std::move(target), space));
}

Error EngineClient::explain(Error error) const {
  if (error.code == Code::unavailable && (error.tag == "ECONNREFUSED" || error.tag == "ENOENT"))
    error.what =
        str("nothing listens on ",
            origin_.url.unix_path.empty() ? origin_.url.authority() : origin_.url.unix_path,
            is_loopback(origin_.url.host) ? "; start it with: glovebox up --detach" : "");
  if (error.code == Code::unauthenticated)
    error.what += target_.key.empty()
                      ? " (no key was sent: set TENSORLAKE_API_KEY, or use --state of the instance)"
                      : " (the key is not this engine's: look at TENSORLAKE_API_KEY and --state)";
  return error;
}

Result<http::ClientResponse> EngineClient::call(std::string method, std::string path,
                                                std::string body) {
  return call_at(std::move(method), origin_.prefix + path, std::move(body));
}

Result<http::ClientResponse> EngineClient::call_at(std::string method, std::string target,
                                                   std::string body) {
  http::Headers headers;
  if (!body.empty()) headers.set("Content-Type", "application/json");
  auto answer = wait(loop_, http_->call(std::move(method), std::move(target), std::move(body),
                                        std::move(headers)));
  if (!answer) return explain(std::move(answer.error()));
  if (answer->status / 100 != 2) return explain(api_error(answer->status, answer->body));
  return answer;
}

Result<json::object> EngineClient::create(std::string body) {
  TRY(answer, call("POST", "/sandboxes", std::move(body)));
  return parse_object(answer.body);
}

Result<json::object> EngineClient::get(const std::string& id_or_name) {
  TRY(answer, call("GET", "/sandboxes/" + http::encode_path(id_or_name)));
  return parse_object(answer.body);
}

Result<json::object> EngineClient::update(const std::string& id_or_name, std::string body) {
  TRY(answer, call("PATCH", "/sandboxes/" + http::encode_path(id_or_name), std::move(body)));
  return parse_object(answer.body);
}

Result<void> EngineClient::list_pages(const std::string& query, json::array* into) {
  std::string cursor;
  do {
    TRY(answer, call("GET", str("/sandboxes?limit=500", query,
                                cursor.empty() ? "" : "&cursor=" + http::encode_query(cursor))));
    TRY(page, parse_object(answer.body));
    json::value* items = page.if_contains("sandboxes");
    if (!items || !items->is_array())
      return Error{Code::internal, "the engine's list has no 'sandboxes'"};
    for (json::value& item : items->as_array())
      if (item.is_object()) into->push_back(std::move(item));
    const json::value* next = page.if_contains("next_cursor");
    std::string after = next && next->is_string() ? std::string(next->as_string()) : "";
    if (after == cursor) break;  // the end, or a server that never gets there
    cursor = std::move(after);
  } while (true);
  return ok;
}

Result<json::array> EngineClient::list_live() {
  // By state, so that a long history of terminated ones costs nothing.
  json::array out;
  for (const char* state : {"pending", "running", "snapshotting", "suspending", "suspended"})
    TRY_DO(list_pages(str("&status=", state), &out));
  auto created = [](const json::value& item) {
    const json::value* at = item.as_object().if_contains("created_at");
    return at && at->is_number() ? at->to_number<double>() : 0.0;
  };
  // One that changes its state between two pages would stand there twice.
  std::map<std::string, json::value> by_id;
  for (json::value& item : out) {
    const json::value* id = item.as_object().if_contains("id");
    if (!id) id = item.as_object().if_contains("sandbox_id");
    by_id[id ? json::serialize(*id) : ""] = std::move(item);
  }
  out.clear();
  for (auto& [id, item] : by_id) out.push_back(std::move(item));
  std::ranges::sort(
      out, [&](const json::value& a, const json::value& b) { return created(a) > created(b); });
  return out;
}

Result<json::array> EngineClient::list_all() {
  json::array out;
  TRY_DO(list_pages("", &out));
  return out;
}

Result<void> EngineClient::remove(const std::string& id_or_name) {
  TRY_DO(call("DELETE", "/sandboxes/" + http::encode_path(id_or_name)));
  return ok;
}

Result<json::object> EngineClient::logs(const std::string& id_or_name, const std::string& query) {
  TRY(answer, call("GET", str("/sandboxes/", http::encode_path(id_or_name), "/logs", query)));
  return parse_object(answer.body);
}

Result<json::array> EngineClient::members(std::string path, const char* name, bool below_prefix) {
  TRY(answer, below_prefix ? call("GET", std::move(path)) : call_at("GET", std::move(path)));
  TRY(object, parse_object(answer.body));
  json::value* list = object.if_contains(name);
  if (!list || !list->is_array())
    return Error{Code::internal, str("the engine's answer has no '", name, "'")};
  json::array objects;  // what is none is nothing we know to show
  for (json::value& item : list->as_array())
    if (item.is_object()) objects.push_back(std::move(item));
  return objects;
}

Result<json::array> EngineClient::log_processes(const std::string& id_or_name) {
  return members(str("/sandboxes/", http::encode_path(id_or_name), "/processes"), "processes");
}

Result<json::array> EngineClient::usage() {
  return members("/glovebox/v1/usage", "sandboxes", false);
}

Result<json::object> EngineClient::request(std::string method, std::string path, std::string body) {
  TRY(answer, call(std::move(method), std::move(path), std::move(body)));
  if (trim(answer.body).empty()) return json::object();
  return parse_object(answer.body);
}

static Task<void> hear_all(http::Client& http, std::string method, std::string target,
                           std::string body,
                           const std::function<Result<void>(const http::SseEvent&)>& hear) {
  http::Headers headers;
  headers.set("Content-Type", "application/json");
  CO_TRY(answer, co_await http.open(std::move(method), std::move(target), std::move(body),
                                    std::move(headers)));
  if (answer.status / 100 != 2) {
    std::string refusal;
    while (refusal.size() < 64 * 1024) {
      CO_TRY(piece, co_await answer.body->read());
      if (piece.empty()) break;
      refusal += piece;
    }
    co_return api_error(answer.status, refusal);
  }
  http::SseReader events(*answer.body);
  for (;;) {
    CO_TRY(event, co_await events.next());
    if (!event) co_return ok;
    CO_TRY_DO(hear(*event));
  }
}

Result<void> EngineClient::follow(std::string method, std::string path, std::string body,
                                  std::function<Result<void>(const http::SseEvent&)> hear) {
  auto done = wait(
      loop_, hear_all(*http_, std::move(method), origin_.prefix + path, std::move(body), hear));
  if (!done) return explain(std::move(done.error()));
  return ok;
}

static Task<std::string> piece_of(const std::function<Result<std::string>()>* next) {
  co_return (*next)();
}

Result<json::object> EngineClient::upload(std::string method, std::string path,
                                          std::function<Result<std::string>()> next,
                                          std::optional<std::uint64_t> length) {
  http::Headers headers;
  headers.set("Content-Type", "application/octet-stream");
  // What is behind the last byte may take long, and is not to be given up for silence.
  http::ClientOptions options;
  options.head_deadline = std::chrono::hours(24);
  options.also_trust = target_.also_trust;
  http::Client patient(loop_, origin_.url, credentials(target_.key), options);
  auto answer = wait(loop_, patient.upload(
                                std::move(method), origin_.prefix + path,
                                [&next] { return piece_of(&next); }, length, std::move(headers)));
  if (!answer) return explain(std::move(answer.error()));
  if (answer->status / 100 != 2) return explain(api_error(answer->status, answer->body));
  return parse_object(answer->body);
}

static Task<void> take_all(http::Client& http, std::string target,
                           const std::function<Result<void>(std::string_view)>& take) {
  CO_TRY(answer, co_await http.open("GET", std::move(target)));
  std::string refusal;
  for (;;) {
    CO_TRY(piece, co_await answer.body->read());
    if (piece.empty()) break;
    if (answer.status == 200) {
      CO_TRY_DO(take(piece));
    } else if (refusal.size() < 64 * 1024) {
      refusal += piece;
    }
  }
  if (answer.status != 200) co_return api_error(answer.status, refusal);
  co_return ok;
}

Result<void> EngineClient::download(std::string path,
                                    std::function<Result<void>(std::string_view)> take) {
  auto done = wait(loop_, take_all(*http_, origin_.prefix + path, take));
  if (!done) return explain(std::move(done.error()));
  return ok;
}

Result<EngineClient::Box> EngineClient::box(const std::string& id_or_name) {
  TRY(answer, call("GET", "/sandboxes/" + http::encode_path(id_or_name)));
  TRY(record, wire::decode_record(answer.body), "record of ", id_or_name);
  if (record.status == wire::State::terminated)
    return Error{Code::not_found, str("sandbox ", id_or_name, " is terminated")};
  TRY(plane, data_plane(record.sandbox_url, record.id));
  http::Headers headers = credentials(target_.key);
  for (const auto& [name, value] : plane.headers.all()) headers.set(name, value);
  // What goes on inside may be silent for as long as it likes: only the connection has a deadline.
  http::ClientOptions options;
  options.body_deadline = std::chrono::hours(24 * 365);
  options.also_trust = target_.also_trust;
  return Box{record.id,
             std::make_unique<http::Client>(loop_, plane.url, std::move(headers), options)};
}

}  // namespace glovebox::cli
