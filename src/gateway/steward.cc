#include "gateway/steward.h"

#include "base/log.h"
#include "gateway/redactor.h"
#include "gateway/steward_impl.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

constexpr std::size_t kAnswer = 16 << 20;  // a session is as large as what it was made of

http::ClientOptions options_of(const StewardOptions& given) {
  http::ClientOptions options;
  options.head_deadline = 120s;
  options.body_limit = kAnswer;
  options.also_trust = given.also_trust;
  return options;
}

// Where somebody is, and how he fails, is not for a box to learn.
Error nobody(Side side, Error error) {
  if (error.code == Code::cancelled) return error;
  const std::string_view who = side == Side::service ? "service" : "engine";
  log::warn("steward.no_answer", {{"who", who}, {"error", error.what}});
  return {Code::unavailable, str("the ", who, " cannot be reached")};
}

// The item's own where it brought one; its session is read and its end told with it.
Secret credential_of(const Steward& steward, Side side, const Outgoing& out) {
  if (side == Side::engine) return *steward.keys.engine;
  const StewardRecords::Item* item = nullptr;
  const std::vector<std::string> way = split(out.target.substr(0, out.target.find('?')), '/');
  // "…/sessions/SESSION/…", "…/environments/ENV/work/WORK/VERB"
  for (std::size_t i = 1; i + 1 < way.size(); ++i) {
    if (way[i] == "sessions") item = steward.records.item_of(way[i + 1]);
    if (way[i] == "work" && way.back() != "ack") item = steward.records.item(way[i + 1]);
    if (item) break;
  }
  return item && !item->token.empty() ? item->token : *steward.keys.environment;
}

}  // namespace

Steward::Steward(net::Loop& loop, StewardOptions given, StewardKeys told, StewardRecords known,
                 http::Url service_url, http::Url engine_url)
    : options(std::move(given)),
      keys(std::move(told)),
      records(std::move(known)),
      may(options.may),
      service(loop, std::move(service_url), {}, options_of(options)),
      engine(loop, std::move(engine_url), {}, options_of(options)),
      pace(500, 1000),
      refusals(1, 5) {
  may.environment.clear();  // until the service was asked, too
}

Task<http::ClientResponse> ask(std::shared_ptr<Steward> steward, Side side, Outgoing out) {
  http::Client& client = side == Side::service ? steward->service : steward->engine;
  const Secret credential = credential_of(*steward, side, out);
  out.headers.set("Authorization", str("Bearer ", credential.reveal()));
  auto answer = co_await client.call(std::move(out.method), std::move(out.target),
                                     std::move(out.body), std::move(out.headers));
  if (!answer) co_return nobody(side, std::move(answer.error()));
  if (answer->status < 200 || answer->status / 100 == 3)
    co_return nobody(side, Error{Code::unavailable, str("status ", answer->status)});
  Redactor redactor(credential);
  answer->body = redactor.pass(std::move(answer->body));
  answer->body += redactor.rest();
  co_return answer;
}

Task<http::StreamResponse> open(std::shared_ptr<Steward> steward, Side side, Outgoing out) {
  http::Client& client = side == Side::service ? steward->service : steward->engine;
  out.headers.set("Authorization", str("Bearer ", credential_of(*steward, side, out).reveal()));
  auto answer = co_await client.open(std::move(out.method), std::move(out.target), "",
                                     std::move(out.headers));
  if (!answer) co_return nobody(side, std::move(answer.error()));
  co_return answer;
}

Task<http::ClientResponse> poll_queue(std::shared_ptr<Steward> steward, http::Request request,
                                      std::optional<Offered>* offered) {
  CO_TRY(out, steward_request(steward->may, steward->records, Act::poll, request));
  CO_TRY(answer, co_await ask(steward, Side::service, std::move(out)));
  if (answer.status / 100 != 2) co_return answer;
  CO_TRY(item, offered_to_steward(answer.body));
  answer.body = item ? item->json : "null";
  if (item) {
    // Known before the box hears of it: what it asks next is judged by that.
    CO_TRY_DO(
        steward->records.took(item->work, item->session, item->token, system_clock().unix_ms()));
    log::info("steward.item", {{"work", item->work}, {"session", item->session}});
  }
  *offered = std::move(item);
  co_return answer;
}

Result<void> Uplink::appoint(StewardOptions options, StewardKeys keys) {
  TRY(service, http::Url::parse(options.service_url), "the service's URL");
  TRY(engine, http::Url::parse(options.engine_url), "the engine's URL");
  TRY(records, StewardRecords::open(options.records));
  impl_->steward =
      std::make_shared<Steward>(impl_->loop, std::move(options), std::move(keys),
                                std::move(records), std::move(service), std::move(engine));
  impl_->tasks.spawn("steward.keep", keep_steward(impl_));
  return ok;
}

}  // namespace glovebox::gateway
