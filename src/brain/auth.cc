#include "brain/auth.h"

#include "base/metrics.h"
#include "brain/ids.h"

namespace glovebox::brain {
namespace {

metrics::Counter g_refused("brain_credentials_refused_total",
                           "Requests without a credential, or with one that is not known.");

std::string_view bearer(const http::Request& request) {
  constexpr std::string_view kScheme = "bearer ";
  std::string_view value = request.headers.get("Authorization").value_or("");
  if (lower(value.substr(0, kScheme.size())) != kScheme) return "";
  return trim(value.substr(kScheme.size()));
}

}  // namespace

std::string_view name(Who who) {
  switch (who) {
    case Who::api: return "an API key";
    case Who::environment: return "an environment key";
    case Who::session: return "a sessions token";
    case Who::metrics: return "the metrics key";
  }
  return "";
}

Result<std::optional<Credential>> Keyring::find(std::string_view given) const {
  if (given.empty() || given.size() > 1024) return std::nullopt;
  if (!keys_.api.empty() && keys_.api.equals(given))
    return Credential{.kind = Who::api, .id = "api"};
  if (!keys_.metrics.empty() && keys_.metrics.equals(given))
    return Credential{.kind = Who::metrics, .id = "metrics"};
  const std::string hash = hash_of(given);
  TRY(key, store_.key_by_hash(hash));
  if (key) {
    if (key->revoked_at) return std::nullopt;
    return Credential{.kind = Who::environment,
                      .id = std::move(key->id),
                      .environment_id = std::move(key->environment_id)};
  }
  TRY(token, store_.token(hash));
  if (!token || (token->expires_at && token->expires_at <= now_us())) return std::nullopt;
  return Credential{.kind = Who::session,
                    .id = hash,
                    .environment_id = std::move(token->environment_id),
                    .session_id = std::move(token->session_id),
                    .work_id = std::move(token->work_id),
                    .delivery = token->delivery};
}

Result<Credential> Keyring::credential_of(const http::Request& request) const {
  // A worker's client may leave its parent's x-api-key beside the bearer it means.
  for (std::string_view given :
       {trim(request.headers.get("x-api-key").value_or("")), bearer(request)}) {
    TRY(found, find(given));
    if (found) return std::move(*found);
  }
  g_refused.add();
  return Error{Code::unauthenticated,
               "a valid key is needed: x-api-key: KEY or Authorization: Bearer KEY"};
}

std::string hint_of(std::string_view key) {
  constexpr std::size_t kShown = 2;
  const auto dash = key.rfind('-', key.starts_with("gb-") ? key.find('-', 3) : key.npos);
  const std::size_t start = dash == key.npos ? 0 : dash + 1;
  if (key.size() < start + 16) return "…";  // too short to show any of it
  return str(key.substr(0, start + kShown), "…", key.substr(key.size() - kShown));
}

}  // namespace glovebox::brain
