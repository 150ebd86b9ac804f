#include "orchestrator/engine_api.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <span>

#include "net/task.h"
#include "orchestrator/engine_api_impl.h"

namespace glovebox::orchestrator {

namespace json = boost::json;

namespace {

constexpr std::size_t kLongestKey = 128;

Code code_of(int status) {
  switch (status) {
    case 401: return Code::unauthenticated;
    case 403: return Code::forbidden;
    case 404: return Code::not_found;
    case 409: return Code::conflict;
    case 410: return Code::gone;
    case 413: return Code::too_large;
    case 429: return Code::exhausted;
    case 501: return Code::unsupported;
    case 408:
    case 504: return Code::timeout;
    case 502:
    case 503: return Code::unavailable;
  }
  return status >= 400 && status < 500 ? Code::invalid : Code::internal;
}

Result<json::object> object_of(std::string_view text) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object())
    return Error{Code::internal, "the engine's answer is no JSON object; is this an engine?"};
  return std::move(value.get_object());
}

std::string text(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found && found->is_string() ? std::string(std::string_view(found->get_string())) : "";
}

}  // namespace

Error EngineApi::Impl::error_of(const http::ClientResponse& answer) {
  Error error{code_of(answer.status), str("the engine answered ", answer.status)};
  if (auto body = object_of(answer.body)) {
    if (std::string what = text(*body, "error"); !what.empty()) error.what = what;
    error.tag = text(*body, "code");
  }
  return error;
}

namespace {

// Ids are opaque; what the engine would not take as a key becomes one by its hash.
std::string key_of(const std::string& call) {
  bool plain = !call.empty() && call.size() <= kLongestKey &&
               std::ranges::all_of(call, [](char c) { return c > ' ' && c < 127; });
  if (plain) return call;
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  ::EVP_Digest(call.data(), call.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  return hex(std::span(digest).first(size));
}

}  // namespace

// A 2xx answer, or the error.
Task<http::ClientResponse> EngineApi::Impl::request(std::string method, std::string target,
                                                    std::string body, http::Headers headers) {
  headers.set("Authorization", str("Bearer ", key->reveal()));
  if (!body.empty() && !headers.get("Content-Type"))
    headers.set("Content-Type", "application/json");
  CO_TRY(answer, co_await client.call(std::move(method), std::move(target), std::move(body),
                                      std::move(headers)));
  if (answer.status / 100 != 2) co_return error_of(answer);
  co_return answer;
}

http::Headers EngineApi::Impl::of_box(const std::string& box) {
  http::Headers headers;
  headers.set("X-Tensorlake-Sandbox-Id", box);
  return headers;
}

EngineApi::EngineApi(net::Loop& loop, http::Url url, std::shared_ptr<const Secret> key,
                     std::string also_trust)
    : impl_(new Impl{http::Client(loop, std::move(url), {}, {.also_trust = std::move(also_trust)}),
                     std::move(key)}) {}
EngineApi::~EngineApi() = default;

Task<std::optional<Box>> EngineApi::find(std::string box) {
  auto answer = co_await impl_->request("GET", "/sandboxes/" + http::encode_path(box));
  if (!answer) {
    const Error& error = answer.error();
    // Only the engine's own word that there is none counts as that: nothing else is "absent".
    if (error.tag == "SANDBOX_NOT_FOUND" || error.tag == "SANDBOX_TERMINATED")
      co_return std::optional<Box>();
    co_return error;
  }
  CO_TRY(record, object_of(answer->body));
  Box found{text(record, "id"), text(record, "status")};
  if (found.id.empty()) co_return Error{Code::internal, "the engine's record has no id"};
  if (const json::value* at = record.if_contains("last_activity_at"); at && at->is_int64())
    found.last_activity_ms = at->get_int64();
  if (found.status == "terminated") co_return std::optional<Box>();
  co_return std::optional<Box>(std::move(found));
}

static json::array volumes_json(const NewBox& box) {
  json::array volumes;
  for (const BoxVolume& volume : box.volumes)
    volumes.push_back({{"file_system_id", volume.name},
                       {"mount_path", volume.path},
                       {"read_only", volume.read_only}});
  return volumes;
}

Result<Box> EngineApi::Impl::made(const http::ClientResponse& answer) {
  TRY(record, object_of(answer.body));
  Box made{text(record, "sandbox_id"), text(record, "status")};
  if (made.id.empty()) return Error{Code::internal, "the engine's answer names no sandbox"};
  return made;
}

Task<Box> EngineApi::create(NewBox box) {
  json::object body{{"name", box.name},
                    {"timeout_secs", box.timeout_secs},
                    {"network", {{"allow_internet_access", box.internet}}}};
  if (!box.image.empty()) body["image"] = box.image;
  if (!box.snapshot.empty()) body["snapshot_id"] = box.snapshot;
  if (!box.isolation.empty()) body["isolation"] = box.isolation;
  if (!box.volumes.empty()) body["file_systems"] = volumes_json(box);
  CO_TRY(answer, co_await impl_->request("POST", "/sandboxes", json::serialize(body)));
  co_return Impl::made(answer);
}

Task<Box> EngineApi::claim(std::string pool, NewBox box) {
  json::object body{{"name", box.name}, {"timeout_secs", box.timeout_secs}};
  if (!box.volumes.empty()) body["file_systems"] = volumes_json(box);
  CO_TRY(answer, co_await impl_->request(
                     "POST", str("/sandbox-pools/", http::encode_path(pool), "/sandboxes"),
                     json::serialize(body)));
  co_return Impl::made(answer);
}

Task<void> EngineApi::make_volume(std::string name) {
  json::object body{{"name", std::move(name)}};
  auto made = co_await impl_->request("POST", "/volumes", json::serialize(body));
  if (!made && made.error().tag != "NAME_TAKEN") co_return std::move(made.error());
  co_return ok;
}

Task<void> EngineApi::remove_volume(std::string name) {
  auto removed = co_await impl_->request("DELETE", "/volumes/" + http::encode_path(name));
  if (!removed && removed.error().code != Code::not_found) co_return std::move(removed.error());
  co_return ok;
}

Task<void> EngineApi::remove(std::string box) {
  CO_TRY_DO(co_await impl_->request("DELETE", "/sandboxes/" + http::encode_path(box)));
  co_return ok;
}

Task<void> EngineApi::resume(std::string box) {
  CO_TRY_DO(co_await impl_->request("POST", str("/sandboxes/", http::encode_path(box), "/resume")));
  co_return ok;
}

Task<runner::ToolResult> EngineApi::call(std::string box, runner::ToolCall call) {
  http::Headers headers = Impl::of_box(box);
  headers.set("Idempotency-Key", key_of(call.id));
  std::string target = "/api/v1/tools/" + http::encode_path(call.name);
  for (char mark = '?'; const runner::ToolRoot& root : call.roots)
    target += str(std::exchange(mark, '&'),
                  root.read_only ? "read_only_root=" : "root=", http::encode_query(root.path));
  CO_TRY(answer, co_await impl_->request("POST", std::move(target), std::move(call.input),
                                         std::move(headers)));
  CO_TRY(result, object_of(answer.body));
  const json::value* content = result.if_contains("content");
  const json::value* is_error = result.if_contains("is_error");
  if (!content || !is_error || !is_error->is_bool())
    co_return Error{Code::internal, "the engine's answer is no tool result"};
  co_return runner::ToolResult{json::serialize(*content), is_error->get_bool()};
}

Task<void> EngineApi::end_call(std::string box, std::string call) {
  CO_TRY_DO(co_await impl_->request(
      "DELETE", "/api/v1/tools/calls/" + http::encode_path(key_of(call)), "", Impl::of_box(box)));
  co_return ok;
}

static std::string trees(const std::string& path) {
  return "/api/v1/trees?path=" + http::encode_query(path);
}

// That the box is gone must not look like a file that is.
static bool no_such_file(const Error& error) {
  return error.code == Code::not_found && error.tag != "SANDBOX_NOT_FOUND";
}

Task<std::optional<EngineApi::Tree>> EngineApi::tree(std::string box, std::string path) {
  auto answer = co_await impl_->request("GET", trees(path), "", Impl::of_box(box));
  if (!answer && no_such_file(answer.error())) co_return std::optional<Tree>();
  if (!answer) co_return std::move(answer.error());
  CO_TRY(listed, object_of(answer->body));
  Tree tree{text(listed, "kind"), {}};
  const json::value* files = listed.if_contains("files");
  if (tree.kind.empty() || !files || !files->is_array())
    co_return Error{Code::internal, "the engine's answer is no tree"};
  for (const json::value& one : files->get_array()) {
    if (!one.is_object()) continue;
    const json::value* size = one.get_object().if_contains("size");
    tree.files.push_back({text(one.get_object(), "path"), text(one.get_object(), "sha256"),
                          size && size->is_int64() && size->get_int64() >= 0
                              ? static_cast<std::uint64_t>(size->get_int64())
                              : 0});
  }
  co_return std::optional<Tree>(std::move(tree));
}

Task<void> EngineApi::make_folder(std::string box, std::string path) {
  CO_TRY_DO(co_await impl_->request("POST", trees(path), "", Impl::of_box(box)));
  co_return ok;
}

Task<void> EngineApi::place(std::string box, std::string path, std::string base, int mode,
                            std::string content) {
  const char octal[] = {static_cast<char>('0' + ((mode >> 6) & 7)),
                        static_cast<char>('0' + ((mode >> 3) & 7)),
                        static_cast<char>('0' + (mode & 7))};
  std::string target = str(trees(path), "&base=", http::encode_query(base),
                           "&mode=", std::string_view(octal, sizeof octal));
  http::Headers headers = Impl::of_box(box);
  headers.set("Content-Type", "application/octet-stream");
  CO_TRY_DO(
      co_await impl_->request("PUT", std::move(target), std::move(content), std::move(headers)));
  co_return ok;
}

Task<void> EngineApi::remove_tree(std::string box, std::string path) {
  CO_TRY_DO(co_await impl_->request("DELETE", trees(path), "", Impl::of_box(box)));
  co_return ok;
}

Task<std::optional<std::string>> EngineApi::read(std::string box, std::string path) {
  auto answer = co_await impl_->request("GET", "/api/v1/files?path=" + http::encode_query(path), "",
                                        Impl::of_box(box));
  if (!answer && no_such_file(answer.error())) co_return std::optional<std::string>();
  if (!answer) co_return std::move(answer.error());
  co_return std::optional<std::string>(std::move(answer->body));
}

bool may_pass(const Error& error) {
  switch (error.code) {
    case Code::unavailable:
    case Code::timeout:
    case Code::unauthenticated:
    case Code::exhausted: return true;
    case Code::invalid:
    case Code::forbidden:
    case Code::not_found:
    case Code::conflict:
    case Code::gone:
    case Code::too_large:
    case Code::unsupported:
    case Code::cancelled:
    case Code::internal: return false;
  }
  return false;
}

}  // namespace glovebox::orchestrator
