#include "gateway/ingress_route.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/str.h"
#include "wire/sandbox.h"

namespace glovebox::gateway {

namespace {

using To = IngressRoute::To;

// 1 to 65535, as anybody would write it.
int port_of(std::string_view text) {
  auto port = parse_int<int>(text);
  if (!port || *port < 1 || *port > 65535 || text.starts_with('0')) return 0;
  return *port;
}

bool is_box(std::string_view label) { return wire::valid_id(label) || wire::valid_name(label); }

IngressRoute to_port(std::string label, int port) {
  if (!is_box(label)) return {};
  return {port == kManagementPort ? To::data_plane : To::port, std::move(label), port};
}

// "8080-name" or "name". There is no doubt which: names begin with a letter, and ids have no
// hyphen.
IngressRoute to_box(const std::string& label) {
  if (is_box(label)) return to_port(label, kManagementPort);
  const std::size_t hyphen = label.find('-');
  if (hyphen == label.npos) return {};
  const int port = port_of(std::string_view(label).substr(0, hyphen));
  return port ? to_port(label.substr(hyphen + 1), port) : IngressRoute{};
}

}  // namespace

std::string host_name(std::string_view authority) {
  // What is no port behind the colon is part of a name nobody has.
  if (!authority.starts_with('[')) {
    const std::size_t colon = authority.find(':');
    const std::string_view port = authority.substr(std::min(colon, authority.size()));
    if (colon != authority.npos && port.find_first_not_of("0123456789", 1) != port.npos) return "";
    authority = authority.substr(0, colon);
    if (authority.ends_with('.')) authority.remove_suffix(1);
    return lower(authority);
  }
  const std::size_t end = authority.find(']');
  if (end == authority.npos) return "";
  const std::string_view rest = authority.substr(end + 1);
  if (!rest.empty() &&
      (rest[0] != ':' || rest.find_first_not_of("0123456789", 1) != std::string_view::npos))
    return "";
  return lower(authority.substr(0, end + 1));
}

bool is_own_host(std::string_view host) {
  if (host == "localhost") return true;
  in_addr v4{};
  in6_addr v6{};
  if (host.starts_with('[') && host.ends_with(']'))
    return ::inet_pton(AF_INET6, std::string(host.substr(1, host.size() - 2)).c_str(), &v6) == 1;
  return ::inet_pton(AF_INET, std::string(host).c_str(), &v4) == 1;
}

IngressRoute route_of(const http::Headers& headers, std::string_view domain,
                      const std::function<bool(std::string_view label)>& is_part) {
  const std::string host = host_name(headers.get("Host").value_or(""));
  if (host == domain || is_own_host(host)) {
    // Clients that cannot choose the Host name a sandbox by header. Elsewhere the Host says it, and
    // a header that says something else means nothing.
    auto id = headers.get("X-Tensorlake-Sandbox-Id");
    if (!id) return {To::own, "", 0};
    auto port = headers.get("X-Tensorlake-Sandbox-Port");
    const int number = port ? port_of(*port) : kManagementPort;
    return number ? to_port(std::string(*id), number) : IngressRoute{};
  }
  for (std::string_view suffix : {domain, std::string_view("local")}) {
    if (host.size() <= suffix.size() + 1 || !host.ends_with(suffix)) continue;
    const std::string label = host.substr(0, host.size() - suffix.size() - 1);
    if (host[label.size()] != '.' || label.contains('.')) continue;
    if (suffix == domain && is_part(label)) return {To::label, label, 0};
    return to_box(label);
  }
  return {};
}

}  // namespace glovebox::gateway
