// A turn: ask the model, take its answer, until somebody else has to move. A brain that starts
// finds turns in the log and runs them by the same code.

#include <algorithm>
#include <chrono>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "brain/agent_skills.h"
#include "brain/agent_tools.h"
#include "brain/ids.h"
#include "brain/session_memory.h"
#include "brain/sessions_core.h"
#include "net/task.h"

namespace glovebox::brain {

static metrics::Counter requests("brain_model_requests_total", "Requests to the model.");
static metrics::Counter retries("brain_model_retries_total",
                                "Attempts at a request that followed a failed one.");
static metrics::Counter failures("brain_model_failures_total", "Requests given up.");
static metrics::Histogram model_seconds("brain_model_seconds",
                                        "From a request to the end of its answer.");

// What escapes run_turn is a failure of ours (the disk is full), not of the model: the session
// waits for it to go away.
Task<void> Sessions::Impl::drive(std::shared_ptr<Impl> self, std::shared_ptr<Turn> turn) {
  Millis wait = self->options.first_retry;
  // Who caused it waits for the disk, which can work while we make the request for the model.
  CO_TRY_DO(co_await net::yield());
  for (;;) {
    auto ran = co_await self->run_caught(turn);
    if (ran || self->is_over(*turn) || ran.error().code == Code::cancelled) co_return ok;
    log::error("brain.turn", {{"session", turn->session}, {"error", ran.error().what}});
    CO_TRY_DO(co_await net::sleep(wait));
    wait = std::min(2 * wait, self->options.longest_retry);
  }
}

// An exception is a mistake of ours that would come again: the turn ends with it.
Task<void> Sessions::Impl::run_caught(std::shared_ptr<Turn> turn) {
  std::string what;
  try {
    co_return co_await run_turn(turn);
  } catch (const std::exception& e) {
    what = str("exception: ", e.what());
  }
  if (is_over(*turn)) co_return ok;
  co_return fail_turn(turn->session, {Code::internal, what});
}

Task<void> Sessions::Impl::run_turn(std::shared_ptr<Turn> turn) {
  if (is_over(*turn)) co_return ok;
  CO_TRY_DO(take_up(turn->session));
  while (!is_over(*turn)) CO_TRY_DO(co_await ask_once(turn));
  co_return ok;
}

// What a brain that was killed left half done. Nothing, as a rule.
Result<void> Sessions::Impl::take_up(const std::string& session) {
  TRY(change, begin(session));
  change.end_request("true", "", "");
  if (change.state.phase == Phase::rescheduling) change.continue_turn();
  if (change.events.empty()) return ok;
  return finish(change, "brain.turn_taken_up");
}

Task<void> Sessions::Impl::ask_once(std::shared_ptr<Turn> turn) {
  CO_TRY(change, begin(turn->session));
  change.add("span.model_request_start");
  CO_TRY_DO(finish(change, "brain.turn_asked"));
  requests.add();
  auto begun = std::chrono::steady_clock::now();
  auto hearing = std::make_shared<Hearing>();
  auto reply = co_await ask(turn, hearing);
  // The world may have changed: an interrupt has ended this turn, or the brain is closing.
  if (is_over(*turn)) co_return ok;
  if (reply) {
    model_seconds.observe(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
    co_return take_answer(*turn, *hearing, *reply);
  }
  if (reply.error().code == Code::cancelled) co_return std::move(reply.error());
  failures.add();
  co_return fail_turn(turn->session, reply.error());
}

// Too much for the model is asked again with less, as long as there is something to leave out.
Task<ModelReply> Sessions::Impl::ask(std::shared_ptr<Turn> turn, std::shared_ptr<Hearing> hearing) {
  CO_TRY(row, store.session(turn->session));
  CO_TRY(agent, Agent::parse(row.agent));
  for (const auto& more : {skill_prompt(row.agent), memory_prompt(row.resources)})
    if (!more.empty()) agent.system += str(agent.system.empty() ? "" : "\n\n", more);
  RequestLimits limits{.context_tokens = model.context_tokens()};
  std::size_t asked = 0;  // a hash: requests are long, and this one waits for a long time
  for (;;) {
    CO_TRY(talk, conversations.of(turn->session));
    CO_TRY(request, talk->request(agent, limits));
    talk.reset();
    if (std::size_t hash = std::hash<std::string>()(request); std::exchange(asked, hash) == hash) {
      if (limits.harder == kHardest)
        co_return Error{Code::too_large, "the conversation is too long for the model",
                        "model_request_failed_error"};
      ++limits.harder;  // there was nothing to leave out at this step
      continue;
    }
    auto reply = co_await ask_model(turn, hearing, std::move(request));
    if (reply || is_over(*turn) || reply.error().code != Code::too_large ||
        limits.harder == kHardest)
      co_return reply;
    ++limits.harder;
    log::info("brain.trimmed", {{"session", turn->session}, {"harder", limits.harder}});
  }
}

namespace {

struct Asked {
  Result<ModelReply> reply = Error{Code::cancelled, "cancelled"};
};

Task<void> ask_into(std::shared_ptr<Asked> asked, Model& model, std::string request,
                    ModelListener listener) {
  asked->reply = co_await model.ask(std::move(request), std::move(listener));
  co_return ok;
}

Task<void> stopped(std::shared_ptr<Turn> turn) {
  if (turn->over) co_return ok;
  co_return co_await turn->stop.wait(net::kForever);
}

std::string text_delta(const std::string& id, std::size_t index, std::string_view text) {
  return str(R"({"type":"event_delta","event_id":")", id,
             R"(","delta":{"type":"content_delta","index":)", index,
             R"(,"content":{"type":"text","text":")", json_escape(text), R"("}}})");
}

std::string event_start(std::string_view type, const std::string& id) {
  return str(R"({"type":"event_start","event":{"type":")", type, R"(","id":")", id, R"("}})");
}

}  // namespace

Task<ModelReply> Sessions::Impl::ask_model(std::shared_ptr<Turn> turn,
                                           std::shared_ptr<Hearing> hearing, std::string request) {
  auto asked = std::make_shared<Asked>();
  // An interrupt does not wait for the model: it wins the race, and the request is cut.
  CO_TRY_DO(co_await net::first_of(
      ask_into(asked, model, std::move(request), listener(turn, std::move(hearing))),
      stopped(turn)));
  co_return std::move(asked->reply);
}

ModelListener Sessions::Impl::listener(std::shared_ptr<Turn> turn,
                                       std::shared_ptr<Hearing> hearing) {
  auto self = shared_from_this();
  // Of these steps none is worth failing an answer for; the log stays right without them.
  auto step = [self, turn](std::string_view point, auto&& make) {
    if (self->is_over(*turn)) return;
    auto change = self->begin(turn->session);
    if (change) {
      make(*change);
      if (change->events.empty()) return;
    }
    auto done = change ? self->finish(*change, point) : Result<void>(change.error());
    if (!done)
      log::warn("brain.turn_step", {{"session", turn->session}, {"error", done.error().what}});
  };
  ModelListener listener;
  listener.thinking = [self, turn, step] {
    step("brain.turn_thinking", [&](Change& change) {
      if (change.state.thought) return;
      std::string id = new_id("sevt");
      self->log.preview(turn->session, "agent.thinking", event_start("agent.thinking", id));
      change.add_with_id(id, "agent.thinking", "");
    });
  };
  listener.text = [self, turn, hearing](std::size_t block, std::string_view text) {
    if (self->is_over(*turn) || text.empty()) return;
    if (hearing->message_id.empty()) {
      hearing->message_id = new_id("sevt");
      self->log.preview(turn->session, "agent.message",
                        event_start("agent.message", hearing->message_id));
    }
    auto& blocks = hearing->blocks;
    auto place = std::ranges::find(blocks, block);
    if (place == blocks.end()) place = blocks.insert(place, block);
    auto index = static_cast<std::size_t>(place - blocks.begin());
    self->log.preview(turn->session, "agent.message", text_delta(hearing->message_id, index, text));
  };
  listener.retrying = [step, hearing](const Error& error, std::string_view type, Millis) {
    *hearing = {};
    retries.add();
    step("brain.turn_rescheduled", [&](Change& change) {
      change.error(type, error.what, "retrying");
      change.reschedule();
    });
  };
  listener.resumed = [step] {
    step("brain.turn_resumed", [](Change& change) {
      if (change.state.phase == Phase::rescheduling) change.continue_turn();
    });
  };
  return listener;
}

}  // namespace glovebox::brain
