// The only part that strangers reach: HTTP/1.1 and WebSockets for ports inside of sandboxes, for
// the engine's data plane, and for the APIs of other parts.
//
//   connection ─► head read within limits ─► which box, which port (ingress_route.h)
//     ─► may they? (token, signature) ─► the box is woken ─► relayed over a socket that stands in
//     the box's network namespace, where the engine connected it
//
// Nothing is passed on as it came: heads are parsed and written anew, bodies are framed anew. It
// has no rights of its own: what a label means, who may, and the way into a box the engine says,
// over a link (wire/ingress.h) that the engine opens.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/secret.h"
#include "http/message.h"
#include "net/loop.h"
#include "net/stream.h"
#include "wire/ingress.h"

namespace glovebox::gateway {

struct IngressLimits {
  std::size_t connections = 10'000, connections_of_source = 4'000;
  std::size_t head = 32 * 1024, headers = 100;
  std::size_t verified_body = 1 << 20;    // lies in memory until its signature was seen
  std::size_t bodies_in_memory = 64;      // of those, at a time
  std::size_t bodies_of_source = 4;       // of those, from one source
  Millis verified_time{10'000};           // for all of such a body to arrive
  std::size_t box_connections = 512;      // to one box, at a time
  std::size_t idle_box_connections = 32;  // kept for the next request, of one port
  Millis head_time{15'000};               // first byte of a head to its last
  Millis body_pause{30'000};              // between two pieces of a request's body
  std::size_t body_rate = 256;  // bytes a second it must make on the whole, after body_pause
  Millis write{60'000};         // a client that does not read
  Millis idle{120'000};         // keep-alive
  Millis answer{300'000};       // the box, to the end of its head; between two pieces of a body
  Millis wake{70'000}, dial{5'000};
  Millis start{10'000};   // for the program inside to listen, in a box that was just woken
  Millis hold_on{200};    // a box stays held so long after its last request: requests come in rows
  Millis forget{60'000};  // what is known of a box nobody asks for
  Millis engine{10'000};  // for an engine that is not there (it starts anew)
  // Of one source (an IPv4 address, an IPv6 /64):
  double requests_per_second = 5'000, request_burst = 10'000;
  double wakes_per_second = 2, wake_burst = 60;
  double refusals_per_second = 10, refusal_burst = 200;  // of credentials
};

// What a client's connection turned out to be.
struct IngressClient {
  std::string peer;    // address and port
  std::string source;  // what limits go by
  bool loopback = false;
  bool secure = false;  // TLS
};

struct IngressOptions {
  std::string domain = "glovebox.localhost";
  // `{label}.{domain}` of other parts: "api" is the brain, "sandbox" the engine.
  std::map<std::string, net::Address, std::less<>> parts;
  std::optional<net::Address> data_plane;  // the engine's API; none: no data plane
  std::string link_path;                   // where the engine's link comes in
  IngressLimits limits;
  Secret metrics_key;  // for /metrics on our own host; empty: not there

  // The certificate for connections that begin as TLS does, asked for at each: null: all are plain.
  std::function<std::shared_ptr<net::TlsServer>()> tls;
  // May answer a request before it is routed (a redirect to HTTPS).
  std::function<std::optional<http::Response>(const IngressClient&, const http::Request&)> admit;
  // Of a request for a port with `verify`, whole: an error is the answer, and nothing wakes. What
  // it gives (null: nothing) is called where the box did not take the request.
  std::function<Result<std::function<void()>>(const wire::IngressBox&, const wire::IngressPort&,
                                              const http::Headers&, std::string_view body)>
      verify;
  // One line for each request, without its newline; null: none.
  std::function<void(std::string_view line)> access_log;
};

class Ingress {
 public:
  static Result<std::unique_ptr<Ingress>> open(net::Loop& loop, IngressOptions options);
  ~Ingress();
  Result<net::Address> adopt(Fd listener);
  Result<net::Address> listen(const net::Address& address);
  void set_metrics_key(Secret key);
  Task<void> close(Millis limit);  // no new connections; requests under way may end

  struct Impl;

 private:
  explicit Ingress(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace glovebox::gateway
