#include "gateway/uplink_rules.h"

#include <algorithm>

#include "gateway/uplink_body.h"
#include "gateway/uplink_words.h"

namespace glovebox::gateway {

namespace {

using http::Request;

constexpr std::size_t kSmall = 4096;
constexpr std::size_t kMemory = 1 << 20;  // 100 KB of text, as far as escapes can stretch it

constexpr Rule kRules[] = {
    {Endpoint::session, "GET", "/v1/sessions/{session}"},
    {Endpoint::history, "GET", "/v1/sessions/{session}/events"},
    {Endpoint::answer, "POST", "/v1/sessions/{session}/events", kLargestAnswer},
    {Endpoint::stream, "GET", "/v1/sessions/{session}/events/stream"},
    {Endpoint::heartbeat, "POST", "/v1/environments/{environment}/work/{work}/heartbeat", kSmall},
    {Endpoint::stop, "POST", "/v1/environments/{environment}/work/{work}/stop", kSmall},
    {Endpoint::skill, "GET", "/v1/skills/{skill}/versions/{version}"},
    {Endpoint::skill_content, "GET", "/v1/skills/{skill}/versions/{version}/content"},
    {Endpoint::memories, "GET", "/v1/memory_stores/{store}/memories"},
    {Endpoint::new_memory, "POST", "/v1/memory_stores/{store}/memories", kMemory},
    {Endpoint::memory, "GET", "/v1/memory_stores/{store}/memories/{memory}"},
    {Endpoint::change_memory, "POST", "/v1/memory_stores/{store}/memories/{memory}", kMemory},
    {Endpoint::remove_memory, "DELETE", "/v1/memory_stores/{store}/memories/{memory}"},
};

// One text for all that was not granted: whether it exists is not for a box to learn.
Error not_granted() { return {Code::not_found, "this sandbox was granted no such thing"}; }

// --- arguments: which there may be, and what each may look like ---

bool is_view(std::string_view text) { return text == "basic" || text == "full"; }
bool is_order(std::string_view text) { return text == "asc" || text == "desc"; }
bool is_hash(std::string_view text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}
bool is_prefix(std::string_view text) {
  return text.starts_with('/') && text.size() <= 1024 &&
         std::ranges::none_of(text, [](unsigned char c) { return c < ' ' || c == 127; });
}
bool is_depth(std::string_view text) { return text == "0" || text == "1"; }

constexpr Argument kLimit{"limit", is_number}, kPage{"page", is_token}, kView{"view", is_view};

std::vector<Argument> arguments_of(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::history: return {kLimit, kPage, {"order", is_order}};
    case Endpoint::heartbeat: return {{"expected_last_heartbeat", is_token}};
    case Endpoint::memories:
      return {kView, kLimit, kPage, {"path_prefix", is_prefix}, {"depth", is_depth}};
    case Endpoint::new_memory:
    case Endpoint::memory:
    case Endpoint::change_memory: return {kView};
    case Endpoint::remove_memory: return {{"expected_content_sha256", is_hash}};
    case Endpoint::session:
    case Endpoint::answer:
    case Endpoint::stream:
    case Endpoint::stop:
    case Endpoint::skill:
    case Endpoint::skill_content: return {};
  }
  return {};
}

// --- the way: ids of the grant; others only where it leaves them open ---

Result<std::string> session_path(const Grant& grant, const Request& request,
                                 std::string_view rest) {
  if (request.param("session") != grant.session) return not_granted();
  return str("/v1/sessions/", grant.session, rest);
}

Result<std::string> work_path(const Grant& grant, const Request& request, std::string_view verb) {
  if (request.param("environment") != grant.environment || request.param("work") != grant.work)
    return not_granted();
  return str("/v1/environments/", grant.environment, "/work/", grant.work, "/", verb);
}

Result<std::string> skill_path(const Grant& grant, const Request& request, std::string_view rest) {
  const std::string skill = request.param("skill"), version = request.param("version");
  if (!grant.has_skill(skill) || !plain_id(version)) return not_granted();
  return str("/v1/skills/", skill, "/versions/", version, rest);
}

enum class Access { read, write };

Result<std::string> store_path(const Grant& grant, const Request& request, Access access) {
  const Grant::Store* store = grant.store(request.param("store"));
  if (!store) return not_granted();
  if (access == Access::write && store->read_only)
    return Error{Code::forbidden, "this memory store is attached for reading only"};
  return str("/v1/memory_stores/", store->id, "/memories");
}

Result<std::string> memory_path(const Grant& grant, const Request& request, Access access) {
  TRY(memories, store_path(grant, request, access));
  const std::string memory = request.param("memory");
  if (!plain_id(memory)) return not_granted();
  return str(memories, "/", memory);
}

Result<std::string> path_of(const Grant& grant, Endpoint endpoint, const Request& request) {
  switch (endpoint) {
    case Endpoint::session: return session_path(grant, request, "");
    case Endpoint::history:
    case Endpoint::answer: return session_path(grant, request, "/events");
    case Endpoint::stream: return session_path(grant, request, "/events/stream");
    case Endpoint::heartbeat: return work_path(grant, request, "heartbeat");
    case Endpoint::stop: return work_path(grant, request, "stop");
    case Endpoint::skill: return skill_path(grant, request, "");
    case Endpoint::skill_content: return skill_path(grant, request, "/content");
    case Endpoint::memories: return store_path(grant, request, Access::read);
    case Endpoint::new_memory: return store_path(grant, request, Access::write);
    case Endpoint::memory: return memory_path(grant, request, Access::read);
    case Endpoint::change_memory:
    case Endpoint::remove_memory: return memory_path(grant, request, Access::write);
  }
  return not_granted();
}

// --- headers ---

http::Headers headers_of(const Grant& grant, Endpoint endpoint, const Request& request,
                         bool with_body) {
  Otherwise otherwise{.beta = endpoint >= Endpoint::memories ? kMemoryBeta : kAgentsBeta,
                      .helper = kWorkerHelper};
  if (endpoint == Endpoint::skill_content) otherwise.accept = "application/binary";
  return service_headers(grant.headers, request, otherwise, with_body);
}

Result<std::string> body_of(Endpoint endpoint, const std::string& given) {
  switch (endpoint) {
    case Endpoint::answer: return rewrite_events(given);
    case Endpoint::stop: return rewrite_stop(given);
    case Endpoint::new_memory: return rewrite_new_memory(given);
    case Endpoint::change_memory: return rewrite_memory_change(given);
    case Endpoint::heartbeat:
      if (given.empty() || trim(given) == "{}") return std::string();
      return Error{Code::invalid, "a heartbeat has no body"};
    case Endpoint::session:
    case Endpoint::history:
    case Endpoint::stream:
    case Endpoint::skill:
    case Endpoint::skill_content:
    case Endpoint::memories:
    case Endpoint::memory:
    case Endpoint::remove_memory: return std::string();
  }
  return std::string();
}

std::string_view method_of(Endpoint endpoint) {
  for (const Rule& rule : kRules)
    if (rule.endpoint == endpoint) return rule.method;
  return "";
}

}  // namespace

std::span<const Rule> rules() { return kRules; }

Result<Outgoing> outgoing(const Grant& grant, Endpoint endpoint, const Request& request) {
  // The router takes HEAD for GET.
  if (request.method != method_of(endpoint)) return not_granted();
  Outgoing out{.method = request.method};
  TRY(path, path_of(grant, endpoint, request));
  TRY(query, query_of(arguments_of(endpoint), request.query));
  TRY(body, body_of(endpoint, request.body));
  out.target = path + query;
  out.body = std::move(body);
  out.headers = headers_of(grant, endpoint, request, !out.body.empty());
  return out;
}

}  // namespace glovebox::gateway
