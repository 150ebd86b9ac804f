// What a client may send into a session, checked for its shape alone. Whether it makes sense just
// now is for Sessions to say.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace boost::json {
class array;
}

namespace glovebox::brain {

struct ClientEvent {
  enum class Kind { message, system, interrupt, confirmation, result, custom_result };
  Kind kind = Kind::message;
  std::string type;   // "user.message"
  std::string id;     // sevt_…, made here
  std::string json;   // the stored object: type, id, and what is known of what was sent
  std::string where;  // "events[2]", for what is found wrong with it later
  std::string call;   // of confirmations and results: the id they are about
  bool allow = false;
  std::string deny_message;
  std::string thread;  // session_thread_id of an interrupt, if given
};

enum class ClientEvents {
  sent,     // POST …/events
  initial,  // initial_events of a new session: messages only
};

// All of them, or an error that names the member: "events[0].content[1].source.type: …".
Result<std::vector<ClientEvent>> check_client_events(const boost::json::array& events,
                                                     ClientEvents what);

}  // namespace glovebox::brain
