// `cp` of directories: a tar in the sandbox, ours here, and a process's streams between them.
#pragma once

#include "cli/engine_client.h"
#include "cli/local_file.h"
#include "cli/output.h"

namespace glovebox::cli {

Result<void> copy_tree_in(EngineClient& engine, const CopyEnd& from, const CopyEnd& to);
Result<void> copy_tree_out(EngineClient& engine, const CopyEnd& from, const CopyEnd& to,
                           Output& out);

}  // namespace glovebox::cli
