// What `doctor` looks at, feature by feature. Each check tries the real thing where that is cheap;
// what could harm the process that tries it (namespaces, mounts) is tried in a throw-away one:
// `glovebox probe NAME`.
#pragma once

#include <span>
#include <string>

#include "app/config.h"

namespace glovebox::app {

enum class Verdict { ok, warn, missing };
std::string_view name(Verdict verdict);

struct Finding {
  Verdict verdict = Verdict::ok;
  std::string found;
};

struct Machine {
  Config config;
  std::string program;  // ours, for probes
  std::string disk;     // the state directory, or what exists above it
};

struct Check {
  std::string_view name;
  bool required;             // without it there are no boxes at all
  std::string_view purpose;  // what it is for
  std::string_view advice;   // what to do where it is not ok
  Finding (*look)(const Machine&);
};

std::span<const Check> kernel_checks();
std::span<const Check> machine_checks();

// Runs `glovebox probe WORD…` and gives what it said: Verdict::missing when it failed, or did not
// end in time.
Finding run_probe(const Machine& machine, std::vector<std::string> words);

}  // namespace glovebox::app
