// What a blank becomes: a program, a terminal's program, a file operation, a tool call. Runs as the
// user it is for, inside the tenant's groups and filter; whatever goes wrong before it has become
// that is told to the hand in words.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hand/hand.h"
#include "sys/packet.h"
#include "wire/hand.h"

namespace glovebox::hand {

// hand → blank, and to a process that has done a tool call: u8 flags, the StartSpec where it is not
// in a file; with these descriptors in this order.
enum StartFlag : std::uint8_t {
  kInFile = 1,     // a memory file with the StartSpec
  kHasInput = 2,   // its stdin; /dev/null without, here and below
  kHasOutput = 4,  // its stdout
  kHasError = 8,   // its stderr
  kIsShell = 16,   // the persistent bash: its ends of the output and the control pipe
  kHasShell = 32,  // of a bash call: the shell's in, out, control, without having asked for them
};
inline constexpr std::size_t kStartMessage = 16 * 1024;
inline constexpr std::size_t kStartFds = 5;

// child → hand. A program that was started says nothing more: exec closes the socket.
enum ChildWord : char {
  kFailed = 'E',  // wire::encode_error: never became what it was to be
  kReady = 'R',   // a file operation, or a tool call that is to have its input, begins; a call that
                  // was given it goes on; or a terminal is there, with its master
  kExec = 'X',    // the program is next: until here a start may be begun again with another blank
  kNeedShell = 'N',  // of a bash call: u8 restart first? What it has is given back
  kOutput = 'O',     // of a tool call: a piece of its result
  // A tool call has ended: u8 ShellWord, the rest of its result. Its process waits for another
  // start, or (it is large by now) for its end.
  kDone = 'F',
  kLast = 'L',
};
inline constexpr std::size_t kChildMessage = 20 * 1024;
inline constexpr std::size_t kResultPiece = 16 * 1024;
enum ShellWord : char { kNoneUsed = 0, kShellUsable = 1, kShellDead = 2 };
// hand → child of a bash call
enum HandWord : char {
  kGrant = 'G',    // the shell's in, out, control
  kNoShell = '-',  // a text: why not
};

// Ends with what it became; a process that did a tool call may be given another start first.
[[noreturn]] void child_main(const Config& config, int socket, sys::Packet start);

// For the parts of the child.
struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::string name, home;
  bool switches = false;  // it is somebody else than we are now
};
// "name", "uid" or "uid:gid", by the box's /etc/passwd and /etc/group; empty: who we are.
Result<Identity> find_identity(const std::string& user);
Result<void> become(const Identity& identity);

std::vector<std::string> merge_env(std::vector<std::string> base,
                                   const std::vector<std::string>& over);
// Returns only if it failed.
Error exec_program(const std::vector<std::string>& argv, const std::vector<std::string>& env);
// Makes a terminal our controlling one and our three streams; its master goes to the hand.
Result<void> open_terminal(int socket, const wire::StartSpec& spec, const Identity& identity);
int run_file(const std::string& verb, const std::string& path);  // the exit code
int run_tree(const std::vector<std::string>& argv);              // the same; see is_tree_verb()
// An absolute folder where only root may make one, made for who is going to be `identity`: memory
// stores have their places wherever the service says.
Result<void> give_folder(const std::string& path, const Identity& identity);
struct ToolCall {
  // After tool and key come the roots beside the work directory: "rw:/path", "ro:/path".
  const std::vector<std::string>& argv;
  const std::string& workdir;
  std::optional<std::string> input;  // none: it comes by stdin
  std::vector<Fd> shell;             // in, out, control, or nothing
};
// Back when the hand has been told the result.
void run_tool_call(int socket, ToolCall call);

}  // namespace glovebox::hand
