// What a session's metadata asks to have in its box (wire/session_sources.h), fetched and put there
// before the first call. Bytes are carried from here, in pieces, and read by nobody but programs of
// the box: archives by its tar, a repository's pack by its git, without network and without hooks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/boxes.h"
#include "orchestrator/web.h"
#include "runner/service.h"
#include "wire/session_sources.h"

namespace glovebox::orchestrator {

// Errors with this tag say what a session asked for and cannot have: no attempt will change that.
inline constexpr const char* kSessionFiles = "SESSION_FILES";

struct FilePolicy {
  WebRules web;
  std::vector<std::string> directories;  // "NAME=/path"
  std::uint64_t bytes = 1 << 30;         // of all that is fetched for one box
  Millis time{300'000};                  // and how long that may take
  Millis retry{1'000};                   // before another attempt at one that was not to be had
};

// Where files of the service come from; of ours those that the metadata names.
struct FileService {
  std::shared_ptr<runner::Service> service;
  runner::Bearer bearer;
  bool ours = false;
};

// To be called with each box that the session gets, and as often as one likes: what was placed once
// stays as the session left it, below `kept` (paths of volumes that outlive the box) in the next
// box too. Nothing where there is nothing to place.
Preparation placing(net::Loop& loop, std::shared_ptr<Boxes> boxes, const FilePolicy& policy,
                    FileService service, std::string session, wire::SessionSources sources,
                    std::vector<std::string> kept);

// The directory's path; Code::forbidden where the operator named no such one.
Result<std::string> directory_named(const std::vector<std::string>& directories,
                                    const std::string& name);
// Where a volume that files are taken from is mounted.
std::string source_mount(const std::string& volume);

}  // namespace glovebox::orchestrator
