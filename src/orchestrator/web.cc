#include "orchestrator/web.h"

#include <algorithm>

#include "net/task.h"

namespace glovebox::orchestrator {

namespace {

constexpr int kMostRedirections = 5;
constexpr Millis kConnectLimit{15'000}, kSilence{60'000};

Error of_web(Code code, std::string what) { return {code, std::move(what), kFromTheWeb}; }

enum class Offer { none, public_only, anywhere };

Offer offer_of(const std::vector<std::string>& hosts, const std::string& host) {
  Offer best = Offer::none;
  for (const std::string& one : hosts) {
    if (lower(one) == host) return Offer::anywhere;
    const bool below = one.starts_with("*.") && host.ends_with(lower(one).substr(1));
    if (one == "*" || below) best = Offer::public_only;
  }
  return best;
}

// "https://host:1/a/b?c" in two: what is dialled, and what is asked there.
struct Place {
  http::Url origin;
  std::string target;
};
Result<Place> place_of(const std::string& url) {
  constexpr std::string_view kScheme = "https://";
  if (!lower(url.substr(0, kScheme.size())).starts_with(kScheme))
    return of_web(Code::forbidden, "only https URLs are fetched");
  if (std::ranges::any_of(url, [](unsigned char c) { return c <= ' ' || c >= 127; }))
    return of_web(Code::invalid, "a URL has no such characters");
  const auto end = std::min(url.find_first_of("/?#", kScheme.size()), url.size());
  auto origin = http::Url::parse(url.substr(0, end));
  if (!origin) return of_web(Code::invalid, origin.error().what);
  origin->host = lower(origin->host);
  std::string target = url.substr(end, url.find('#', end) - end);
  if (!target.starts_with('/')) target.insert(0, "/");
  return Place{std::move(*origin), std::move(target)};
}

// Where a Location leads, seen from `base`.
std::string resolved(const Place& base, std::string_view location) {
  // A URL in its query makes it no URL itself.
  if (location.substr(0, location.find_first_of("/?#")).contains(':')) return std::string(location);
  const std::string origin = str("https://", base.origin.authority());
  if (location.starts_with("//")) return str("https:", location);
  if (location.starts_with('/')) return str(origin, location);
  std::string_view path = std::string_view(base.target).substr(0, base.target.find('?'));
  return str(origin, path.substr(0, path.rfind('/') + 1), location);
}

bool is_redirection(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

Code code_of(int status) {
  if (status == 429 || status >= 500) return Code::unavailable;
  return status == 404 || status == 410 ? Code::not_found : Code::forbidden;
}

}  // namespace

Task<WebAnswer> Web::ask(std::string method, std::string url, std::string type, std::string body) {
  for (int redirections = 0;; ++redirections) {
    CO_TRY(place, place_of(url));
    const std::string host = place.origin.host;
    const Offer offer = offer_of(rules_.hosts, host);
    if (offer == Offer::none)
      co_return of_web(Code::forbidden, str("host ", host,
                                            " is not offered here: it is not in the operator's "
                                            "setting orchestrator.session_hosts"));
    http::ClientOptions options{.connect_deadline = kConnectLimit,
                                .head_deadline = kSilence,
                                .body_deadline = kSilence,
                                .also_trust = rules_.also_trust};
    if (offer == Offer::public_only) options.reach = net::Reach::public_only;
    http::Headers headers;
    headers.set("User-Agent", "glovebox/" GLOVEBOX_VERSION);
    headers.set("Accept", "*/*");
    if (!type.empty()) headers.set("Content-Type", type);
    auto client = std::make_shared<http::Client>(loop_, place.origin, http::Headers(), options);
    auto answer = co_await client->open(method, place.target, body, std::move(headers));
    if (!answer) {
      Error error = std::move(answer.error());
      if (error.code == Code::cancelled) co_return error;
      if (error.tag == "NOT_PUBLIC")
        co_return of_web(Code::forbidden,
                         str("host ", host,
                             " has an address that is not public; the operator may name it in "
                             "orchestrator.session_hosts"));
      co_return of_web(error.code == Code::timeout ? Code::timeout : Code::unavailable, error.what);
    }
    if (answer->status == 200)
      co_return WebAnswer{std::move(url), std::move(client), std::move(answer->body)};
    if (!is_redirection(answer->status) || method != "GET")
      co_return of_web(code_of(answer->status), str(host, " answered ", answer->status));
    if (redirections == kMostRedirections)
      co_return of_web(Code::invalid, str(host, " redirects without an end"));
    url = resolved(place, answer->headers.get("Location").value_or(""));
  }
}

Task<WebAnswer> Web::get(std::string url) { return ask("GET", std::move(url), "", ""); }
Task<WebAnswer> Web::post(std::string url, std::string type, std::string body) {
  return ask("POST", std::move(url), std::move(type), std::move(body));
}

}  // namespace glovebox::orchestrator
