#include <openssl/err.h>
#include <openssl/ssl.h>

#include <boost/asio/ip/address.hpp>
#include <map>

#include "net/deadline.h"
#include "net/stream.h"
#include "net/task.h"

namespace glovebox::net {
namespace {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free(object);
  }
};
using Context = std::unique_ptr<SSL_CTX, Free<&SSL_CTX_free>>;
using Ssl = std::unique_ptr<SSL, Free<&SSL_free>>;

Error tls_error(std::string what, Code code) {
  char text[256] = "unknown error";
  if (unsigned long reason = ::ERR_get_error()) ::ERR_error_string_n(reason, text, sizeof text);
  ::ERR_clear_error();  // the queue belongs to the thread: leave nothing for the next one
  return Error{code, str(what, ": ", text)};
}

Context new_context(const SSL_METHOD* method) {
  Context context(::SSL_CTX_new(method));
  ::SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  ::SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  ::SSL_CTX_set_mode(context.get(),
                     SSL_MODE_RELEASE_BUFFERS);  // 34 KB less for each idle connection
  return context;
}

constexpr unsigned char kAlpn[] = "\x08http/1.1";

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size,
                const unsigned char* offered, unsigned int offered_size, void*) {
  int found = ::SSL_select_next_proto(const_cast<unsigned char**>(out), out_size, kAlpn,
                                      sizeof kAlpn - 1, offered, offered_size);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// One TLS connection. OpenSSL only turns bytes into bytes (memory BIOs); waiting, limits and
// cancellation are those of the plain stream below. Reading and writing may go on at the same time.
class Session {
 public:
  Session(std::unique_ptr<Stream> plain, Ssl ssl) : plain_(std::move(plain)), ssl_(std::move(ssl)) {
    received_ = ::BIO_new(::BIO_s_mem());
    to_send_ = ::BIO_new(::BIO_s_mem());
    ::SSL_set_bio(ssl_.get(), received_, to_send_);  // owns both
  }

  static Task<void> handshake(std::shared_ptr<Session> self, Millis limit) {
    Deadline deadline(limit);
    for (;;) {
      ::ERR_clear_error();
      int done = ::SSL_do_handshake(self->ssl_.get());
      int why = ::SSL_get_error(self->ssl_.get(), done);
      Error error = why == SSL_ERROR_SSL ? self->handshake_error() : Error{};
      auto flushed =
          co_await flush(self, deadline.left());  // the alert that tells the other side why, too
      if (why == SSL_ERROR_SSL) co_return error;
      if (!flushed) co_return flushed;
      if (done == 1) co_return ok;
      CO_TRY_DO(co_await receive(self, deadline.left()), "TLS handshake");
    }
  }

  static Task<std::size_t> read(std::shared_ptr<Session> self, std::span<char> into, Millis limit) {
    Deadline deadline(limit);
    for (;;) {
      ::ERR_clear_error();
      int got = ::SSL_read(self->ssl_.get(), into.data(),
                           static_cast<int>(std::min<std::size_t>(into.size(), 1 << 30)));
      int why = ::SSL_get_error(self->ssl_.get(), got);
      Error error = why == SSL_ERROR_SSL ? tls_error("TLS read", Code::unavailable) : Error{};
      if (BIO_pending(self->to_send_) > 0) CO_TRY_DO(co_await flush(self, deadline.left()));
      if (got > 0) co_return static_cast<std::size_t>(got);
      if (why == SSL_ERROR_ZERO_RETURN) co_return 0;
      if (why == SSL_ERROR_SSL) co_return error;
      CO_TRY_DO(co_await receive(self, deadline.left()));
    }
  }

  static Task<void> write(std::shared_ptr<Session> self, std::string_view bytes, Millis limit) {
    constexpr std::size_t kPiece =
        64 * 1024;  // of the text, so that not all of it stands encrypted in memory
    Deadline deadline(limit);
    while (!bytes.empty()) {
      auto piece = bytes.substr(0, kPiece);
      bytes.remove_prefix(piece.size());
      ::ERR_clear_error();
      // A memory BIO takes everything, so less than everything is an error.
      int put = ::SSL_write(self->ssl_.get(), piece.data(), static_cast<int>(piece.size()));
      if (put != static_cast<int>(piece.size()))
        co_return tls_error("TLS write", Code::unavailable);
      CO_TRY_DO(co_await flush(self, deadline.left()));
    }
    co_return ok;
  }

  void say_goodbye() {
    if (flushing_ || said_goodbye_) return;  // never between the bytes of a record
    said_goodbye_ = true;
    ::ERR_clear_error();
    ::SSL_shutdown(ssl_.get());
    ::ERR_clear_error();
    plain_->write_now(take_output());
  }

  Stream& plain() { return *plain_; }
  bool has_unread() const { return BIO_pending(received_) > 0 || ::SSL_has_pending(ssl_.get()); }

 private:
  Error handshake_error() {
    long verified = ::SSL_get_verify_result(ssl_.get());
    Error error = tls_error("TLS handshake", Code::unavailable);
    if (verified != X509_V_OK)
      error.what = str("TLS handshake: certificate: ", ::X509_verify_cert_error_string(verified));
    return error;
  }

  std::string take_output() {
    std::string bytes(static_cast<std::size_t>(BIO_pending(to_send_)), '\0');
    if (!bytes.empty()) ::BIO_read(to_send_, bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }

  // Sends what OpenSSL made. Records must leave in order, so a second caller waits for the first,
  // who sends for both.
  static Task<void> flush(std::shared_ptr<Session> self, Millis limit) {
    Deadline deadline(limit);
    while (self->flushing_) CO_TRY_DO(co_await self->flushed_.wait(deadline.left()));
    if (self->broken_) co_return Error{Code::unavailable, "the TLS connection is broken"};
    self->flushing_ = true;
    Result<void> written = ok;
    while (written && BIO_pending(self->to_send_) > 0) {
      std::string bytes = self->take_output();
      written = co_await self->plain_->write_all(bytes, deadline.left());
    }
    self->flushing_ = false;
    self->broken_ = !written;  // half a record may have gone out
    self->flushed_.notify();
    co_return written;
  }

  static Task<void> receive(std::shared_ptr<Session> self, Millis limit) {
    std::array<char, 16 * 1024> buffer;
    CO_TRY(got, co_await self->plain_->read_some(buffer, limit));
    // Without close_notify somebody may have cut the text short.
    if (got == 0) co_return Error{Code::unavailable, "the TLS connection ended without a goodbye"};
    ::BIO_write(self->received_, buffer.data(), static_cast<int>(got));
    co_return ok;
  }

  std::unique_ptr<Stream> plain_;
  Ssl ssl_;
  BIO* received_;
  BIO* to_send_;
  bool flushing_ = false, broken_ = false, said_goodbye_ = false;
  Event flushed_;
};

class TlsStream final : public Stream {
 public:
  explicit TlsStream(std::shared_ptr<Session> session) : session_(std::move(session)) {}
  ~TlsStream() override { close(); }
  Task<std::size_t> read_some(std::span<char> into, Millis limit) override {
    return Session::read(session_, into, limit);
  }
  Task<void> write_all(std::string_view bytes, Millis limit) override {
    return Session::write(session_, bytes, limit);
  }
  void shutdown_write() override {
    session_->say_goodbye();
    session_->plain().shutdown_write();
  }
  void close() override {
    session_->say_goodbye();
    session_->plain().close();
  }
  std::string peer() const override { return session_->plain().peer(); }
  bool idle() const override { return !session_->has_unread() && session_->plain().idle(); }

 private:
  std::shared_ptr<Session> session_;
};

Task<std::unique_ptr<Stream>> start(std::unique_ptr<Stream> plain, Ssl ssl, Millis limit) {
  auto session = std::make_shared<Session>(std::move(plain), std::move(ssl));
  CO_TRY_DO(co_await Session::handshake(session, limit));
  co_return std::make_unique<TlsStream>(std::move(session));
}

// Reading the system's store takes milliseconds: once for each file is enough. Contexts are shared
// by reference.
Result<SSL_CTX*> client_context(const std::string& ca_file) {
  thread_local std::map<std::string, Context> contexts;
  auto found = contexts.find(ca_file);
  if (found != contexts.end()) return found->second.get();
  Context context = new_context(::TLS_client_method());
  ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  int loaded = ca_file.empty() ? ::SSL_CTX_set_default_verify_paths(context.get())
                               : ::SSL_CTX_load_verify_file(context.get(), ca_file.c_str());
  if (loaded != 1) return tls_error(str("trusted certificates ", ca_file), Code::invalid);
  ::SSL_CTX_set_alpn_protos(context.get(), kAlpn, sizeof kAlpn - 1);
  return contexts.emplace(ca_file, std::move(context)).first->second.get();
}

}  // namespace

struct TlsServer::Impl {
  Context context;
};
TlsServer::~TlsServer() = default;

Result<std::shared_ptr<TlsServer>> TlsServer::load(const std::string& cert_file,
                                                   const std::string& key_file) {
  Context context = new_context(::TLS_server_method());
  ::ERR_clear_error();
  if (::SSL_CTX_use_certificate_chain_file(context.get(), cert_file.c_str()) != 1)
    return tls_error(str("certificate ", cert_file), Code::invalid);
  if (::SSL_CTX_use_PrivateKey_file(context.get(), key_file.c_str(), SSL_FILETYPE_PEM) != 1)
    return tls_error(str("key ", key_file), Code::invalid);
  if (::SSL_CTX_check_private_key(context.get()) != 1)
    return tls_error(str("key ", key_file, " does not fit certificate ", cert_file), Code::invalid);
  ::SSL_CTX_set_alpn_select_cb(context.get(), &select_alpn, nullptr);
  auto server = std::make_shared<TlsServer>();
  server->impl = std::make_unique<Impl>(std::move(context));
  return server;
}

Task<std::unique_ptr<Stream>> tls_accept(std::unique_ptr<Stream> plain,
                                         std::shared_ptr<TlsServer> tls, Millis limit) {
  Ssl ssl(::SSL_new(tls->impl->context.get()));
  ::SSL_set_accept_state(ssl.get());
  co_return co_await start(std::move(plain), std::move(ssl), limit);
}

Task<std::unique_ptr<Stream>> tls_connect(std::unique_ptr<Stream> plain, std::string host,
                                          TlsClient tls, Millis limit) {
  CO_TRY(context, client_context(tls.ca_file));
  Ssl ssl(::SSL_new(context));
  ::SSL_set_connect_state(ssl.get());
  boost::system::error_code not_an_address;
  boost::asio::ip::make_address(host, not_an_address);
  if (not_an_address) {
    ::SSL_set_tlsext_host_name(ssl.get(), host.c_str());
    ::SSL_set1_host(ssl.get(), host.c_str());
  } else {
    ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl.get()), host.c_str());
  }
  auto stream = co_await start(std::move(plain), std::move(ssl), limit);
  if (!stream) co_return std::move(stream.error()).with(host);
  co_return stream;
}

}  // namespace glovebox::net
