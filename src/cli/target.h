// Where the engine is and what opens it. The rules for hosts are those of the official SDK, so that
// one environment serves both.
#pragma once

#include <string>

#include "base/secret.h"
#include "cli/command.h"
#include "http/client.h"

namespace glovebox::cli {

struct Target {
  http::Url url;           // as given
  std::string text;        // the same, for people and for `env`
  Secret key;              // empty: none to be had
  std::string also_trust;  // certificates trusted besides the system's: see net::TlsClient
};
// --url, TENSORLAKE_API_URL, or what `glovebox up` wrote; TENSORLAKE_API_KEY, or the key file of
// the state directory. The key file is only ever sent to this machine.
Result<Target> find_engine(const Context& context);

// The brain: --url, GLOVEBOX_BRAIN_URL, or what `glovebox up` wrote, which is opened by its key
// file. Elsewhere ANTHROPIC_API_KEY is the key.
Result<Target> find_brain(const Context& context);

// GLOVEBOX_CA_FILE, or the certificate of this instance's ingress. The file need not be there.
std::string trusted_certificates(const Context& context);

// "https://8080-web.glovebox.localhost:9443" for the label "8080-web", where the engine that is
// meant is this machine's and its ingress runs; else "".
std::string ingress_url(const Context& context, std::string_view label);

// Where lifecycle calls go: the same host below /v1/namespaces/{ns}, or for api.X the host
// sandbox.X without a prefix.
struct Origin {
  http::Url url;
  std::string prefix;
};
Origin lifecycle_origin(const http::Url& url, std::string_view space);

// Where the data plane of one box is, and the headers that say which box is meant.
struct DataPlane {
  http::Url url;
  http::Headers headers;
};
Result<DataPlane> data_plane(std::string_view sandbox_url, std::string_view id);

bool is_local_name(
    std::string_view host);  // "localhost", "127.0.0.1": what the SDK takes for local
bool is_loopback(std::string_view host);

}  // namespace glovebox::cli
