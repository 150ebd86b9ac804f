#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>

#include "app/commands.h"
#include "app/config.h"
#include "app/state.h"
#include "base/clock.h"
#include "cli/brain_client.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace json = boost::json;

namespace {

// Resident memory, or 0 for a process that is gone.
std::uint64_t memory_of(pid_t pid) {
  auto text = sys::read_file(str("/proc/", pid, "/status"), 64 * 1024);
  if (!text) return 0;
  for (const std::string& line : split(*text, '\n')) {
    if (!line.starts_with("VmRSS:")) continue;
    std::string_view value = trim(std::string_view(line).substr(6));
    return parse_int<std::uint64_t>(value.substr(0, value.find(' '))).value_or(0) * 1024;
  }
  return 0;
}

json::array parts_of(const Endpoints& endpoints, std::int64_t now) {
  json::array parts;
  for (const PartStatus& part : endpoints.parts) {
    json::object entry{{"name", part.name}, {"url", part.url}, {"restarts", part.restarts}};
    entry["pid"] = part.pid ? json::value(part.pid) : json::value(nullptr);
    entry["uptime_ms"] = part.pid ? json::value(now - part.started_ms) : json::value(nullptr);
    entry["memory_bytes"] = part.pid ? json::value(memory_of(part.pid)) : json::value(nullptr);
    if (!part.problem.empty()) entry["problem"] = part.problem;
    parts.push_back(std::move(entry));
  }
  return parts;
}

// How many boxes there are in each state.
Result<json::object> count_boxes(const cli::Context& context, const std::string& state,
                                 const Endpoints& endpoints) {
  cli::Context own = context;
  own.state = state;
  own.env.erase("TENSORLAKE_API_KEY");  // this instance's engine, this instance's key
  for (const PartStatus& part : endpoints.parts)
    if (part.name == "engine") own.url = part.url;
  TRY(engine, cli::EngineClient::open(own));
  TRY(boxes, engine->list_live());
  std::map<std::string, std::int64_t> counts;
  for (const json::value& box : boxes)
    if (const json::value* status = box.as_object().if_contains("status");
        status && status->is_string())
      ++counts[std::string(status->as_string())];
  json::object out;
  for (const auto& [name, count] : counts) out[name] = count;
  return out;
}

// What the brain says of itself: who answers, and how much goes on.
Result<json::object> ask_brain(const cli::Context& context, const std::string& state,
                               const Endpoints& endpoints) {
  cli::Context own = context;
  own.state = state;
  own.env.erase("GLOVEBOX_BRAIN_URL");
  own.url.reset();
  bool there = std::ranges::any_of(endpoints.parts, [](const PartStatus& part) {
    return part.name == "brain" && part.pid != 0;
  });
  if (!there) return json::object();
  TRY(brain, cli::BrainClient::open(own));
  return brain->get("/glovebox/v1/status");
}

std::string number(const json::object& part, std::string_view member) {
  const json::value& value = part.at(member);
  return value.is_null() ? "" : json::serialize(value);
}

std::vector<cli::Column> columns() {
  auto text = [](const json::object& part, std::string_view member) {
    const json::value* value = part.if_contains(member);
    return value ? std::string(value->as_string()) : std::string();
  };
  return {{"PART", [=](auto& p) { return text(p, "name"); }},
          {"PID", [](auto& p) { return p.at("pid").is_null() ? "not running" : number(p, "pid"); }},
          {"UPTIME",
           [](auto& p) {
             auto ms = parse_int<std::int64_t>(number(p, "uptime_ms"));
             return ms ? cli::human_age(*ms) : "";
           }},
          {"MEMORY",
           [](auto& p) {
             auto bytes = parse_int<std::uint64_t>(number(p, "memory_bytes"));
             return bytes ? cli::human_bytes(*bytes) : "";
           }},
          {"RESTARTS", [](auto& p) { return number(p, "restarts"); }},
          {"LISTENS", [=](auto& p) { return text(p, "url"); }},
          {"PROBLEM", [=](auto& p) { return text(p, "problem"); }}};
}

Result<int> status(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  TRY(config, load_config(context));
  TRY(holder, find_holder(config.state), "look for the supervisor (as root?)");
  if (!holder) {
    out.object({{"running", false}, {"state", config.state}, {"start", "glovebox up --detach"}});
    return 3;
  }
  std::int64_t now = system_clock().unix_ms();
  auto written = read_endpoints(config.state);
  if (!written && written.error().code != Code::not_found) return std::move(written.error());
  // Not there yet: it has only just begun.
  Endpoints endpoints =
      written ? std::move(*written) : Endpoints{.pid = (*holder).pid, .started_ms = now};
  json::array parts = parts_of(endpoints, now);
  json::object shown{{"running", true}, {"state", config.state}, {"pid", holder->pid}};
  auto boxes = count_boxes(context, config.state, endpoints);
  if (!boxes) shown["sandboxes_error"] = boxes.error().what;
  auto brain = ask_brain(context, config.state, endpoints);
  if (!brain) shown["brain_error"] = brain.error().what;
  if (out.json()) {
    shown["brain"] = brain && !brain->empty() ? json::value(*brain) : json::value(nullptr);
    shown["uptime_ms"] = now - endpoints.started_ms;
    shown["sandboxes"] = boxes ? json::value(*boxes) : json::value(nullptr);
    shown["parts"] = std::move(parts);
    out.object(shown);
    return 0;
  }
  shown["uptime"] = cli::human_age(now - endpoints.started_ms);
  std::string summary;
  if (boxes)
    for (const auto& count : *boxes)
      summary += str(summary.empty() ? "" : ", ", json::serialize(count.value()), " ",
                     std::string_view(count.key()));
  if (boxes) shown["sandboxes"] = summary.empty() ? "none" : summary;
  if (brain && !brain->empty()) {
    shown["model"] = cli::text_at(json::value(*brain), "/model/about");
    shown["sessions"] = cli::text_of(*brain, "sessions_running") + " running";
  }
  out.object(shown);
  out.text("\n");
  out.list(parts, columns());
  return 0;
}

}  // namespace

const cli::Command kStatus{
    .name = "status",
    .usage = "status",
    .help = "Say what runs: parts, addresses, memory, sandboxes. Exit code 3 when nothing does.",
    .run = status};

}  // namespace glovebox::app
