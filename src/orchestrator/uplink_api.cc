#include "orchestrator/uplink_api.h"

#include <boost/json.hpp>

#include "http/custom_headers.h"
#include "net/task.h"
#include "runner/json.h"
#include "runner/memory_store.h"
#include "runner/skills.h"

namespace glovebox::orchestrator {

namespace json = boost::json;

namespace {

http::ClientOptions patience() {
  http::ClientOptions options;
  options.head_deadline = 30s;  // it has nothing to wait for but hints, and that not for long
  return options;
}

std::string encode(const UplinkGrant& grant) {
  json::array skills, stores;
  for (const runner::SkillRef& skill : runner::skills_of(grant.session.json))
    skills.emplace_back(skill.id);
  for (const runner::MemoryStore& store : runner::memory_stores_of(grant.session.json))
    stores.emplace_back(json::object{{"id", store.id}, {"read_only", store.read_only}});
  return json::serialize(json::object{{"environment_id", grant.environment},
                                      {"work_id", grant.work},
                                      {"session_id", grant.session.id},
                                      {"service_url", grant.service_url},
                                      {"headers", http::custom_header_lines(grant.headers)},
                                      {"credential", grant.credential->reveal()},
                                      {"skills", std::move(skills)},
                                      {"memory_stores", std::move(stores)}});
}

}  // namespace

struct UplinkApi::Impl {
  http::Client client;
  std::shared_ptr<const Secret> key;

  Task<std::string> request(std::string method, std::string target, std::string body) {
    http::Headers headers;
    headers.set("Authorization", str("Bearer ", key->reveal()));
    if (!body.empty()) headers.set("Content-Type", "application/json");
    CO_TRY(answer, co_await client.call(std::move(method), std::move(target), std::move(body),
                                        std::move(headers)));
    if (answer.status / 100 == 2) co_return std::move(answer.body);
    auto value = runner::parse_json(answer.body);
    Error error{answer.status == 404   ? Code::not_found
                : answer.status >= 500 ? Code::unavailable
                                       : Code::invalid,
                str("the uplink answered ", answer.status)};
    if (value) error.what += ": " + runner::text(*value, "error");
    co_return error;
  }

  Task<bool> listening(std::string method, std::string target, std::string body) {
    CO_TRY(answer, co_await request(std::move(method), std::move(target), std::move(body)));
    CO_TRY(value, runner::parse_json(answer), "the uplink's answer");
    const json::value* said = runner::member(value, "listening");
    co_return said && said->is_bool() && said->get_bool();
  }
};

UplinkApi::UplinkApi(net::Loop& loop, http::Url url, std::shared_ptr<const Secret> key)
    : impl_(new Impl{http::Client(loop, std::move(url), {}, patience()), std::move(key)}) {}
UplinkApi::~UplinkApi() = default;

Task<bool> UplinkApi::grant(UplinkGrant grant) {
  return impl_->listening("PUT", "/grants/" + http::encode_path(grant.box), encode(grant));
}

Task<bool> UplinkApi::renew(std::string box, std::string work) {
  return impl_->listening("POST", str("/grants/", http::encode_path(box), "/renew"),
                          json::serialize(json::object{{"work_id", work}}));
}

Task<void> UplinkApi::revoke(std::string box, std::string work) {
  CO_TRY_DO(co_await impl_->request(
      "DELETE", str("/grants/", http::encode_path(box), "?work_id=", http::encode_query(work)),
      ""));
  co_return ok;
}

Task<UplinkApi::Door> UplinkApi::keep_door(std::string box) {
  CO_TRY(answer, co_await impl_->request("PUT", "/doors/" + http::encode_path(box), ""));
  CO_TRY(value, runner::parse_json(answer), "the uplink's answer");
  auto is = [&value](std::string_view key) {
    const json::value* said = runner::member(value, key);
    return said && said->is_bool() && said->get_bool();
  };
  co_return Door{.listening = is("listening"), .heard = is("heard"), .steward = is("steward")};
}

Task<std::uint64_t> UplinkApi::hints(std::uint64_t before) {
  CO_TRY(answer, co_await impl_->request("GET", str("/hints?before=", before), ""));
  CO_TRY(value, runner::parse_json(answer), "the uplink's answer");
  const json::value* now = runner::member(value, "hints");
  if (!now || !now->is_int64()) co_return Error{Code::internal, "the uplink counts no hints"};
  co_return static_cast<std::uint64_t>(now->get_int64());
}

}  // namespace glovebox::orchestrator
