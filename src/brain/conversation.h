// From a session's events to the next request for the model. The same events give the same request,
// byte for byte: prompt caching needs that.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "brain/agent_tools.h"
#include "brain/store.h"

namespace glovebox::brain {

struct RequestLimits {
  std::int64_t context_tokens = 150'000;  // by estimate; beyond it old tool results are left out
  int harder = 0;  // how often the model has said that it was too much: 1, 2, 3 trim more each
  std::int64_t max_tokens = 16'384;  // of the answer
};
constexpr int kHardest = 3;

// Fed with all events of a session in order, a few at a time or all at once: it comes to the same.
class Conversation {
 public:
  Conversation();
  ~Conversation();
  void add(const Event& event);
  std::int64_t last_seq() const;
  std::size_t bytes() const;  // what it keeps, about
  std::size_t read() const;   // bytes of the events it was made of
  Result<std::string> request(const Agent& agent, const RequestLimits& limits) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Memos, which tie events to the conversation:
// of a session.status_running that starts a turn, the messages that the turn is about (a message
// that had to wait stands in the log before the end of the turn it waited for);
std::string takes_memo(const std::vector<std::string>& message_ids);
// of a system.message that came with a result, that nothing takes it up: it stands where it is;
inline constexpr std::string_view kStandsHere = R"({"stands":"here"})";
// of a span.model_request_end, the model's own content blocks.
std::string answer_memo(const std::string& content, const std::string& stop_reason);

}  // namespace glovebox::brain
