#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "app/checks.h"
#include "app/commands.h"
#include "app/program.h"

namespace glovebox::app {

namespace json = boost::json;

std::string_view name(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok: return "ok";
    case Verdict::warn: return "warn";
    case Verdict::missing: return "missing";
  }
  return "unknown";
}

namespace {

// The state directory may not be there yet: its disk is that of what is.
std::string existing_part(std::string path) {
  struct stat info{};
  while (path.size() > 1 && ::stat(path.c_str(), &info) < 0)
    path = path.substr(0, std::max<std::size_t>(1, path.rfind('/')));
  return path;
}

std::string padded(std::string_view text, std::size_t width) {
  return std::string(text) + std::string(width > text.size() ? width - text.size() : 0, ' ');
}

Result<int> doctor(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  TRY(config, load_config(context));
  TRY(program, own_program());
  Machine machine{config, program, existing_part(config.state)};
  json::array all;
  bool sound = true;
  for (auto checks : {kernel_checks(), machine_checks()})
    for (const Check& check : checks) {
      Finding finding = check.look(machine);
      // What is only for later, or for more of it, is never more than a warning.
      if (finding.verdict == Verdict::missing && !check.required) finding.verdict = Verdict::warn;
      sound &= finding.verdict != Verdict::missing;
      all.push_back({{"check", check.name},
                     {"verdict", name(finding.verdict)},
                     {"required", check.required},
                     {"found", finding.found},
                     {"for", check.purpose},
                     {"advice", finding.verdict == Verdict::ok ? json::value(nullptr)
                                                               : json::value(check.advice)}});
      if (out.json()) continue;
      out.text(str(padded(name(finding.verdict), 9), padded(check.name, 18),
                   cli::printable(finding.found), " (", check.purpose, ")\n"));
      if (finding.verdict != Verdict::ok) out.text(str(padded("", 27), "→ ", check.advice, "\n"));
    }
  if (out.json()) {
    out.object({{"ok", sound}, {"checks", std::move(all)}});
  } else {
    out.text(sound ? "\nThis machine runs sandboxes with isolation 'namespace'.\n"
                   : "\nThis machine cannot run sandboxes until what is missing is there.\n");
  }
  return sound ? 0 : 1;
}

}  // namespace

const cli::Command kDoctor{
    .name = "doctor",
    .usage = "doctor",
    .help =
        "Look at this machine, feature by feature, and say what to do about what is not there.\n"
        "\n"
        "Tries the real thing where it can. Exit code 1 when something is missing without which\n"
        "there are no sandboxes.",
    .run = doctor};

}  // namespace glovebox::app
