// What an engine and its launcher say to each other over a SEQPACKET socket: one message each,
// descriptors beside it. The launcher outlives engines: it is the parent of all boxes, knows how
// each ended, and tells the next engine what there is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wire/bytes.h"

namespace glovebox::wire {

// The version stands in the name of the socket. An engine of another version finds no launcher and
// starts its own; the old one stays the parent of its boxes and goes when the last of them has
// ended.
inline constexpr const char* kLauncherSocket = "launcher-4.sock";
inline constexpr std::size_t kLauncherMessage = 128 * 1024;

enum class LauncherType : std::uint8_t {
  // engine → launcher; each is answered by one `done`, `failed`, `launched` or a row of `box` and
  // `done`, with its seq
  prepare = 1,  // PrepareBox: make a blank, a box that waits to be told what it is
  launch =
      2,     // LaunchBox, with the hand's listening socket: a prepared blank becomes a running box
  list = 3,  // tell of all blanks and boxes
  forget = 4,  // text id: of a box whose end was noted
  retire = 5,  // go away; blanks end, boxes live on
  // launcher → engine
  done = 64,
  failed = 65,    // wire error
  launched = 66,  // u32 pid of the hand, on the host
  box = 67,       // BoxNote
  exited = 68,    // BoxNote, unasked (seq 0)
};

struct BoxLimits {
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpu_millis = 1000;
  std::uint64_t pids = 0;
  bool operator==(const BoxLimits&) const = default;
};

std::string hosts_file(std::string_view hostname);  // of a box

struct BoxTerms {  // what holds for all processes of a box
  BoxLimits limits;
  std::uint64_t max_file_bytes = 0;
  std::vector<std::string> env;
  std::string cwd, user;
  bool operator==(const BoxTerms&) const = default;
};

struct PrepareBox {
  std::string id;
  std::uint32_t base = 0;           // first user id
  std::string image_root, box_dir;  // below the state directory
  std::string usr_mask;             // likewise; empty: the image brings its own /usr
  BoxTerms terms;                   // what most boxes ask for
  bool spare = false;  // of the usual image and without anybody's files: the next engine may use it
};
std::string encode(const PrepareBox& message);
Result<PrepareBox> decode_prepare(std::string_view payload);

struct LaunchBox {
  std::string id;
  std::string hostname;
  BoxTerms terms;
};
std::string encode(const LaunchBox& message);
Result<LaunchBox> decode_launch(std::string_view payload);

enum class BoxStage : std::uint8_t { blank = 0, launching = 1, running = 2, exited = 3 };
struct BoxNote {
  std::string id;
  BoxStage stage = BoxStage::blank;
  std::uint32_t base = 0;
  std::uint32_t pid = 0;
  std::int32_t wait_status = 0;  // of the hand, once exited
  bool spare = false;            // as it was prepared
};
std::string encode(const BoxNote& note);
Result<BoxNote> decode_note(std::string_view payload);

struct LauncherMessage {
  LauncherType type{};
  std::uint32_t seq = 0;
  std::string payload;
};
std::string encode(const LauncherMessage& message);
Result<LauncherMessage> decode_launcher(std::string_view packet);

}  // namespace glovebox::wire
