// Trees that somebody outside keeps in a sandbox: a session's skills and memories. Processes of its
// hand, as files are; they follow no link.
#include "engine/api_trees.h"

#include "net/task.h"

namespace glovebox::engine {

using http::Request;

namespace {

constexpr std::size_t kMaxPath = 4095;
constexpr std::size_t kMaxListing = 32 << 20;

// That it is clean the hand looks after.
Result<std::string> path_of(const Request& request, std::string_view name) {
  auto path = request.query_value(name);
  if (!path || path->empty()) return Error{Code::invalid, str(name, ": is missing")};
  if (path->size() > kMaxPath)
    return Error{Code::invalid, str(name, ": is longer than ", kMaxPath, " bytes")};
  return std::move(*path);
}

Task<std::string> tree_call(ApiState& api, Request request, std::string verb) {
  CO_TRY(path, path_of(request, "path"));
  CO_TRY(box, co_await box_of(api, request));
  wire::StartSpec spec;
  spec.kind = wire::Kind::file;
  spec.argv = {std::move(verb), std::move(path)};
  CO_TRY(operation, co_await Operation::start(box.hand, std::move(spec)));
  CO_TRY(outcome, co_await operation->finish(kMaxListing));
  if (!succeeded(outcome.info)) co_return file_error(outcome.info, outcome.err);
  co_return std::move(outcome.out);
}

}  // namespace

Reply list_tree(ApiState& api, Request request) {
  CO_TRY(listed, co_await tree_call(api, std::move(request), "scan"));
  co_return http::json(200, std::move(listed));
}

Reply make_tree(ApiState& api, Request request) {
  CO_TRY_DO(co_await tree_call(api, std::move(request), "folder"));
  co_return http::empty(204);
}

Reply remove_tree(ApiState& api, Request request) {
  CO_TRY_DO(co_await tree_call(api, std::move(request), "remove"));
  co_return http::empty(204);
}

Reply place_file(ApiState& api, Request request) {
  CO_TRY(path, path_of(request, "path"));
  CO_TRY(base, path_of(request, "base"));
  CO_TRY(box, co_await box_of(api, request));
  wire::StartSpec spec;
  spec.kind = wire::Kind::file;
  spec.argv = {"place", std::move(path), std::move(base),
               request.query_value("mode").value_or("600")};
  spec.stdin_mode = wire::StdinMode::pipe;
  CO_TRY(operation, co_await Operation::start(box.hand, std::move(spec)));
  CO_TRY_DO(co_await operation->feed(std::move(request.body)));
  CO_TRY(outcome, co_await operation->finish(0));
  if (!succeeded(outcome.info)) co_return file_error(outcome.info, outcome.err);
  co_return http::empty(204);
}

}  // namespace glovebox::engine
