// One connection of a client, and one request on it. Only for the ingress's files.
#pragma once

#include "gateway/ingress_head.h"
#include "gateway/ingress_impl.h"
#include "http/message.h"
#include "net/deadline.h"

namespace glovebox::gateway {

struct Client {
  ImplPtr impl;
  std::shared_ptr<net::Stream> stream;
  IngressClient who;
  SourcePtr source;
  http::InputBuffer input;
  std::unique_ptr<http::Parser> parser;  // of the present request
  bool close = false;                    // after it
  bool linger = false;                   // it may still be sending
};
using ClientPtr = std::shared_ptr<Client>;

struct Exchange {
  http::Request request;
  std::string host;  // as the client said it
  bool http10 = false, websocket = false;
  bool expects = false;  // "100 Continue" before it sends the body
  Steady::time_point started = Steady::now();

  // Where it goes: to a port of a box, or to another part.
  std::shared_ptr<BoxUse> use;
  int port = 0;
  std::string part;
  std::string onward_host;

  std::string body;                 // that was read before: of a signed port
  bool body_read = false;           // all of it is in `body`
  std::function<void()> not_taken;  // of IngressOptions::verify
  net::Deadline body_until{net::kForever};
  bool sending = false;  // something of the body has gone

  UpstreamPtr upstream;
  std::unique_ptr<http::Parser> answer;
  int hints = 0;            // answers before the answer (1xx)
  bool silent = true;       // nothing came back
  bool begun = false;       // the client has seen something of the answer
  bool chunked = false;     // to the client
  bool bodiless = false;    // the answer
  bool switched = false;    // to a WebSocket
  bool whole = false;       // the answer, and it was passed on
  bool sent_whole = false;  // the request
  Millis patience{};        // with the upstream, for now

  int status = 0;  // for the log
  std::uint64_t bytes = 0;
};
using ExchangePtr = std::shared_ptr<Exchange>;

// ingress_client.cc
Task<bool> read_more(ClientPtr client, Millis limit);  // false at the end of the stream
// The next piece of the request's body; empty at its end.
Task<std::string> read_piece(ClientPtr client, ExchangePtr exchange, Steady::time_point since,
                             std::size_t seen);
Task<void> answer_with(ClientPtr client, ExchangePtr exchange, http::Response response);
Task<void> fail(ClientPtr client, ExchangePtr exchange, Error error);

// ingress_relay.cc
// Sends the request on and passes the answer back. An error before the answer has begun is to be
// told to the client; one after it cuts the connection.
Task<void> relay(ClientPtr client, ExchangePtr exchange);

}  // namespace glovebox::gateway
