#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/str.h"
#include "cli/command.h"
#include "cli/suggest.h"

extern char** environ;

namespace glovebox::cli {

namespace {

// Options every command has may stand anywhere before `--`; what is left belongs to the command.
struct Split {
  std::vector<std::string> global, own;
};

Split split_global(const std::vector<std::string>& words) {
  constexpr std::string_view kValued[] = {"--url", "--state", "--config"};
  constexpr std::string_view kFlags[] = {"--json", "--text", "--help", "-h"};
  Split out;
  bool behind = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    behind |= word == "--";
    std::string_view name = std::string_view(word).substr(0, word.find('='));
    bool valued = !behind && std::ranges::find(kValued, name) != std::end(kValued);
    bool flag = !behind && std::ranges::find(kFlags, name) != std::end(kFlags);
    (valued || flag ? out.global : out.own).push_back(word);
    if (valued && name == word && i + 1 < words.size()) out.global.push_back(words[++i]);
  }
  return out;
}

// "sandbox create" is two words, "environment key ls" three; the longest name wins.
const Command* find(Commands commands, const std::vector<std::string>& words, std::size_t* used) {
  for (std::size_t count : {3u, 2u, 1u}) {
    if (words.size() < count) continue;
    std::string name = words[0];
    for (std::size_t i = 1; i < count; ++i) name += ' ' + words[i];
    for (const Command* command : commands)
      if (command->name == name) return *used = count, command;
  }
  return nullptr;
}

std::vector<std::string> names(Commands commands) {
  std::vector<std::string> out;
  for (const Command* command : commands)
    if (command->kind == Command::Kind::normal) out.emplace_back(command->name);
  out.emplace_back("help");
  return out;
}

// The first sentence of a command's help. "ghcr.io" ends none, nor does a line that goes on.
std::string summary(const Command& command) {
  std::string text;
  for (char c : command.help) {
    if (c == '\n' && text.ends_with('\n')) break;  // an empty line: there was no full stop
    if ((c == '\n' || c == ' ') && text.ends_with('.')) break;
    text += c;
  }
  while (text.ends_with('\n') || (text.ends_with('.') && !text.ends_with("..."))) text.pop_back();
  std::ranges::replace(text, '\n', ' ');
  return text;
}

// "glovebox help sessions": the commands that begin so; "" where there are none.
std::string group_text(Commands commands, const std::vector<std::string>& words) {
  std::string first, text;
  for (const std::string& word : words) first += word + ' ';
  for (const Command* command : commands)
    if (command->kind == Command::Kind::normal && command->name.starts_with(first))
      text += str("usage: glovebox ", command->usage, "\n    ", summary(*command), "\n");
  return text;
}

Error unknown_command(Commands commands, const std::vector<std::string>& words) {
  // As far as the words are the beginning of some command's name.
  for (std::size_t count : {2u, 1u}) {
    if (words.size() < count) continue;
    std::string first = count == 2 ? str(words[0], ' ', words[1]) : words[0];
    std::vector<std::string> below;
    for (const std::string& name : names(commands))
      if (name.starts_with(first + " ")) below.push_back(name.substr(first.size() + 1));
    if (below.empty()) continue;
    std::string list;
    for (const std::string& name : below) list += str(list.empty() ? "" : ", ", name);
    if (words.size() == count) return usage_error(str(first, " does what? One of: ", list));
    return usage_error(str("there is no command '", first, ' ', words[count], "'",
                           did_you_mean(words[count], below), " (", first, ": ", list, ")"));
  }
  std::vector<std::string> first;
  for (const std::string& name : names(commands)) first.push_back(split(name, ' ')[0]);
  return usage_error(str("there is no command '", words[0], "'", did_you_mean(words[0], first),
                         " ('glovebox help' lists them)"));
}

Result<int> run(Commands commands, Context& context, Args& global, std::vector<std::string> words,
                Output& out) {
  bool help = global.flag("--help") || global.flag("-h");
  if (!words.empty() && words[0] == "help") {
    help = true;
    words.erase(words.begin());
  }
  if (words.empty()) {
    out.text(help_text(commands));
    return help ? 0 : 2;
  }
  if (words[0] == "--version") words[0] = "version";
  std::size_t used = 0;
  const Command* command = find(commands, words, &used);
  if (std::string text = command || !help ? "" : group_text(commands, words); !text.empty()) {
    out.text(text);
    return 0;
  }
  if (!command) return unknown_command(commands, words);
  if (help) {
    std::string below = group_text(commands, words);  // 'session' has 'session outputs'
    out.text(str(help_text(*command), below.empty() ? "" : "\n", below));
    return 0;
  }
  auto with_usage = [&](Error error) {
    if (is_usage_error(error)) error.what += "\n" + usage_text(*command);
    return error;
  };
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(used));
  auto args = Args::parse(command->usage, words);
  if (!args) return with_usage(std::move(args.error()));
  auto code = command->run(context, *args, out);
  if (!code) return with_usage(std::move(code.error()));
  TRY_DO(out.written(), "standard output");
  return code;
}

}  // namespace

Environment process_environment() {
  Environment out;
  for (char** entry = environ; *entry; ++entry) {
    std::string_view text = *entry;
    if (std::size_t equals = text.find('='); equals != text.npos)
      out.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

std::optional<std::string> Context::variable(std::string_view name) const {
  auto found = env.find(name);
  if (found == env.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

Result<std::string> Context::state_dir() const {
  if (state) return *state;
  if (auto set = variable("GLOVEBOX_STATE")) return *set;
  if (configured_state) {
    TRY(found, configured_state(*this));
    if (found) return *found;
  }
  return std::string("/var/lib/glovebox");
}

std::string help_text(Commands commands) {
  std::size_t widest = 0;
  for (const Command* command : commands)
    if (command->kind == Command::Kind::normal) widest = std::max(widest, command->name.size());
  std::string text = "Glovebox: sealed sandboxes for AI agents.\n\nusage: glovebox COMMAND …\n\n";
  std::string_view before;
  bool last_alone = false;
  for (const Command* command : commands) {
    if (command->kind != Command::Kind::normal) continue;
    // What belongs together stands together: the commands of one first word.
    const std::string_view group = command->name.substr(0, command->name.find(' '));
    const bool alone = group == command->name;
    if (!before.empty() && group != before && !(alone && last_alone)) text += '\n';
    before = group;
    last_alone = alone;
    text += str("  ", command->name, std::string(widest - command->name.size() + 2, ' '),
                summary(*command), "\n");
  }
  text += str(
      "\nEvery command takes:\n"
      "  --json, --text  what to print, whether or not stdout is a terminal\n"
      "  --url=URL       where it is, if not here: the brain for session, agent, environment,\n"
      "                  webhook and work (GLOVEBOX_BRAIN_URL), the engine for all that is about\n"
      "                  sandboxes (TENSORLAKE_API_URL)\n"
      "  --state=DIR     the state directory (GLOVEBOX_STATE; /var/lib/glovebox)\n"
      "  --config=FILE   the configuration (GLOVEBOX_CONFIG; /etc/glovebox/glovebox.toml)\n"
      "Keys come from the state directory, TENSORLAKE_API_KEY and ANTHROPIC_API_KEY, never from\n"
      "a flag.\n"
      "'glovebox help COMMAND' says more. Exit codes: 0 done, 1 refused or failed, 2 wrong usage,\n"
      "3 not found, 4 timed out.\n");
  return text;
}

// The usage in lines that fit; a word in brackets may be several.
std::string usage_text(const Command& command) {
  constexpr std::size_t kWidth = 96;
  std::string text = "usage: glovebox";
  std::size_t at = text.size();
  int depth = 0;
  for (const std::string& word : split(command.usage, ' ')) {
    if (depth == 0 && at + 1 + word.size() > kWidth) {
      text += "\n       ";
      at = 7;
    }
    text += ' ' + word;
    at += 1 + word.size();
    for (char c : word) depth += c == '[' ? 1 : c == ']' ? -1 : 0;
  }
  return text;
}

std::string help_text(const Command& command) {
  return str(usage_text(command), "\n\n", command.help, "\n");
}

int exit_code(const Error& error) {
  if (is_usage_error(error)) return 2;
  if (error.code == Code::not_found || error.code == Code::gone) return 3;
  if (error.code == Code::timeout) return 4;
  return 1;
}

int run_program(Commands commands, Context context, const std::vector<std::string>& words,
                const std::function<Output(Output::Format)>& make_output, bool stdout_is_terminal) {
  Split parts = split_global(words);
  auto global = Args::parse(kGlobalUsage, parts.global);
  auto format = stdout_is_terminal ? Output::Format::text : Output::Format::json;
  if (global && global->flag("--json")) format = Output::Format::json;
  if (global && global->flag("--text")) format = Output::Format::text;
  Output out = make_output(format);
  auto finish = [&](const Error& error) {
    out.note(str("glovebox: ", error.what));
    return exit_code(error);
  };
  if (!global) return finish(global.error());
  if (global->flag("--json") && global->flag("--text"))
    return finish(usage_error("--json and --text exclude each other"));
  for (const char* option : {"--url", "--state", "--config"})  // a variable that was not set
    if (global->option(option) == "") return finish(usage_error(str(option, ": nothing is given")));
  context.json_asked = global->flag("--json");
  context.url = global->option("--url");
  context.state = global->option("--state");
  context.config = global->option("--config");
  context.note = [&out, said = std::set<std::string>()](const std::string& line) mutable {
    if (said.insert(line).second) out.note(line);
  };
  auto code = run(commands, context, *global, std::move(parts.own), out);
  return code ? *code : finish(code.error());
}

}  // namespace glovebox::cli
