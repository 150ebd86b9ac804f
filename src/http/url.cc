#include <algorithm>

#include "http/client.h"
#include "http/text.h"

namespace glovebox::http {

Result<Url> Url::parse(std::string_view text) {
  auto bad = [&](std::string_view why) {
    return Error{Code::invalid, str("URL ", text, ": ", why)};
  };
  if (std::ranges::any_of(text, [](unsigned char c) { return c <= ' ' || c >= 0x7f; }))
    return bad("a character that must be encoded");
  Url url;
  if (text.starts_with("unix:")) {
    url.scheme = "unix";
    url.unix_path = text.substr(5);
    if (!url.unix_path.starts_with('/')) return bad("the path of a socket starts with /");
    url.host = "localhost";
    return url;
  }
  auto colon = text.find("://");
  if (colon == text.npos) return bad("no scheme");
  url.scheme = lower(text.substr(0, colon));
  if (url.scheme != "http" && url.scheme != "https")
    return bad("the scheme is http, https or unix");
  auto rest = text.substr(colon + 3);
  auto slash = std::min(rest.find('/'), rest.size());
  url.path_prefix = rest.substr(slash);
  while (url.path_prefix.ends_with('/')) url.path_prefix.pop_back();
  if (url.path_prefix.find_first_of("?#") != std::string::npos)
    return bad("a base has no query and no fragment");
  auto authority = rest.substr(0, slash);
  if (authority.find_first_of("@?#") != authority.npos)
    return bad("only host and port stand before the path");

  url.port = url.scheme == "https" ? 443 : 80;
  auto host_end = authority.starts_with('[') ? authority.find(']') : authority.find(':');
  if (authority.starts_with('[') && host_end == authority.npos) return bad("[ without ]");
  auto port =
      authority.substr(std::min(authority.size(), host_end + (authority.starts_with('[') ? 1 : 0)));
  if (host_end == authority.npos) port = "";
  url.host = authority.starts_with('[') ? authority.substr(1, host_end - 1)
                                        : authority.substr(0, host_end);
  if (url.host.empty()) return bad("no host");
  if (port.empty()) return url;
  auto number = parse_int<int>(port.substr(1));
  if (!port.starts_with(':') || !number || *number < 1 || *number > 65535)
    return bad("no such port");
  url.port = *number;
  return url;
}

std::string Url::authority() const {
  std::string name = host.contains(':') ? str('[', host, ']') : host;
  bool usual = scheme == "unix" || port == (scheme == "https" ? 443 : 80);
  return usual ? name : str(name, ':', port);
}

}  // namespace glovebox::http
