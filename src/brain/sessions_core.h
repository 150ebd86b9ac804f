// The insides of Sessions, shared by sessions.cc (what clients do) and turn.cc (what the model
// does). Only for .cc files of this folder.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "brain/conversations.h"
#include "brain/model.h"
#include "brain/session_change.h"
#include "brain/sessions.h"

namespace glovebox::brain {

// A turn under way. Whoever ends it sets `over` and notifies: its coroutine then touches nothing
// more.
struct Turn {
  std::string session;
  net::Event stop;
  bool over = false;
  int cut_answers = 0;  // answers in a row that were cut off at their limit
};

// What one request to the model has brought so far.
struct Hearing {
  std::string message_id;           // of the agent.message to come, once its preview has begun
  std::vector<std::size_t> blocks;  // the model's text blocks, in order: their place in content
};

struct Sessions::Impl : std::enable_shared_from_this<Sessions::Impl> {
  Impl(net::Loop& loop, SessionStore& store, EventLog& log, WorkQueue& queue, Model& model,
       SessionsOptions options)
      : loop(loop),
        store(store),
        log(log),
        queue(queue),
        model(model),
        options(std::move(options)),
        conversations(store),
        tasks(loop) {}

  // sessions.cc
  Result<Change> begin(std::string_view session);
  // Makes the change durable, then does what follows from it: turns start and stop here alone.
  Result<void> finish(Change& change, std::string_view fault_point, bool is_new = false);
  Result<std::vector<Event>> send(std::string_view session, std::vector<ClientEvent> events);
  void stop_turn(std::string_view session);
  void item_stopped(const std::string& session);
  Task<void> requeue(std::shared_ptr<Impl> self, std::string session, Millis wait);

  // turn.cc
  Task<void> drive(std::shared_ptr<Impl> self, std::shared_ptr<Turn> turn);
  Task<void> run_caught(std::shared_ptr<Turn> turn);
  Task<void> run_turn(std::shared_ptr<Turn> turn);
  Result<void> take_up(const std::string& session);
  Task<void> ask_once(std::shared_ptr<Turn> turn);
  Task<ModelReply> ask(std::shared_ptr<Turn> turn, std::shared_ptr<Hearing> hearing);
  Task<ModelReply> ask_model(std::shared_ptr<Turn> turn, std::shared_ptr<Hearing> hearing,
                             std::string request);
  ModelListener listener(std::shared_ptr<Turn> turn, std::shared_ptr<Hearing> hearing);
  bool is_over(const Turn& turn) const { return turn.over || closing; }

  // turn_answer.cc
  Result<void> take_answer(Turn& turn, const Hearing& hearing, const ModelReply& reply);
  Result<void> fail_turn(const std::string& session, const Error& error);

  // Of a session that is not idle: its state, and its turn while the model is asked. Idle ones are
  // nowhere but in the store, and maybe among the conversations.
  struct Live {
    SessionState state;
    std::shared_ptr<Turn> turn;
  };

  net::Loop& loop;
  SessionStore& store;
  EventLog& log;
  WorkQueue& queue;
  Model& model;
  SessionsOptions options;
  std::map<std::string, Live, std::less<>> live;
  Conversations conversations;
  std::map<std::string, std::size_t, std::less<>> requeued;  // items in vain, one after the other
  std::size_t turns = 0;                                     // of `live`
  bool closing = false;
  net::TaskGroup tasks;
};

}  // namespace glovebox::brain
