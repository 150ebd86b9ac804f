// A container registry (the OCI distribution API, as Docker's hub and all others speak it), for
// reading: anonymous, with a name and password, with tokens. What comes back is checked against the
// digest it was asked for by; nothing else of it is trusted.
#pragma once

#include <memory>
#include <string>

#include "base/secret.h"
#include "http/client.h"
#include "net/loop.h"

namespace glovebox::engine {

struct Reference {
  std::string host;        // "registry-1.docker.io", "127.0.0.1:5000"
  std::string repository;  // "library/debian"
  std::string tag;         // or a digest
  bool plain = false;      // http: only ever to this machine
  std::string text;        // in full: "docker.io/library/debian:12"
};
Result<Reference> parse_reference(std::string_view text);

struct Challenge {  // WWW-Authenticate
  std::string scheme, realm, service, scope;
};
Challenge parse_challenge(std::string_view header);

struct Credentials {
  std::string user;
  Secret password;
};

class Registry {
 public:
  Registry(net::Loop& loop, Reference reference, Credentials credentials)
      : loop_(loop), reference_(std::move(reference)), credentials_(std::move(credentials)) {}

  // A manifest or an index by tag or digest: at most 4 MiB.
  struct Text {
    std::string bytes, media_type, digest;  // the digest is of the bytes
  };
  Task<Text> manifest(std::string tag_or_digest);
  Task<std::string> small_blob(std::string digest);  // checked; at most 4 MiB
  // Into `file`, checked. A connection that breaks is taken up where it broke. An error of
  // `progress` ends it.
  using Progress = std::function<Result<void>(std::uint64_t done)>;
  Task<void> blob(std::string digest, std::uint64_t size, int file, Progress progress);

 private:
  Task<http::StreamResponse> get(std::string path, std::string accept, std::uint64_t from);
  Task<void> sign_in(Challenge challenge);
  http::ClientOptions options_for(const http::Url& to) const;
  net::Loop& loop_;
  Reference reference_;
  Credentials credentials_;
  Secret authorization_;
  std::unique_ptr<http::Client> client_;  // of the answer that is being read
};

}  // namespace glovebox::engine
