#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <boost/asio/ip/address.hpp>
#include <map>

#include "net/also_trust.h"
#include "net/deadline.h"
#include "net/openssl.h"
#include "net/stream.h"
#include "net/task.h"

namespace glovebox::net {
namespace {

using Context = std::unique_ptr<SSL_CTX, Free<&SSL_CTX_free>>;
using Ssl = std::unique_ptr<SSL, Free<&SSL_free>>;

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
      Error error = why == SSL_ERROR_SSL ? openssl_error("TLS read", Code::unavailable) : Error{};
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
        co_return openssl_error("TLS write", Code::unavailable);
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
  std::string server_name() const {
    const char* name = ::SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
    return name ? name : "";
  }
  bool has_unread() const { return BIO_pending(received_) > 0 || ::SSL_has_pending(ssl_.get()); }

 private:
  Error handshake_error() {
    long verified = ::SSL_get_verify_result(ssl_.get());
    Error error = openssl_error("TLS handshake", Code::unavailable);
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

// Tells a file from the one that was there before under the same name. "": there is none.
std::string stamp_of(const std::string& path) {
  struct stat info{};
  if (path.empty() || ::stat(path.c_str(), &info) < 0) return "";
  return str(info.st_ino, ' ', info.st_size, ' ', info.st_mtim.tv_sec, ' ', info.st_mtim.tv_nsec);
}

// Reading the system's store takes milliseconds: once for each file is enough. Contexts are shared
// by reference: a connection that stands keeps its own.
Result<SSL_CTX*> client_context(const TlsClient& tls) {
  struct Known {
    std::string stamp;
    Context context;
  };
  thread_local std::map<std::pair<std::string, std::string>, Known> contexts;
  const std::string stamp = stamp_of(tls.also_trust);
  Known& known = contexts[{tls.ca_file, tls.also_trust}];
  if (known.context && known.stamp == stamp) return known.context.get();
  Context context = new_context(::TLS_client_method());
  ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  int loaded = tls.ca_file.empty() ? ::SSL_CTX_set_default_verify_paths(context.get())
                                   : ::SSL_CTX_load_verify_file(context.get(), tls.ca_file.c_str());
  if (loaded != 1) return openssl_error(str("trusted certificates ", tls.ca_file), Code::invalid);
  if (!stamp.empty() && ::SSL_CTX_load_verify_file(context.get(), tls.also_trust.c_str()) != 1)
    return openssl_error(str("trusted certificates ", tls.also_trust), Code::invalid);
  ::SSL_CTX_set_alpn_protos(context.get(), kAlpn, sizeof kAlpn - 1);
  known = {stamp, std::move(context)};
  return known.context.get();
}

// Nobody is asked for a passphrase: a daemon has nobody to ask.
int no_passphrase(char*, int, int, void*) { return 0; }

Bio reader(std::string_view text) {
  return Bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<void> use_chain(SSL_CTX* context, std::string_view pem) {
  Bio bio = reader(pem);
  for (int count = 0;; ++count) {
    ::ERR_clear_error();
    Cert cert(::PEM_read_bio_X509(bio.get(), nullptr, &no_passphrase, nullptr));
    if (!cert) {
      bool at_end = ERR_GET_REASON(::ERR_peek_last_error()) == PEM_R_NO_START_LINE;
      if (!at_end || count == 0) return openssl_error("certificate", Code::invalid);
      ::ERR_clear_error();
      return ok;
    }
    // The first is the server's; of the others the context becomes the owner.
    if (count == 0 && ::SSL_CTX_use_certificate(context, cert.get()) != 1)
      return openssl_error("certificate", Code::invalid);
    if (count > 0 && ::SSL_CTX_add_extra_chain_cert(context, cert.get()) != 1)
      return openssl_error("certificate", Code::invalid);
    if (count > 0) (void)cert.release();
  }
}

Result<void> use_key(SSL_CTX* context, std::string_view pem) {
  ::ERR_clear_error();
  Bio bio = reader(pem);
  Key key(::PEM_read_bio_PrivateKey(bio.get(), nullptr, &no_passphrase, nullptr));
  if (!key || ::SSL_CTX_use_PrivateKey(context, key.get()) != 1)
    return openssl_error("key", Code::invalid);
  if (::SSL_CTX_check_private_key(context) != 1)
    return openssl_error("the key does not fit the certificate", Code::invalid);
  return ok;
}

Context server_context() {
  Context context = new_context(::TLS_server_method());
  // Of TLS 1.2 what is forward secret and authenticated; 1.3 has nothing else.
  ::SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20");
  ::SSL_CTX_set_options(context.get(), SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  ::SSL_CTX_set_alpn_select_cb(context.get(), &select_alpn, nullptr);
  return context;
}

}  // namespace

struct TlsServer::Impl {
  Context context;
};
TlsServer::~TlsServer() = default;

Result<std::shared_ptr<TlsServer>> TlsServer::load(const std::string& cert_file,
                                                   const std::string& key_file) {
  Context context = server_context();
  ::ERR_clear_error();
  if (::SSL_CTX_use_certificate_chain_file(context.get(), cert_file.c_str()) != 1)
    return openssl_error(str("certificate ", cert_file), Code::invalid);
  if (::SSL_CTX_use_PrivateKey_file(context.get(), key_file.c_str(), SSL_FILETYPE_PEM) != 1)
    return openssl_error(str("key ", key_file), Code::invalid);
  if (::SSL_CTX_check_private_key(context.get()) != 1)
    return openssl_error(str("key ", key_file, " does not fit certificate ", cert_file),
                         Code::invalid);
  auto server = std::make_shared<TlsServer>();
  server->impl = std::make_unique<Impl>(std::move(context));
  return server;
}

Result<std::shared_ptr<TlsServer>> TlsServer::parse(std::string_view chain, const Secret& key) {
  Context context = server_context();
  TRY_DO(use_chain(context.get(), chain));
  TRY_DO(use_key(context.get(), key.reveal()));
  auto server = std::make_shared<TlsServer>();
  server->impl = std::make_unique<Impl>(std::move(context));
  return server;
}

namespace {

Task<std::shared_ptr<Session>> start(std::unique_ptr<Stream> plain, Ssl ssl, Millis limit) {
  auto session = std::make_shared<Session>(std::move(plain), std::move(ssl));
  CO_TRY_DO(co_await Session::handshake(session, limit));
  co_return session;
}

Task<std::shared_ptr<Session>> accept_session(std::unique_ptr<Stream> plain,
                                              std::shared_ptr<TlsServer> tls, Millis limit) {
  Ssl ssl(::SSL_new(tls->impl->context.get()));
  ::SSL_set_accept_state(ssl.get());
  return start(std::move(plain), std::move(ssl), limit);
}

}  // namespace

Task<std::unique_ptr<Stream>> tls_accept(std::unique_ptr<Stream> plain,
                                         std::shared_ptr<TlsServer> tls, Millis limit) {
  CO_TRY(session, co_await accept_session(std::move(plain), std::move(tls), limit));
  co_return std::make_unique<TlsStream>(std::move(session));
}

Task<Accepted> accept_either(std::unique_ptr<Stream> plain, std::shared_ptr<TlsServer> tls,
                             Millis limit) {
  constexpr char kHandshakeRecord = 0x16;
  if (!tls) co_return Accepted{std::move(plain)};
  Deadline deadline(limit);
  CO_TRY(first, co_await plain->peek(deadline.left()));
  if (first != kHandshakeRecord) co_return Accepted{std::move(plain)};
  CO_TRY(session, co_await accept_session(std::move(plain), std::move(tls), deadline.left()));
  std::string name = session->server_name();
  co_return Accepted{std::make_unique<TlsStream>(std::move(session)), true, std::move(name)};
}

Task<std::unique_ptr<Stream>> tls_connect(std::unique_ptr<Stream> plain, std::string host,
                                          TlsClient tls, Millis limit) {
  AlsoTrust also = AlsoTrust::parse(tls.also_trust);
  tls.also_trust = also.counts_for(host) ? std::move(also.file) : "";
  CO_TRY(context, client_context(tls));
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
  CO_TRY(session, co_await start(std::move(plain), std::move(ssl), limit), host);
  co_return std::make_unique<TlsStream>(std::move(session));
}

}  // namespace glovebox::net
