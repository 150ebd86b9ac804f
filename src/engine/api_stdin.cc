#include "engine/api_stdin.h"

#include "net/task.h"

namespace glovebox::engine {

constexpr std::size_t kQueueBytes = 1 << 20;

struct StdinFeed::Queue {
  std::shared_ptr<HandLink> hand;
  std::uint64_t handle = 0;
  std::deque<std::string> pieces;
  std::size_t bytes = 0;
  bool ended = false;     // close after the last piece
  bool unwanted = false;  // the process has closed its stdin, or has ended
  net::Event more, room;
};

StdinFeed::StdinFeed(net::Loop& loop, std::shared_ptr<HandLink> hand, std::uint64_t handle)
    : queue_(std::make_shared<Queue>()), task_(loop) {
  queue_->hand = std::move(hand);
  queue_->handle = handle;
  task_.spawn("stdin", work(queue_));
}

StdinFeed::~StdinFeed() = default;  // the task ends soon after; it holds the queue itself

Task<void> StdinFeed::push(std::string bytes) {
  const auto queue = queue_;
  while (queue->bytes >= kQueueBytes && !queue->unwanted)
    CO_TRY_DO(co_await queue->room.wait(net::kForever));
  if (queue->unwanted || queue->ended || bytes.empty()) co_return ok;
  queue->bytes += bytes.size();
  queue->pieces.push_back(std::move(bytes));
  queue->more.notify();
  co_return ok;
}

void StdinFeed::end() {
  queue_->ended = true;
  queue_->more.notify();
}

Task<void> StdinFeed::work(std::shared_ptr<Queue> queue) {
  Result<void> written = ok;
  while (written) {
    if (queue->pieces.empty() && queue->ended) {
      written = co_await queue->hand->close_stdin(queue->handle);
      break;
    }
    if (queue->pieces.empty()) {
      CO_TRY_DO(co_await queue->more.wait(net::kForever));
      continue;
    }
    std::string piece = std::move(queue->pieces.front());
    queue->pieces.pop_front();
    const std::size_t size = piece.size();
    written = co_await queue->hand->write_stdin(queue->handle, std::move(piece));
    queue->bytes -= size;
    queue->room.notify();
  }
  // Refused: as with a broken pipe the writer goes on or not, and the exit tells.
  queue->unwanted = true;
  queue->pieces.clear();
  queue->bytes = 0;
  queue->room.notify();
  co_return ok;
}

}  // namespace glovebox::engine
