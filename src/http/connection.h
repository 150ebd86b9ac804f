// One connection of a client: request after request until either side has enough.
#pragma once

#include <set>

#include "http/input_buffer.h"
#include "http/parser.h"
#include "http/router.h"
#include "http/server.h"
#include "net/deadline.h"

namespace glovebox::http {

class Connection;
class StreamWriter;

// What all connections of a Server share. Tasks hold it, so it outlives the Server while they end.
struct ServerState {
  net::Loop& loop;
  ServerOptions options;
  Router router;
  std::set<Connection*> connections;
  bool draining = false;
  net::Event one_less;          // connection
  std::size_t refusing = 0;     // connections over the limit that still get their 503
  std::size_t handshaking = 0;  // TLS
  std::vector<std::shared_ptr<net::Listener>> listeners;
  net::TaskGroup tasks;

  ServerState(net::Loop& loop, std::vector<Route> routes, ServerOptions options)
      : loop(loop), options(std::move(options)), router(std::move(routes)), tasks(loop) {}
};

// Says goodbye so that the client gets the answer: closing with unread bytes would make the kernel
// send a reset, which throws away what the client has not read yet.
Task<void> linger(std::shared_ptr<net::Stream> stream);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ServerState> server, std::unique_ptr<net::Stream> stream);
  ~Connection();
  static Task<void> serve(std::shared_ptr<Connection> self);
  void drain();  // closes now if no request is under way, else after it

 private:
  friend class RequestBody;
  friend class StreamWriter;
  struct Exchange {  // what is remembered of the present request once the handler has it
    std::uint64_t number = 0;
    std::string method, path, request_id;
    Headers headers;  // of a WebSocket handshake only
    std::chrono::steady_clock::time_point started;
    bool wants_continue = false;  // the client waits for "100 Continue" before it sends the body
    bool close = false;
    bool linger = false;
  };

  Task<bool> more(Millis limit);  // reads; false at the end of the stream
  Task<void> read_head();         // or sets refused_
  Task<std::string> read_body(std::uint64_t exchange);
  Task<Response> read_whole_body(std::size_t limit,
                                 std::string& into);  // the Response is the refusal, status 0: none
  Task<void> exchange();                              // one request and its answer
  Task<Response> answer(Request request);
  Task<Response> call(const Route& route, Request request);
  Task<void> send(Response response);
  Task<void> send_body(Response& response, std::string head);
  Task<void> send_stream(Response& response, bool chunked, std::optional<std::uint64_t> length);
  Task<void> close_when_gone(StreamWriter& writer);
  Task<void> upgrade(Response response);
  Task<void> drain_body();
  Task<void> watch_client();  // ends when the client has gone
  void count(int status);

  std::shared_ptr<ServerState> server_;
  std::shared_ptr<net::Stream> stream_;
  std::unique_ptr<Parser> parser_;
  InputBuffer input_;
  Exchange exchange_;
  std::optional<Refused> refused_;
  net::Event body_read_;  // parser_ is done: what comes now is the next request or the end
  bool idle_ = true;
  bool reading_ = false;
};

}  // namespace glovebox::http
