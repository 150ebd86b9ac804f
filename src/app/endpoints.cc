#include <boost/json.hpp>

#include "app/state.h"

namespace glovebox::app {

namespace json = boost::json;

std::string encode(const Endpoints& endpoints, const std::string& state) {
  json::object parts;
  for (const PartStatus& part : endpoints.parts) {
    json::object entry{{"url", part.url},
                       {"pid", part.pid},
                       {"started_ms", part.started_ms},
                       {"restarts", part.restarts}};
    if (!part.problem.empty()) entry["problem"] = part.problem;
    parts[part.name] = std::move(entry);
  }
  json::object out{{"pid", endpoints.pid}, {"state", state}, {"started_ms", endpoints.started_ms}};
  if (!endpoints.ingress_domain.empty()) out["ingress_domain"] = endpoints.ingress_domain;
  out["parts"] = std::move(parts);
  return json::serialize(out) + "\n";
}

Result<Endpoints> decode_endpoints(const std::string& text) {
  try {
    json::value root = json::parse(text);
    Endpoints out;
    out.pid = root.at("pid").to_number<pid_t>();
    out.started_ms = root.at("started_ms").to_number<std::int64_t>();
    if (const json::value* domain = root.as_object().if_contains("ingress_domain"))
      out.ingress_domain = std::string(domain->as_string());
    for (const auto& member : root.at("parts").as_object()) {
      const json::object& entry = member.value().as_object();
      PartStatus part{.name = std::string(member.key()),
                      .url = std::string(entry.at("url").as_string())};
      part.pid = entry.at("pid").to_number<pid_t>();
      part.started_ms = entry.at("started_ms").to_number<std::int64_t>();
      part.restarts = entry.at("restarts").to_number<std::int64_t>();
      if (const json::value* problem = entry.if_contains("problem"))
        part.problem = std::string(problem->as_string());
      out.parts.push_back(std::move(part));
    }
    return out;
  } catch (const std::exception& error) {  // Boost.JSON's accessors throw
    return Error{Code::internal, str("not what a supervisor writes: ", error.what())};
  }
}

}  // namespace glovebox::app
