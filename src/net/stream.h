// Byte streams: TCP, Unix sockets, TLS, all behind one interface. Every wait has a limit.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/secret.h"
#include "net/loop.h"

namespace glovebox::net {

class Stream {
 public:
  virtual ~Stream() = default;
  // At least one byte, or 0 at the end of the stream. Code::timeout after `limit`,
  // Code::unavailable when it broke.
  virtual Task<std::size_t> read_some(std::span<char> into, Millis limit) = 0;
  virtual Task<void> write_all(std::string_view bytes, Millis limit) = 0;
  // What comes next, without taking it: the next read gives it again. For sockets alone.
  virtual Task<char> peek(Millis limit);
  virtual void shutdown_write() = 0;
  virtual void close() = 0;              // whoever waits gets Code::cancelled
  virtual std::string peer() const = 0;  // "127.0.0.1:4711", "unix"
  // A last word without waiting, for connections about to be closed: what fits into the socket's
  // buffer is sent.
  virtual std::size_t write_now(std::string_view) { return 0; }
  // False when the other side has closed, or has sent something nobody asked for: not to be used
  // again.
  virtual bool idle() const { return true; }
  // The descriptor of a plain socket, borrowed, for splice(2); -1: there is none, or what goes
  // through it is not what is read and written here.
  virtual int socket() const { return -1; }
};

struct Address {  // "127.0.0.1:8410", "[::1]:8410", "unix:/run/x.sock"; port 0 takes a free one
  static Result<Address> parse(std::string_view text);
  bool is_loopback() const;
  // A number of the public internet: no name, and nothing of a private, shared, special or
  // multicast range, also not inside an IPv6 one that carries an IPv4 address.
  bool is_public() const;
  std::string text() const;
  std::string host;
  int port = 0;
  std::string unix_path;
};

class Listener {
 public:
  // A listening socket alone, for whoever hands it on to another process.
  static Result<Fd> bind(const Address& address);
  static Result<Listener> open(Loop& loop, const Address& address);
  static Result<Listener> adopt(Loop& loop, Fd fd);  // an inherited, listening socket
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) noexcept;
  ~Listener();
  Task<std::unique_ptr<Stream>> accept();  // survives EMFILE by waiting
  const Address& address() const;          // with the port it really has
  void close();

 private:
  struct Impl;
  explicit Listener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

enum class Reach { anywhere, public_only };
// With `public_only` what a name leads to is checked at the moment it is dialled: an address that
// is not public is Code::forbidden with tag NOT_PUBLIC.
Task<std::unique_ptr<Stream>> connect(Address address, Millis limit, Reach reach = Reach::anywhere);
Result<std::unique_ptr<Stream>> adopt(Loop& loop, Fd connected);

// A certificate and its key, shared by all connections of a listener. TLS 1.2 and newer. To change
// it give the next connections another one: those that stand keep theirs.
struct TlsServer {
  static Result<std::shared_ptr<TlsServer>> load(const std::string& cert_file,
                                                 const std::string& key_file);
  // PEM: the certificate with those that lead to its root, and the key, without a passphrase.
  static Result<std::shared_ptr<TlsServer>> parse(std::string_view chain, const Secret& key);
  struct Impl;
  std::unique_ptr<Impl> impl;
  ~TlsServer();
};
Task<std::unique_ptr<Stream>> tls_accept(std::unique_ptr<Stream> plain,
                                         std::shared_ptr<TlsServer> tls, Millis limit);

struct Accepted {
  std::unique_ptr<Stream> stream;
  bool secure = false;
  std::string server_name;  // the host a TLS client asked for; empty: it named none
};
// For a listener that serves both on one port: a client that begins as TLS does gets TLS, another
// is left as it was. No client of HTTP begins with that byte, and one of TLS must. Without `tls`
// all are left as they were.
Task<Accepted> accept_either(std::unique_ptr<Stream> plain, std::shared_ptr<TlsServer> tls,
                             Millis limit);

struct TlsClient {
  std::string ca_file = {};     // empty: the system's trust store
  std::string also_trust = {};  // certificates trusted besides; looked at anew when the file
                                // changes, and need not be there
};
Task<std::unique_ptr<Stream>> tls_connect(std::unique_ptr<Stream> plain, std::string host,
                                          TlsClient tls, Millis limit);

}  // namespace glovebox::net
