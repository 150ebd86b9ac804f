// Arbitrary bytes as the requests of one connection: the same parser, limits, target and host
// checks as the server's, fed in pieces. What must hold: no piece size changes the outcome, and
// nothing over a limit gets through.
#include <cassert>

#include "http/router.h"
#include "http/target.h"
#include "net/task.h"

using namespace glovebox;

namespace {

constexpr http::ParserLimits kLimits{.head = 2048, .headers = 20};

Task<http::Response> nothing(http::Request) { co_return http::empty(204); }

const http::Router& router() {
  static const http::Router router(
      {{"GET", "/", http::Body::none, nothing},
       {"GET", "/boxes/{id}", http::Body::none, nothing},
       {"PUT", "/boxes/{id}/files/{path*}", http::Body::stream, nothing}});
  return router;
}

std::string outcome(const http::Refused& refused) {
  return str("refused ", refused.status, " ", refused.tag, "\n");
}

// What a server would make of `bytes`, arriving `piece` at a time.
std::string serve(std::string_view bytes, std::size_t piece) {
  std::string log, buffer;
  for (int requests = 0; requests < 20; ++requests) {
    auto parser = http::request_parser(kLimits);
    while (!parser->done()) {
      auto used = parser->feed(buffer);
      if (!used) return log + outcome(used.error());
      buffer.erase(0, *used);
      if (*used > 0) continue;
      assert(parser->head_done() || buffer.size() <= kLimits.head);
      if (bytes.empty()) return log + "more\n";
      buffer += bytes.substr(0, piece);
      bytes.remove_prefix(std::min(piece, bytes.size()));
    }
    log += str(parser->method, " ", parser->target, " ", parser->keep_alive(), " ", parser->body,
               "\n");
    assert(parser->headers.all().size() <= kLimits.headers);
    bool keep_alive = parser->keep_alive();
    auto request = http::make_request(*parser);
    if (!request) return log + outcome(request.error());
    assert(request->path.starts_with('/') ? !request->path.starts_with("//")
                                          : request->path == "*");
    auto known = http::check_host(*request, {"localhost", ".local"});
    if (!known) return log + outcome(known.error());
    for (const auto& [name, value] : router().find(request->method, request->path).params)
      assert(!value.contains('\0'));
    (void)request->query_value("a");
    if (!keep_alive) return log + "close\n";
  }
  return log;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string whole = serve(bytes, bytes.size() + 1), pieces = serve(bytes, data[0] % 32 + 1u);
  assert(whole == pieces);
  return 0;
}
