// An archive, read by a process of its own that lives for this one archive. It holds the archive
// and nothing else, can only write to us, and whatever becomes of it is an error here.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "net/loop.h"
#include "runner/skill_archive.h"

namespace glovebox::runner {

// `program` is the path of glovebox-unpack. An error is a reason to refuse the archive: it is not
// one, breaks a limit, took too long, or broke its reader.
std::function<Task<std::vector<Member>>(std::string archive)> unpacker(net::Loop& loop,
                                                                       std::string program,
                                                                       ArchiveLimits limits = {});
Task<std::vector<Member>> unpack(net::Loop& loop, std::string program, std::string archive,
                                 ArchiveLimits limits);

}  // namespace glovebox::runner
