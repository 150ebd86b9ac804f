// The Managed Agents API as the subcommands use it: one call, one answer, errors that say what to
// do. Works with our brain, and with any other service of that API.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/target.h"
#include "http/client.h"
#include "net/loop.h"

namespace boost::json {
class array;
class object;
}  // namespace boost::json

namespace glovebox::cli {

class BrainClient {
 public:
  static Result<std::unique_ptr<BrainClient>> open(const Context& context);
  ~BrainClient();

  // Objects as the server gave them: replies may grow members, and people see them. `body` is JSON.
  Result<boost::json::object> get(std::string target);
  Result<boost::json::object> post(std::string target, std::string body = "{}");
  Result<boost::json::object> remove(std::string target);
  // The `data` of all pages, or of as many as make `most`. `target` has no `page` in it.
  Result<boost::json::array> list(std::string target, std::size_t most = SIZE_MAX);

  // The same for coroutines of loop(). The answer's body is JSON.
  Task<std::string> call(std::string method, std::string target, std::string body = {});
  // A stream of events that has begun.
  struct Events {
    http::StreamResponse response;
    std::unique_ptr<http::SseReader> reader;
    Task<std::string> next();  // the JSON of the next one; Code::gone at the end
  };
  Task<std::unique_ptr<Events>> events(std::string target);

  net::Loop& loop() { return loop_; }
  const Target& target() const { return target_; }

  // Ids of what people name by id or by name; a name must be one thing's only.
  Result<std::string> agent_id(const std::string& id_or_name);
  Result<std::string> environment_id(const std::string& id_or_name);
  // The one named by --environment, or the one our brain made at its first start, or
  // ANTHROPIC_ENVIRONMENT_ID where the service is not ours.
  Result<std::string> environment(const Context& context, const Args& args);

 private:
  explicit BrainClient(Target target);
  Error explain(Error error) const;
  Result<boost::json::object> wait_for(std::string method, std::string target, std::string body);
  Result<std::string> find(std::string_view kind, std::string_view prefix, std::string_view target,
                           const std::string& id_or_name);

  Target target_;
  net::Loop loop_;
  std::unique_ptr<http::Client> http_;
};

// The error a non-2xx answer means: {"error": {"type", "message", "details"}}, or plain text. The
// tag is details.error_code.
Error brain_error(int status, std::string_view body);

}  // namespace glovebox::cli
