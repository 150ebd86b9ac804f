#include <algorithm>

#include "base/log.h"
#include "base/metrics.h"
#include "net/deadline.h"
#include "net/task.h"
#include "orchestrator/boxes.h"
#include "runner/result.h"
#include "runner/retry.h"

namespace glovebox::orchestrator {

using runner::ToolCall;
using runner::ToolResult;

namespace {

metrics::Counter lost("orchestrator_boxes_lost_total",
                      "Boxes that were gone when their session needed them.");

constexpr std::string_view kLost =
    "The sandbox of this session was lost, with all its files and running processes. A new, empty "
    "sandbox has taken its place. This tool call was not carried out in it.";

bool is_lost(const Error& error) {
  return error.tag == "SANDBOX_TERMINATED" || error.tag == "SANDBOX_NOT_FOUND";
}

// What is wrong with the call itself is for the model to know.
bool is_the_calls_fault(const Error& error) {
  return error.code == Code::invalid || error.code == Code::too_large ||
         error.tag == "UNKNOWN_TOOL";
}

}  // namespace

Task<void> BoxHands::open() {
  auto what = known_.empty() ? Boxes::For::new_burst : Boxes::For::in_use;
  CO_TRY(box, co_await boxes_->get(name_, what, wish_));
  box_ = box.id;  // whatever comes of it: close() puts it away
  if (prepare_) CO_TRY_DO(co_await prepare_(box.id));
  lost_ = !known_.empty() && known_ != box.id;
  on_box_(box.id);
  co_return ok;
}

bool BoxHands::has(std::string_view tool) const {
  constexpr std::string_view kTools[] = {"bash", "read", "write", "edit", "glob", "grep"};
  return std::ranges::find(kTools, tool) != std::end(kTools);
}

// The box is running again, or another one is.
Task<void> BoxHands::renew() {
  CO_TRY(box, co_await boxes_->get(name_, Boxes::For::in_use, wish_));
  if (box.id == box_) co_return ok;
  if (prepare_) CO_TRY_DO(co_await prepare_(box.id));
  lost_ = true;
  ++generation_;
  box_ = box.id;
  on_box_(box.id);
  co_return ok;
}

Task<ToolResult> BoxHands::call(ToolCall call) {
  auto result = co_await carry_out(call);
  // It may be running in there, even where we did not get as far as to hear so.
  if (!result && result.error().code == Code::cancelled) boxes_->end_call(box_, call.id);
  co_return result;
}

Task<ToolResult> BoxHands::carry_out(ToolCall call) {
  const BoxOptions& options = boxes_->options();
  net::Deadline deadline(options.patience);
  for (int attempt = 0;; ++attempt) {
    if (std::exchange(lost_, false)) {
      lost.add();
      log::error("box.lost", {{"name", name_}, {"box", box_}, {"call", call.id}});
      co_return runner::error_result(kLost);
    }
    auto result = co_await boxes_->call(box_, call);
    if (result) co_return result;
    const Error& error = result.error();
    if (is_the_calls_fault(error)) co_return runner::error_result("Error: " + error.what);
    const bool stirred = is_lost(error) || error.tag == "SANDBOX_NOT_RUNNING";
    if (stirred) {
      CO_TRY_DO(co_await renew());
      if (lost_) continue;
    }
    // The engine restarts: the same key joins the call that goes on in the box.
    if (!stirred && !may_pass(error)) co_return result;
    if (deadline.left() <= 0ms) co_return result;
    CO_TRY_DO(co_await net::sleep(
        runner::jittered(runner::doubled(options.first_retry, attempt, options.longest_retry))));
  }
}

Task<void> BoxHands::close(End how) {
  if (!wish_.ephemeral || how != End::clean || box_.empty()) co_return ok;
  // Where this fails it goes when it has been idle, or when the next burst finds it.
  auto removed = co_await boxes_->api().remove(box_);
  if (!removed && removed.error().code == Code::cancelled) co_return removed;
  if (!removed) log::warn("box.remove", {{"box", box_}, {"error", removed.error().what}});
  co_return ok;
}

}  // namespace glovebox::orchestrator
