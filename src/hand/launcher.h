// The launcher: the small process that makes boxes and is their parent. It forks without exec, so a
// box's first process costs no program start; it outlives engines, so boxes do too; it reaps, so it
// knows how each box ended. It holds no secret and nothing of any box, because every box begins as
// a copy of it.
#pragma once

namespace glovebox::hand {

// glovebox-hand launcher --socket-fd N --state-dir DIR --instance ID
int launcher_main(int argc, char** argv);

}  // namespace glovebox::hand
