// Who may go to a port, and what of their credentials is not for the box.
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/clock.h"
#include "base/metrics.h"
#include "gateway/ingress_impl.h"
#include "http/text.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

metrics::Counter refused_total("ingress_refused_total",
                               "Requests without a credential, or with a wrong one.");

constexpr std::string_view kTokenHeader = "X-Glovebox-Token";
constexpr std::string_view kTokenPrefix = "gb1.";  // wire/token.h
constexpr std::size_t kTokensKept = 64;
constexpr std::size_t kTokenMost = 4096;  // that the link carries (wire/ingress.cc)
constexpr Millis kTokenLimit{20'000};

// The token of "Bearer TOKEN"; "" for another scheme.
std::string_view bearer(std::string_view value) {
  constexpr std::string_view kScheme = "bearer ";
  if (lower(value.substr(0, kScheme.size())) != kScheme) return "";
  return trim(value.substr(kScheme.size()));
}

std::string hash_of(std::string_view text) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  return hex(std::span(digest).first(size));
}

constexpr std::string_view kCredentials[] = {"Authorization", "X-Api-Key", kTokenHeader};

// Only the first would be looked at, and all would go on.
bool has_two(const http::Headers& headers) {
  return std::ranges::any_of(kCredentials, [&](std::string_view credential) {
    return std::ranges::count_if(headers.all(), [&](const auto& header) {
             return http::same_name(header.first, credential);
           }) > 1;
  });
}

// A key of ours that a client sends along by mistake would be the box's from then on.
bool has_our_key(const Ingress::Impl& impl, const http::Headers& headers) {
  for (std::string_view name : kCredentials) {
    auto value = headers.get(name);
    if (!value) continue;
    std::string_view text = bearer(*value).empty() ? trim(*value) : bearer(*value);
    if (impl.key_hashes.contains(hash_of(text))) return true;
  }
  return false;
}

// Takes the token off: what the box sees says nothing of it.
std::string take_token(http::Headers& headers) {
  std::string token;
  if (auto own = headers.get(kTokenHeader)) token = trim(*own);
  headers.remove(kTokenHeader);
  const std::string in_authorization(bearer(headers.get("Authorization").value_or("")));
  if (!in_authorization.starts_with(kTokenPrefix)) return token;
  headers.remove("Authorization");
  return token.empty() ? in_authorization : token;
}

Error refuse(Source& source, Error error) {
  refused_total.add();
  (void)source.refusals.take();
  return error;
}

// What no token looks like does not go onto the link, which all boxes share.
bool is_token(std::string_view text) {
  return text.size() <= kTokenMost && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  c == '.' || c == '-' || c == '_';
         });
}

// Good ones are remembered until they end, so that not every request asks the engine.
Task<void> ask_about(ImplPtr impl, BoxPtr box, int port, std::string token) {
  if (!is_token(token))
    co_return Error{Code::unauthenticated, "the token is not valid here and now", "INVALID_TOKEN"};
  const std::int64_t now = system_clock().unix_ms();
  if (auto seen = box->tokens.find(token);
      seen != box->tokens.end() && seen->second.first == port && seen->second.second > now)
    co_return ok;
  wire::IngressAsk ask{.what = wire::IngressAsk::What::token,
                       .box = box->box.id,
                       .generation = box->box.generation,
                       .port = port,
                       .token = token};
  CO_TRY(answer, co_await EngineLink::ask(impl->engine, std::move(ask), impl->options.limits.engine,
                                          kTokenLimit));
  if (box->tokens.size() >= kTokensKept) box->tokens.clear();
  box->tokens[token] = {port, answer.say.expires_ms};
  co_return ok;
}

}  // namespace

Result<std::string> check_access(const Ingress::Impl& impl, const wire::IngressPort* port,
                                 Source& source, http::Headers& headers) {
  if (has_two(headers))
    return Error{Code::invalid, "a header with a credential stands there twice",
                 "DUPLICATE_CREDENTIAL"};
  if (!port)
    return refuse(source,
                  {Code::not_found, "this port of the sandbox is not exposed", "PORT_NOT_EXPOSED"});
  if (has_our_key(impl, headers))
    return refuse(source, {Code::forbidden,
                           "a key of this Glovebox is not for what runs inside of sandboxes; "
                           "use a token for the port (glovebox sandbox port token)",
                           "KEY_AT_PORT"});
  std::string token = take_token(headers);
  // A signed port asks for a signature instead: see ingress_client.cc.
  if (port->open || !port->verify.empty()) return "";
  if (token.empty())
    return refuse(source, {Code::unauthenticated,
                           "this port needs a token: Authorization: Bearer TOKEN, or "
                           "X-Glovebox-Token: TOKEN (glovebox sandbox port token)",
                           "AUTH_REQUIRED"});
  return token;
}

Task<void> check_token(ImplPtr impl, BoxPtr box, int port, std::string token, SourcePtr source) {
  auto checked = co_await ask_about(std::move(impl), std::move(box), port, std::move(token));
  if (checked) co_return ok;
  const Code code = checked.error().code;
  if (code == Code::unauthenticated || code == Code::forbidden)
    co_return refuse(*source, std::move(checked.error()));
  co_return checked;
}

}  // namespace glovebox::gateway
