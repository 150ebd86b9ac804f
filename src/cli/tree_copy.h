// `cp` of directories: a tar in the sandbox, ours here, and a process's streams between them.
#pragma once

#include "cli/engine_client.h"
#include "cli/local_file.h"
#include "cli/output.h"

namespace glovebox::cli {

Result<void> copy_tree_in(EngineClient& engine, const CopyEnd& from, const CopyEnd& to);
// Below a directory that is there, as `cp` does it; or with what is there already, and without
// links that lead out of it.
enum class Onto { below, merged };
Result<void> copy_tree_out(EngineClient& engine, const CopyEnd& from, const CopyEnd& to,
                           Output& out, Onto onto = Onto::below);

}  // namespace glovebox::cli
