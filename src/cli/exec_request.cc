#include "cli/exec_request.h"

#include <boost/json.hpp>

#include "cli/args.h"

namespace glovebox::cli {

namespace json = boost::json;

Result<std::string> encode(const ExecRequest& request) {
  for (const std::string& word : request.command)
    if (valid_utf8(word) != word)
      return usage_error("the command line must be UTF-8: it travels as JSON");
  json::object body;
  body["command"] = request.command.at(0);
  body["args"] = json::array(request.command.begin() + 1, request.command.end());
  if (!request.env.empty()) {
    json::object env;
    for (const std::string& pair : request.env) {
      std::size_t equals = pair.find('=');
      if (equals == 0 || equals == pair.npos)
        return usage_error(str("--env: '", pair, "' is not NAME=VALUE"));
      if (valid_utf8(pair) != pair) return usage_error("--env must be UTF-8");
      env[pair.substr(0, equals)] = pair.substr(equals + 1);
    }
    body["env"] = std::move(env);
  }
  if (!request.user.empty()) body["user"] = request.user;
  if (!request.cwd.empty()) body["working_dir"] = request.cwd;
  body["stdin_mode"] = request.stdin_open ? "pipe" : "closed";
  if (!request.log) body["log"] = false;
  if (request.terminal) {
    body["pty"] = true;
    body["rows"] = request.terminal->rows;
    body["cols"] = request.terminal->cols;
  }
  if (request.timeout) body["timeout"] = static_cast<double>(request.timeout->count()) / 1000;
  return json::serialize(body);
}

}  // namespace glovebox::cli
