#include <boost/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::string member(const json::object& image, std::string_view name) {
  const json::value* value = image.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : "";
}
static std::int64_t number(const json::object& image, std::string_view name) {
  const json::value* value = image.if_contains(name);
  return value && value->is_int64() ? value->as_int64() : 0;
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(engine, EngineClient::open(context));
  TRY(answer, engine->request("GET", "/images"));
  json::value* images = answer.if_contains("images");
  if (!images || !images->is_array())
    return Error{Code::internal, "the engine's list has no 'images'"};
  if (!out.json())
    images->as_array().push_back(
        json::object{{"name", "host"}, {"source", "this machine's own programs"}});
  std::int64_t now = system_clock().unix_ms();
  out.list(images->as_array(),
           {{"NAME", [](auto& image) { return member(image, "name"); }},
            {"ID", [](auto& image) { return member(image, "id").substr(0, 19); }},
            {"SIZE",
             [](auto& image) {
               if (!image.contains("id")) return std::string();
               return human_bytes(static_cast<std::uint64_t>(number(image, "size_bytes")));
             }},
            {"AGE",
             [now](auto& image) {
               if (!image.contains("id")) return std::string();
               return human_age(now - number(image, "created_at"));
             }},
            {"SANDBOXES", [](auto& image) { return text_of(image, "sandboxes"); }},
            {"SOURCE", [](auto& image) { return member(image, "source"); }}});
  return 0;
}

const Command kImageLs{.name = "image ls",
                       .usage = "image ls",
                       .help =
                           "List the images.\n"
                           "\n"
                           "'host' is always there: this machine's own programs, without import.",
                       .run = run};

}  // namespace glovebox::cli
