// One process in a box, tied to this one: its streams are ours, our signals are its signals, its
// end is our end.
#pragma once

#include <string>

#include "cli/engine_client.h"
#include "cli/exec_frames.h"
#include "cli/meter.h"

namespace glovebox::cli {

struct AttachSpec {
  std::string hello;      // the first message: see exec_frames.h
  bool terminal = false;  // ours becomes raw; keys, size and Ctrl-C belong to the other side
  bool forward_stdin = true;
  int stdin_fd = 0, stdout_fd = 1;  // others for what we make or take ourselves
  Meter* meter = nullptr;           // of the bytes through these
};
// How the process ended. Also: an error when it could not be started, or when the connection broke.
Result<Exited> attach(EngineClient& engine, const std::string& name, AttachSpec spec);
// The same as an exit code of ours: the command's own, 128 + signal, and 4 when it ran out of its
// time. Says on stderr what the code alone does not tell.
int report_exit(const Exited& exited, Output& out);

}  // namespace glovebox::cli
