// Certificates trusted besides the system's, and for whom: what stands in TlsClient::also_trust.
#pragma once

#include <string>
#include <string_view>

namespace glovebox::net {

// Whoever can write the file can pass for the hosts of the domain, and for nobody else. As text it
// is "DOMAIN=/FILE", or FILE alone: for any host, as whoever names the file wants it.
struct AlsoTrust {
  static AlsoTrust parse(std::string_view text);
  std::string text() const;
  bool counts_for(std::string_view host) const;
  std::string file;    // looked at anew when it changes; need not be there
  std::string domain;  // it and all names below it
};

}  // namespace glovebox::net
