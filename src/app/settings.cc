// What counts here, of all that can be set.
#include <algorithm>
#include <boost/json.hpp>
#include <iterator>

#include "app/commands.h"
#include "app/config.h"

namespace glovebox::app {

namespace json = boost::json;

static Result<int> run(cli::Context& context, cli::Args& args, cli::Output& out) {
  bool changed_only = args.flag("--changed");
  TRY_DO(args.done());
  TRY(config, load_config(context));
  json::array items;
  std::vector<ShownSetting> all = shown(config);
  std::ranges::move(other_variables(context.env), std::back_inserter(all));
  for (const ShownSetting& one : all)
    if (!changed_only || one.value != one.usual)
      items.push_back(
          json::object{{"setting", one.key.empty() ? json::value() : json::value(one.key)},
                       {"value", one.value},
                       {"default", one.usual},
                       {"variable", one.variable}});
  auto text = [](const char* member) {
    return [member](const json::object& item) { return std::string(item.at(member).as_string()); };
  };
  auto name = [](const json::object& item) {
    const json::value& setting = item.at("setting");  // null: a variable that is none
    return std::string((setting.is_null() ? item.at("variable") : setting).as_string());
  };
  out.list(items, {{"SETTING", name},
                   {"VALUE", text("value")},
                   {"DEFAULT", [](const json::object& item) {
                      const bool same = item.at("value") == item.at("default");
                      const json::string& usual = item.at("default").as_string();
                      return same ? "" : usual.empty() ? "(empty)" : std::string(usual);
                    }}});
  return 0;
}

const cli::Command kSettings{
    .name = "settings",
    .usage = "settings [--changed]",
    .help =
        "List what can be set, and what counts here.\n"
        "\n"
        "engine.listen is the key 'listen' of section [engine] in the configuration, a TOML file\n"
        "(--config, GLOVEBOX_CONFIG, /etc/glovebox/glovebox.toml), and the variable\n"
        "GLOVEBOX_ENGINE_LISTEN, which beats the file; in variables commas stand between the\n"
        "items of a list. A DEFAULT is shown where it was changed; --changed lists these alone.\n"
        "It is what the next 'glovebox up' takes, with the environment this runs in. Last come\n"
        "variables that are no settings. Other ones that begin with GLOVEBOX_ are warned of.",
    .run = run};

}  // namespace glovebox::app
