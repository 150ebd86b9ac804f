// One request of a Client and its answer, and the connections that are kept between them.
#pragma once

#include "http/client.h"
#include "http/input_buffer.h"
#include "http/parser.h"

namespace glovebox::http {

struct ClientConnection {
  std::unique_ptr<net::Stream> stream;
  InputBuffer input;
  std::chrono::steady_clock::time_point idle_since;
};

struct ClientState {  // shared by a Client and the answers still being read
  Url base;
  Headers default_headers;
  ClientOptions options;
  std::vector<std::unique_ptr<ClientConnection>> idle;

  std::unique_ptr<ClientConnection> take();  // one that seems alive, or null
  void keep(std::unique_ptr<ClientConnection> connection);
};

struct ClientRequest {
  std::string method, target, body;
  std::function<Task<std::string>()> source;  // instead of `body`
  std::optional<std::uint64_t> length;        // of `source`
  Headers headers;
};

struct ClientExchange {
  std::shared_ptr<ClientState> client;
  std::unique_ptr<ClientConnection> connection;
  std::unique_ptr<Parser> answer;  // its head is complete
  bool abandoned = false;          // the answer came before all of the request was sent
};

// Sends the request and reads the head of the answer.
Task<std::shared_ptr<ClientExchange>> begin(std::shared_ptr<ClientState> client,
                                            ClientRequest request);
// The next piece of the answer's body; after the last, the connection goes back to the client.
Task<std::string> read_answer(std::shared_ptr<ClientExchange> exchange);
// A new connection to the client's base, TLS included.
Task<std::unique_ptr<net::Stream>> connect_to_base(std::shared_ptr<ClientState> client);

}  // namespace glovebox::http
