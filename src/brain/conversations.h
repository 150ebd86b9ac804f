// Conversations kept from request to request: a long one is not read again for each of its steps,
// nor when its session wakes after a rest. Any may be forgotten at any time; the store has them
// all.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "brain/conversation.h"
#include "brain/store.h"

namespace glovebox::brain {

class Conversations {
 public:
  explicit Conversations(SessionStore& store) : store_(store) {}

  // Up to the last event of the session, which is at work from now on.
  Result<std::shared_ptr<Conversation>> of(const std::string& session);
  // The session is at rest: it may be for ever.
  void rest(const std::string& session);
  void forget(const std::string& session);
  std::size_t kept() const { return all_.size(); }

 private:
  struct Kept {
    std::shared_ptr<Conversation> conversation;
    std::size_t bytes = 0;  // as they count in the sums
    bool resting = false;
    std::uint64_t used = 0;  // the larger, the later
  };
  using Place = std::map<std::string, Kept, std::less<>>::iterator;
  enum class Among { all, resting };

  void count(Kept& kept, bool resting);
  void drop(Place place);
  void make_room(Among among);

  SessionStore& store_;
  std::map<std::string, Kept, std::less<>> all_;
  std::size_t bytes_ = 0, resting_bytes_ = 0;
  std::uint64_t clock_ = 0;
};

}  // namespace glovebox::brain
