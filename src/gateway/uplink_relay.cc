// One request of a box: read, judged, asked anew, its answer passed back.
#include <algorithm>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/redactor.h"
#include "gateway/uplink_impl.h"
#include "net/deadline.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

metrics::Counter requests("uplink_requests_total", "Requests of boxes that were passed on.");
metrics::Counter refused("uplink_refused_total", "Requests of boxes that were not.");

using http::Request;
using http::Response;
using Impl = std::shared_ptr<Uplink::Impl>;
using Link = std::shared_ptr<BoxLink>;

// Something there is a limited number of, given back with the last who holds it.
struct Place {
  explicit Place(std::function<void()> how) : give_back(std::move(how)) {}
  Place(const Place&) = delete;
  ~Place() { give_back(); }
  const std::function<void()> give_back;
};
std::shared_ptr<void> place(std::function<void()> give_back) {
  return std::make_shared<Place>(std::move(give_back));
}

Task<std::shared_ptr<void>> place_for_large_body(Impl impl, Link link) {
  net::Deadline deadline(impl->limits.turn);
  while (link->large_body || impl->large_bodies >= impl->limits.large_bodies) {
    auto waited = co_await impl->body_done.wait(deadline.left());
    if (waited) continue;
    if (waited.error().code != Code::timeout) co_return std::move(waited.error());
    co_return Error{Code::exhausted, "too many large bodies at once"};
  }
  link->large_body = true;
  ++impl->large_bodies;
  co_return place([impl, link] {
    link->large_body = false;
    --impl->large_bodies;
    impl->body_done.notify();
  });
}

// `held` is the body's place in memory, for as long as there is the body.
Task<std::string> read_body(Impl impl, Link link, std::shared_ptr<http::BodyReader> from,
                            std::size_t limit, std::shared_ptr<void>* held) {
  net::Deadline deadline(impl->limits.body);
  std::string body;
  for (;;) {
    CO_TRY(piece, co_await from->read());
    if (piece.empty()) co_return body;
    if (deadline.left() <= 0ms) co_return Error{Code::timeout, "the body takes too long"};
    if (body.size() + piece.size() > limit)
      co_return Error{Code::too_large, str("the body may have ", limit, " bytes")};
    if (!*held && body.size() + piece.size() > impl->limits.free_body) {
      CO_TRY(place, co_await place_for_large_body(impl, link));
      *held = std::move(place);
    }
    body += piece;
  }
}

Task<void> pass_back(std::shared_ptr<http::StreamResponse> answer, Link link,
                     std::shared_ptr<void> /*a place among the streams*/, http::BodyWriter& out) {
  const auto grant = link->grant;
  Redactor redactor(grant->credential);
  for (;;) {
    CO_TRY(piece, co_await answer->body->read());
    const bool end = piece.empty();
    std::string text = end ? redactor.rest() : redactor.pass(std::move(piece));
    if (!text.empty()) CO_TRY_DO(co_await out.write(std::move(text)));
    if (end) co_return ok;
  }
}

Response response_of(std::shared_ptr<http::StreamResponse> answer, Link link,
                     std::shared_ptr<void> place) {
  Response response;
  response.status = answer->status;
  for (auto name :
       {"Content-Type", "request-id", "retry-after", "retry-after-ms", "x-should-retry"})
    if (auto value = answer->headers.get(name)) response.headers.set(name, std::string(*value));
  response.headers.set("Cache-Control", "no-store");
  response.stream = [answer = std::move(answer), link = std::move(link), place = std::move(place)](
                        http::BodyWriter& out) { return pass_back(answer, link, place, out); };
  return response;
}

Task<Response> pass_on(Impl impl, Link link, const Rule* rule, Request request) {
  if (!link->pace.take()) co_return Error{Code::exhausted, "too many requests"};
  std::shared_ptr<void> body_place, stream_place;
  if (rule->endpoint == Endpoint::stream) {
    if (link->streams >= impl->limits.streams)
      co_return Error{Code::exhausted, "too many streams of this session are open"};
    ++link->streams;
    stream_place = place([link] { --link->streams; });
  }
  if (request.body_stream) {
    CO_TRY(body, co_await read_body(impl, link, std::move(request.body_stream), rule->body_limit,
                                    &body_place));
    request.body = std::move(body);
  }
  const auto grant = link->grant;
  CO_TRY(out, outgoing(*grant, rule->endpoint, request));
  request.body.clear();
  out.headers.set("Authorization", str("Bearer ", grant->credential.reveal()));
  auto opened = co_await link->service->open(std::move(out.method), std::move(out.target),
                                             std::move(out.body), std::move(out.headers));
  if (!opened && opened.error().code == Code::cancelled) co_return std::move(opened.error());
  // Where the service is, and how it fails, is not for a box to learn.
  if (!opened) {
    log::warn("uplink.service", {{"box", link->box}, {"error", opened.error().what}});
    co_return Error{Code::unavailable, "the service cannot be reached"};
  }
  auto answer = std::make_shared<http::StreamResponse>(std::move(*opened));
  if (answer->status < 200 || answer->status / 100 == 3)
    co_return Error{Code::unavailable, "the service gave no answer"};
  requests.add();
  ++link->status.requests;
  co_return response_of(std::move(answer), std::move(link), std::move(stream_place));
}

void tell_refusal(BoxLink& link, const Request& request, const Error& error) {
  refused.add();
  ++link.status.refused;
  if (!link.refusals.take()) return;  // a box must not fill the log
  log::warn("uplink.refused", {{"box", link.box},
                               {"session", link.grant->session},
                               {"method", request.method.substr(0, 16)},
                               {"path", request.path.substr(0, 200)},
                               {"why", error.what},
                               {"so_far", link.status.refused}});
}

Task<Response> serve(std::weak_ptr<Uplink::Impl> weak, std::weak_ptr<BoxLink> weak_link,
                     const Rule* rule, Request request) {
  auto impl = weak.lock();
  auto link = weak_link.lock();
  if (!impl || !link) co_return Error{Code::unavailable, "the grant is over"};
  Request about{.method = request.method, .path = request.path};
  auto response = co_await pass_on(std::move(impl), link, rule, std::move(request));
  if (!response && response.error().code != Code::cancelled)
    tell_refusal(*link, about, response.error());
  co_return response;
}

std::string_view error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
  }
}

// Errors of ours in the service's shape, which a worker understands.
void dress(Response& response, std::string_view request_id) {
  if (!response.headers.get("request-id"))
    response.headers.set("request-id", std::string(request_id));
  if (!response.error) return;
  if (response.status == 405) response.status = 404;
  response.headers.remove("Allow");
  if (response.status == 429) response.headers.set("retry-after", "1");
  response.headers.set("Content-Type", "application/json");
  response.body =
      str(R"({"type":"error","error":{"type":")", error_type(response.status), R"(","message":")",
          json_escape(response.error->what), R"("},"request_id":")", request_id, "\"}");
}

http::ServerOptions options_of(const UplinkLimits& limits) {
  http::ServerOptions options = server_options(limits);
  options.dress = dress;
  return options;
}

}  // namespace

std::unique_ptr<http::Server> serve_box(const std::shared_ptr<Uplink::Impl>& impl,
                                        const std::shared_ptr<BoxLink>& link) {
  std::vector<http::Route> routes;
  for (const Rule& rule : rules()) {
    http::Route route{.method = std::string(rule.method), .pattern = std::string(rule.pattern)};
    route.body = rule.body_limit ? http::Body::stream : http::Body::none;
    route.cancel_on_disconnect = true;
    // Weak: the link has the server that has this.
    route.handler = [impl = std::weak_ptr(impl), link = std::weak_ptr(link), rule = &rule](
                        Request request) { return serve(impl, link, rule, std::move(request)); };
    routes.push_back(std::move(route));
  }
  return std::make_unique<http::Server>(impl->loop, std::move(routes), options_of(impl->limits));
}

}  // namespace glovebox::gateway
