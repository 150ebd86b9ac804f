// The certificate an ingress shows: the operator's where there is one, else one of a local
// authority (authority.h), made at the first start and renewed long before it ends.
//
//   DIRECTORY/ca.pem              0644  the authority's certificate: what clients trust
//   DIRECTORY/tls/authority.pem   0600  the same with its key
//   DIRECTORY/tls/leaf.pem        0600  what is shown, with its key
//
// Each file is written whole or not at all, and each can be made of the one above it: killed
// anywhere, the next start finishes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "base/secret.h"
#include "net/stream.h"

namespace glovebox::gateway {

class Certificates {
 public:
  // In `directory`, which is this user's own. It is opened for passing through: the one file in it
  // that others may read is no secret.
  static Result<Certificates> open(std::string directory, std::string domain,
                                   Clock& clock = system_clock());

  // The operator's, PEM with its key: shown from the next connection on. Empty: there is none (any
  // more). One that does not work leaves what is shown as it was.
  Result<void> use(const Secret& pem);
  // To be called from time to time: makes anew what ends soon.
  Result<void> renew();

  std::shared_ptr<net::TlsServer> shown() const { return shown_; }
  // What should be said of the operator's certificate: that it has ended, or is for other names.
  // Empty: nothing.
  std::string complaint() const;

 private:
  Certificates(std::string directory, std::string domain, Clock& clock)
      : directory_(std::move(directory)), domain_(std::move(domain)), clock_(&clock) {}
  Result<void> keep_authority();
  Result<void> keep_leaf();
  std::int64_t now() const { return clock_->unix_ms() / 1000; }
  std::string path(std::string_view name) const { return str(directory_, '/', name); }

  std::string directory_, domain_;
  Clock* clock_;
  Secret authority_, leaf_, operators_;
  std::shared_ptr<net::TlsServer> own_, shown_;
};

}  // namespace glovebox::gateway
