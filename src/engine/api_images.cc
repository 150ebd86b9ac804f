// Images: listed, brought in, built, removed. What takes long answers as a stream of events:
// `progress` ({"line"} or {"done","of"}), and at its end `done` with the image or `error`.
#include <boost/json.hpp>
#include <deque>

#include "engine/api_state.h"
#include "engine/images.h"
#include "net/task.h"

namespace glovebox::engine {

namespace json = boost::json;
using http::Request;
using http::Response;

namespace {

constexpr std::size_t kMaxEvents = 10'000;  // of a client that reads slower than we tell
constexpr Millis kEndLimit = 120s;          // of a job whose client has gone
constexpr Millis kKeepAlive = 15s;          // a line at least this often

struct Job {
  std::deque<std::string> events;
  net::Event changed;
  bool ended = false;
  std::string bytes_event;  // the latest only: how far it is replaces how far it was

  void say(std::string_view event, std::string data) {
    if (events.size() >= kMaxEvents && event == "progress") return;
    events.push_back(http::encode(http::SseEvent{std::string(event), std::move(data), ""}));
    changed.notify();
  }
  Images::Progress progress() {
    return {.line =
                [this](std::string_view text) {
                  say("progress", json::serialize(json::object{{"line", valid_utf8(text)}}));
                },
            .bytes =
                [this](std::uint64_t done, std::uint64_t of) {
                  bytes_event = http::encode(http::SseEvent{
                      "progress", json::serialize(json::object{{"done", done}, {"of", of}}), ""});
                  changed.notify();
                }};
  }
};

using Work = std::function<Task<ImageRecord>(Images::Progress)>;

Task<void> carry_out(ApiState& api, Job& job, Work work) {
  auto image = co_await work(job.progress());
  if (image) {
    job.say("done", encode(*image, api.engine.images().records().users_of(image->root)));
  } else {
    const Error error = said_of_disk(std::move(image.error()));
    job.say("error", json::serialize(json::object{
                         {"error", error.what},
                         {"code", error.tag.empty() ? std::string(name(error.code)) : error.tag},
                         {"status", http::status_of(error.code)}}));
  }
  job.ended = true;
  job.changed.notify();
  co_return ok;
}

// The job lives for the stream: a client that goes cancels it, and what it had made goes too.
Task<void> tell(ApiState& api, Work work, http::BodyWriter& out) {
  Job job;
  net::TaskGroup running(api.loop);
  running.spawn("image job", carry_out(api, job, std::move(work)));
  Result<void> written = ok;
  while (written) {
    std::string text;
    for (; !job.events.empty() && text.size() < 60'000; job.events.pop_front())
      text += job.events.front();
    text += std::exchange(job.bytes_event, "");
    if (!text.empty()) {
      written = co_await out.write(std::move(text));
      continue;
    }
    if (job.ended) co_return ok;
    auto waited = co_await job.changed.wait(kKeepAlive);
    if (!waited && waited.error().code != Code::timeout)
      written = std::move(waited);
    else if (!waited)
      written = co_await out.write(": still at it\n\n");
  }
  running.cancel();
  CO_TRY_DO(co_await running.finish(kEndLimit));
  co_return written;
}

Response stream_of(ApiState& api, Work work) {
  Response response;
  response.headers.set("Content-Type", "text/event-stream");
  response.headers.set("Cache-Control", "no-store");
  response.stream = [&api, work = std::move(work)](http::BodyWriter& out) {
    return tell(api, work, out);
  };
  return response;
}

Result<json::object> body_of(const Request& request) {
  boost::system::error_code wrong;
  json::value value = json::parse(request.body, wrong);
  if (wrong || !value.is_object()) return Error{Code::invalid, "the body is no JSON object"};
  return std::move(value.as_object());
}

// Our own API: a member of another type, or one nobody knows, is refused by name.
Result<std::string> text(json::object& body, std::string_view name) {
  auto found = body.find(name);
  if (found == body.end() || found->value().is_null()) return std::string();
  if (!found->value().is_string()) return Error{Code::invalid, str(name, ": must be a text")};
  std::string out(found->value().as_string());
  body.erase(found);
  return out;
}
Result<bool> flag(json::object& body, std::string_view name) {
  auto found = body.find(name);
  if (found == body.end() || found->value().is_null()) return false;
  if (!found->value().is_bool()) return Error{Code::invalid, str(name, ": must be true or false")};
  bool set = found->value().as_bool();
  body.erase(found);
  return set;
}
Result<std::vector<std::string>> texts(json::object& body, std::string_view name) {
  std::vector<std::string> out;
  auto found = body.find(name);
  if (found == body.end() || found->value().is_null()) return out;
  if (!found->value().is_array()) return Error{Code::invalid, str(name, ": must be an array")};
  for (const json::value& item : found->value().get_array()) {
    if (!item.is_string()) return Error{Code::invalid, str(name, ": must have texts only")};
    out.emplace_back(item.as_string());
  }
  body.erase(found);
  return out;
}
Result<void> nothing_else(const json::object& body) {
  if (body.empty()) return ok;
  return Error{Code::invalid, str("unknown member: ", std::string_view(body.begin()->key()))};
}

Response image_response(ApiState& api, int status, const ImageRecord& image) {
  return http::json(status, encode(image, api.engine.images().records().users_of(image.root)));
}

Images::Progress silent() {
  return {.line = [](std::string_view) {}};
}

Task<std::string> next_piece(std::shared_ptr<http::BodyReader> body) {
  co_return co_await body->read();
}

}  // namespace

Reply list_images(ApiState& api, Request) {
  CO_TRY(images, api.engine.images().list());
  std::string list;
  for (const auto& image : images)
    list += str(list.empty() ? "" : ",",
                encode(image, api.engine.images().records().users_of(image.root)));
  co_return http::json(200, str("{\"images\":[", list, "],\"default\":\"",
                                json_escape(api.engine.default_image()), "\"}"));
}

Reply get_image(ApiState& api, Request request) {
  CO_TRY(image, api.engine.images().get(request.param("image")));
  co_return image_response(api, 200, image);
}

Reply remove_image(ApiState& api, Request request) {
  CO_TRY_DO(co_await api.engine.remove_image(request.param("image")));
  co_return http::empty(204);
}

Reply prune_images(ApiState& api, Request) {
  CO_TRY(count, co_await api.engine.images().prune());
  co_return http::json(200, str("{\"removed\":", count, "}"));
}

Reply import_image(ApiState& api, Request request) {
  Images::Source source = [body = request.body_stream] { return next_piece(body); };
  CO_TRY(image, co_await api.engine.images().import(request.query_value("name").value_or(""),
                                                    request.query_value("source").value_or(""),
                                                    std::move(source), silent()));
  co_return image_response(api, 201, image);
}

Reply put_context(ApiState& api, Request request) {
  Images::Source source = [body = request.body_stream] { return next_piece(body); };
  CO_TRY(name, co_await api.engine.images().put_context(std::move(source)));
  co_return http::json(201, str("{\"context\":\"", name, "\"}"));
}

static Task<ImageRecord> build(ApiState& api, Images::Build wanted, Images::Progress progress) {
  return api.engine.images().build(std::move(wanted), std::move(progress));
}

Reply build_image(ApiState& api, Request request) {
  CO_TRY(body, body_of(request));
  Images::Build wanted;
  for (auto [name, into] : {std::pair{"name", &wanted.name},
                            {"dockerfile", &wanted.dockerfile},
                            {"context", &wanted.context},
                            {"target", &wanted.target}}) {
    CO_TRY(found, text(body, name));
    *into = std::move(found);
  }
  CO_TRY(fresh, flag(body, "fresh"));
  wanted.fresh = fresh;
  if (auto found = body.find("args"); found != body.end()) {
    if (!found->value().is_object()) co_return Error{Code::invalid, "args: must be an object"};
    for (const auto& [key, value] : found->value().as_object()) {
      if (!value.is_string())
        co_return Error{Code::invalid, str("args.", std::string_view(key), ": must be a text")};
      wanted.args[std::string(key)] = std::string(value.as_string());
    }
    body.erase(found);
  }
  CO_TRY_DO(nothing_else(body));
  CO_TRY_DO(api.engine.images().check_name(wanted.name));
  co_return stream_of(api, [&api, wanted](Images::Progress progress) {
    return build(api, wanted, std::move(progress));
  });
}

static Task<ImageRecord> debian(ApiState& api, Images::Debian wanted, Images::Progress progress) {
  return api.engine.images().debian(std::move(wanted), std::move(progress));
}

Reply make_debian(ApiState& api, Request request) {
  CO_TRY(body, body_of(request));
  Images::Debian wanted;
  for (auto [name, into] : {std::pair{"name", &wanted.name},
                            {"suite", &wanted.suite},
                            {"mirror", &wanted.mirror},
                            {"context", &wanted.context}}) {
    CO_TRY(found, text(body, name));
    if (!found.empty()) *into = std::move(found);
  }
  CO_TRY(packages, texts(body, "packages"));
  CO_TRY(unsigned_packages, flag(body, "unsigned"));
  CO_TRY_DO(nothing_else(body));
  wanted.packages = std::move(packages);
  wanted.unsigned_packages = unsigned_packages;
  CO_TRY_DO(Images::check_debian(wanted));
  if (wanted.name.empty()) wanted.name = "debian:" + wanted.suite;
  CO_TRY_DO(api.engine.images().check_name(wanted.name));
  co_return stream_of(api, [&api, wanted](Images::Progress progress) {
    return debian(api, wanted, std::move(progress));
  });
}

static Task<ImageRecord> pull(ApiState& api, Images::Pull wanted, Images::Progress progress) {
  return api.engine.images().pull(std::move(wanted), std::move(progress));
}

Reply pull_image(ApiState& api, Request request) {
  CO_TRY(body, body_of(request));
  CO_TRY(reference, text(body, "reference"));
  CO_TRY(name, text(body, "name"));
  CO_TRY(user, text(body, "user"));
  CO_TRY(password, text(body, "password"));
  CO_TRY_DO(nothing_else(body));
  CO_TRY_DO(parse_reference(reference));
  Images::Pull wanted{reference, name, {user, Secret(password)}};
  co_return stream_of(api, [&api, wanted](Images::Progress progress) {
    return pull(api, wanted, std::move(progress));
  });
}

}  // namespace glovebox::engine
