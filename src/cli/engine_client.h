// The engine's API as the subcommands use it: one call, one answer, errors that say what to do.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/target.h"
#include "http/client.h"
#include "net/loop.h"
#include "wire/sandbox.h"

namespace boost::json {
class array;
class object;
}  // namespace boost::json

namespace glovebox::cli {

class EngineClient {
 public:
  static Result<std::unique_ptr<EngineClient>> open(const Context& context);
  ~EngineClient();

  // Records as the server gave them: replies may grow members, and people see them.
  Result<boost::json::object> create(std::string body);
  Result<boost::json::object> get(const std::string& id_or_name);
  Result<boost::json::object> update(const std::string& id_or_name, std::string body);
  Result<boost::json::array> list_live();  // all but the terminated, newest first
  Result<boost::json::array> list_all();   // the history too
  Result<void> remove(const std::string& id_or_name);
  // A page of what its processes said; `query` is "" or begins with "?".
  Result<boost::json::object> logs(const std::string& id_or_name, const std::string& query);
  Result<boost::json::array> log_processes(const std::string& id_or_name);
  Result<boost::json::array> usage();  // of all live ones: ours alone has it
  // Of a path below the namespace; an answer without a body is an empty object.
  Result<boost::json::object> request(std::string method, std::string path, std::string body = {});

  // One whose answer is a stream of events, each given to `hear`, to its end.
  Result<void> follow(std::string method, std::string path, std::string body,
                      std::function<Result<void>(const http::SseEvent&)> hear);
  // One with a body that comes in pieces; an empty one ends it.
  Result<boost::json::object> upload(std::string method, std::string path,
                                     std::function<Result<std::string>()> next,
                                     std::optional<std::uint64_t> length);

  // One whose answer comes in pieces, each given to `take`, to its end. A refusal gives none.
  Result<void> download(std::string path, std::function<Result<void>(std::string_view)> take);

  // A client of one box's data plane.
  struct Box {
    std::string id;
    std::unique_ptr<http::Client> http;
  };
  Result<Box> box(const std::string& id_or_name);

  net::Loop& loop() { return loop_; }
  // A failed call, with what to do about it; a Task of box() ends here too.
  Error explain(Error error) const;

 private:
  EngineClient(Target target, std::string_view space);
  Result<http::ClientResponse> call(std::string method, std::string path, std::string body = {});
  Result<http::ClientResponse> call_at(std::string method, std::string target,
                                       std::string body = {});
  Result<boost::json::array> members(std::string path, const char* name, bool below_prefix = true);
  Result<void> list_pages(const std::string& query, boost::json::array* into);

  Target target_;
  Origin origin_;
  net::Loop loop_;
  std::unique_ptr<http::Client> http_;
};

Code code_of_status(int status);
// The error a non-2xx answer means: {"error", "code"}, {"message"}, or plain text.
Error api_error(int status, std::string_view body);

}  // namespace glovebox::cli
