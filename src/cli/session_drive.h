// One turn of a session, followed: sends the prompt, shows what happens, asks the person who sits
// there where the agent has to ask, ends with the turn.
#pragma once

#include <optional>
#include <string>

#include "cli/brain_client.h"
#include "cli/event_text.h"

namespace glovebox::cli {

struct DriveSpec {
  std::string session;
  std::optional<std::string> prompt;  // none: the turn that runs, or the last one
  bool json = false;                  // events as they are, one per line
  Style style;
  bool can_ask = false;          // stdin and stderr are a person's
  bool fresh = false;            // nothing was said in it yet
  std::string environment = {};  // whose workers execute the tool calls
  Millis patience{10'000};       // with them, before the person is told that there are none
  Millis lost_after{300'000};    // how long a brain is looked for that has gone away
};

struct Driven {
  enum class How {
    done,         // the turn ended by itself
    failed,       // the turn ended with an error
    terminated,   // there is no session any more that could go on
    lost,         // the brain is not to be reached; the session goes on there
    interrupted,  // by a Ctrl-C here
    left,         // by a signal; the session goes on
  } how = How::done;
  int signal = 0;
  int code() const;  // 0, 1, 5, 6, 130, 128 + signal
};

// The stream is open before the message is sent, so no event is missed. A stream that breaks is
// opened again and the history read; no event is shown twice, and nothing is said twice.
Result<Driven> drive(BrainClient& brain, DriveSpec spec, Output& out);

// {"events": [one]} of a message.
std::string message_events(std::string_view text);
std::string confirmation_events(std::string_view tool_use_id, bool allow, std::string_view message);

}  // namespace glovebox::cli
