#include "cli/image_job.h"

#include <boost/json.hpp>

#include "cli/meter.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::uint64_t number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_number() ? value->to_number<std::uint64_t>() : 0;
}
static std::string text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : "";
}

Result<json::object> follow_image_job(EngineClient& engine, const std::string& path,
                                      std::string body, Output& out) {
  Meter meter("", 0);
  std::string step;
  std::optional<Result<json::object>> end;
  auto hear = [&](const http::SseEvent& event) -> Result<void> {
    boost::system::error_code wrong;
    json::value value = json::parse(event.data, wrong);
    if (wrong || !value.is_object()) return Error{Code::internal, "the engine talks nonsense"};
    json::object& said = value.as_object();
    if (event.event == "done") {
      end = std::move(said);
    } else if (event.event == "error") {
      end = engine.explain(Error{code_of_status(static_cast<int>(number(said, "status"))),
                                 printable(text(said, "error")), text(said, "code")});
    } else if (said.contains("line")) {
      meter.end();
      step = text(said, "line");
      out.note(printable(step));
      meter.begin(step, 0);
    } else if (said.contains("done")) {
      if (std::uint64_t of = number(said, "of"); of > 0) meter.expect(of);
      meter.show(number(said, "done"));
    }
    return ok;
  };
  TRY_DO(engine.follow("POST", path, std::move(body), hear));
  meter.end();
  if (!end) return Error{Code::unavailable, "the engine broke off; is it still running?"};
  return std::move(*end);
}

}  // namespace glovebox::cli
