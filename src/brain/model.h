// Who answers: a Messages API somewhere, or the rehearsal model, which is a set of rules and says
// so.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/secret.h"
#include "net/loop.h"

namespace glovebox::brain {

struct ModelOptions {
  std::string url = "https://api.anthropic.com";
  Secret key;            // empty: the rehearsal model answers
  std::string scenario;  // a file of turns for the rehearsal model; empty: its rules
  int attempts = 5;
  Millis first_backoff{500}, longest_backoff{30'000};
  Millis stall_limit{120'000};            // between two pieces of an answer
  std::int64_t context_tokens = 150'000;  // beyond it old tool results are trimmed
};

// What a model heard and said; both are JSON as the Messages API writes it.
struct ModelReply {
  std::string content;      // array of content blocks
  std::string stop_reason;  // "end_turn", "tool_use", "max_tokens", "refusal", …
  std::string stop_details = "null";
  std::string usage;  // object
};

// What happens on the way. Called on the loop's thread; nothing in it waits.
struct ModelListener {
  std::function<void()> thinking;                                 // it has begun to think
  std::function<void(std::size_t block, std::string_view)> text;  // a piece of a text block
  // An attempt failed and another follows after `wait`: whatever was heard of it is void.
  std::function<void(const Error& error, std::string_view type, Millis wait)> retrying;
  std::function<void()> resumed;  // that other attempt begins
};

// How a request for fast mode begins, which needs a header of its own.
inline constexpr std::string_view kFastRequest = R"({"speed":"fast",)";

class Model {
 public:
  virtual ~Model() = default;
  virtual std::string kind() const = 0;      // "messages" or "rehearsal"
  virtual std::string describe() const = 0;  // one line for people
  virtual std::int64_t context_tokens() const { return ModelOptions{}.context_tokens; }
  // `request` is a Messages API request, an object with members but without "stream". Cancelling
  // the task ends it. An Error's tag is the type of session.error ("model_overloaded_error",
  // "billing_error", …); its code says what to do about it: too_large, ask with less; unavailable,
  // exhausted, timeout: attempts are used up; any other: it will not get better by itself.
  virtual Task<ModelReply> ask(std::string request, ModelListener listener) = 0;
};

Result<std::unique_ptr<Model>> make_messages_model(net::Loop& loop, ModelOptions options);
Result<std::unique_ptr<Model>> make_rehearsal_model(const ModelOptions& options);
// The one the options ask for, and another when they change (a key that was given later).
class ModelSwitch : public Model {
 public:
  static Result<std::unique_ptr<ModelSwitch>> make(net::Loop& loop, ModelOptions options);
  Result<void> set(ModelOptions options);
  std::string kind() const override;
  std::string describe() const override;
  std::int64_t context_tokens() const override;
  Task<ModelReply> ask(std::string request, ModelListener listener) override;
  ~ModelSwitch() override;

 private:
  ModelSwitch();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace glovebox::brain
