#include <boost/json.hpp>

#include "cli/brain_client.h"
#include "cli/commands.h"
#include "cli/json_text.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::vector<Column> columns() {
  return {{"ID", [](auto& k) { return text_of(k, "id"); }},
          {"NAME", [](auto& k) { return text_of(k, "name"); }},
          {"KEY", [](auto& k) { return text_of(k, "hint"); }},
          {"AGE", [](auto& k) { return age_of(text_of(k, "created_at")); }},
          {"REVOKED", [](auto& k) { return age_of(text_of(k, "revoked_at")); }}};
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("ENVIRONMENT"));
  TRY_DO(args.done());
  TRY(brain, BrainClient::open(context));
  TRY(id, brain->environment_id(name));
  TRY(keys, brain->list(str("/glovebox/v1/environments/", http::encode_path(id), "/keys")),
      "keys of ", name);
  out.list(keys, columns());
  return 0;
}

const Command kEnvironmentKeyLs{
    .name = "environment key ls",
    .usage = "environment key ls ENVIRONMENT",
    .help = "List the keys of an environment: which there are, never what they are.",
    .run = run};

}  // namespace glovebox::cli
