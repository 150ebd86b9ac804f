#include "brain/conversations.h"

namespace glovebox::brain {
namespace {

constexpr std::size_t kPageBytes = 4 << 20;    // of events read at once
constexpr std::size_t kRoom = 64 << 20;        // for all of them
constexpr std::size_t kRestingRoom = 8 << 20;  // for those of sessions at rest
constexpr std::size_t kEach = 4 << 10;         // of an empty one, about
constexpr std::size_t kShort = 128 << 10;      // of events; reading so few again is as good

}  // namespace

void Conversations::count(Kept& kept, bool resting) {
  bytes_ -= kept.bytes;
  if (kept.resting) resting_bytes_ -= kept.bytes;
  kept.bytes = kept.conversation->bytes() + kEach;
  kept.resting = resting;
  bytes_ += kept.bytes;
  if (kept.resting) resting_bytes_ += kept.bytes;
}

void Conversations::drop(Place place) {
  bytes_ -= place->second.bytes;
  if (place->second.resting) resting_bytes_ -= place->second.bytes;
  all_.erase(place);
}

// What was not used for longest goes first.
void Conversations::make_room(Among among) {
  auto too_many = [&] {
    return among == Among::resting ? resting_bytes_ > kRestingRoom : bytes_ > kRoom;
  };
  while (too_many()) {
    Place oldest = all_.end();
    for (Place at = all_.begin(); at != all_.end(); ++at)
      if ((among == Among::all || at->second.resting) &&
          (oldest == all_.end() || at->second.used < oldest->second.used))
        oldest = at;
    drop(oldest);
  }
}

Result<std::shared_ptr<Conversation>> Conversations::of(const std::string& session) {
  Kept& kept = all_[session];
  if (!kept.conversation) kept.conversation = std::make_shared<Conversation>();
  kept.used = ++clock_;
  auto mine = kept.conversation;
  for (;;) {
    TRY(page, store_.events(session, {.after = mine->last_seq(), .max_bytes = kPageBytes}),
        "events of ", session);
    if (page.empty()) break;
    for (const Event& event : page) mine->add(event);
  }
  count(kept, false);
  make_room(Among::all);
  return mine;
}

void Conversations::rest(const std::string& session) {
  auto found = all_.find(session);
  if (found == all_.end()) return;
  if (found->second.conversation->read() < kShort) return drop(found);
  count(found->second, true);
  make_room(Among::resting);
}

void Conversations::forget(const std::string& session) {
  if (auto found = all_.find(session); found != all_.end()) drop(found);
}

}  // namespace glovebox::brain
