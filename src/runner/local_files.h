// Skills and memories in folders of this host, where a session's hand works beside the worker. The
// agent may write to them at any time and as the same user: every path is walked part by part, and
// no link is followed below the folder that was configured.
#pragma once

#include <memory>
#include <string>

#include "net/loop.h"
#include "runner/files.h"
#include "runner/memory_folder.h"

namespace glovebox::runner {

// `pool` outlives them.
std::shared_ptr<Files> local_files(net::Pool& pool, std::string work_directory);
std::shared_ptr<MemoryFolder> local_memory_folder(net::Pool& pool, std::string root);

}  // namespace glovebox::runner
