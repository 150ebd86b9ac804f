#include "engine/api_state.h"
#include "net/task.h"

namespace glovebox::engine {

constexpr std::size_t kKeptStderr = 4096;

Task<std::shared_ptr<Operation>> Operation::start(std::shared_ptr<HandLink> hand,
                                                  wire::StartSpec spec) {
  const wire::Kind kind = spec.kind;
  if (spec.attach != wire::Attach::alone) spec.attach = wire::Attach::hold;
  auto attachment = co_await hand->start_attached(std::move(spec));
  if (!attachment) co_return after_effect(std::move(attachment.error()));
  co_return std::shared_ptr<Operation>(
      new Operation(std::move(hand), std::move(*attachment), kind));
}

Task<std::shared_ptr<Operation>> Operation::join(std::shared_ptr<HandLink> hand,
                                                 std::uint64_t handle) {
  CO_TRY(attachment, co_await hand->attach(handle, true, 0));
  const wire::Kind kind = attachment->info().kind;
  std::shared_ptr<Operation> joined(new Operation(std::move(hand), std::move(attachment), kind));
  joined->let_go();
  co_return joined;
}

Operation::Operation(std::shared_ptr<HandLink> hand, std::unique_ptr<Attachment> attachment,
                     wire::Kind kind)
    : hand_(std::move(hand)), attachment_(std::move(attachment)), kind_(kind) {}

Operation::~Operation() {
  if (let_go_) return;
  const std::uint64_t handle = info().handle;
  if (!ended_) {
    hand_->signal_now(handle, 9, true);
  } else if (kind_ != wire::Kind::exec) {
    // Ended programs are kept for those who ask later; nobody can ask for a file operation.
    attachment_.reset();
    hand_->forget_now(handle);
  }
}

Task<ProcessEvent> Operation::next(Millis limit) {
  CO_TRY(event, co_await attachment_->next(limit));
  if (std::holds_alternative<ExitedEvent>(event)) ended_ = true;
  co_return event;
}

Task<void> Operation::feed(std::string bytes) {
  const std::uint64_t handle = info().handle;
  auto written = co_await hand_->give_stdin(handle, std::move(bytes));
  if (!written && (written.error().code == Code::cancelled || !hand_->alive())) co_return written;
  co_return ok;
}

Task<Operation::Outcome> Operation::finish(std::size_t limit) {
  Outcome outcome;
  for (;;) {
    CO_TRY(event, co_await next(net::kForever));
    if (auto* exited = std::get_if<ExitedEvent>(&event)) {
      outcome.info = std::move(exited->info);
      co_return outcome;
    }
    auto* output = std::get_if<OutputEvent>(&event);
    // We hold the stream and read from its start: a hole in it is a lie.
    if (!output) co_return Error{Code::internal, "output is missing where none can be"};
    if (output->stream == wire::kStderr) {
      if (outcome.err.size() < kKeptStderr) outcome.err += output->bytes;
    } else if (outcome.out.size() + output->bytes.size() > limit) {
      co_return Error{Code::too_large, str("there is more than ", limit, " bytes of it")};
    } else {
      outcome.out += output->bytes;
    }
  }
}

}  // namespace glovebox::engine
