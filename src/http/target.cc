#include "http/target.h"

#include <algorithm>
#include <random>

#include "base/random.h"
#include "http/text.h"

namespace glovebox::http {
namespace {

Refused bad(std::string what) { return Refused{400, "INVALID", std::move(what)}; }

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool valid_host(std::string_view host) {
  return host.size() <= 255 && std::ranges::all_of(host, [](char c) {
           return is_letter_or_digit(c) || std::string_view("-._~:[]%").contains(c);
         });
}

// The name in "name:80", "[::1]:80", "name". What is none of these is no name of ours, whatever it
// begins with.
std::string_view without_port(std::string_view authority) {
  auto end = authority.starts_with('[') ? authority.find(']') + 1 : authority.find(':');
  auto rest = authority.substr(std::min(end, authority.size()));
  bool is_port = rest.starts_with(':') && rest.find_first_not_of("0123456789", 1) == rest.npos;
  return rest.empty() || is_port ? authority.substr(0, end) : authority;
}

bool is_allowed(std::string_view authority, const std::vector<std::string>& allowed) {
  std::string host = lower(without_port(authority));
  return std::ranges::any_of(allowed, [&](const std::string& name) {
    return name.starts_with('.') ? host.size() > name.size() && host.ends_with(name) : host == name;
  });
}

// "http://host/path" is what a client says to a proxy; a server must understand it and then ignores
// Host.
std::string_view take_authority(std::string_view target, Headers& headers) {
  for (std::string_view scheme : {"http://", "https://"}) {
    if (!same_name(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    auto end = std::min(target.find_first_of("/?"), target.size());
    headers.set("Host", std::string(target.substr(0, end)));
    return target.substr(end);
  }
  return target;
}

// To tell requests apart, and no secret: the kernel is asked for randomness once and not, which
// costs a tenth of a small request, each time.
std::string fresh_id() {
  thread_local std::mt19937_64 numbers = [] {
    const std::string seed = random_bytes(32);
    std::seed_seq words(seed.begin(), seed.end());
    return std::mt19937_64(words);
  }();
  std::string id = "req_";
  for (int i = 0; i < 2; ++i) {
    std::uint64_t number = numbers();
    for (int digit = 0; digit < 10; ++digit, number /= 36)
      id += "0123456789abcdefghijklmnopqrstuvwxyz"[number % 36];
  }
  return id;
}

std::string request_id(const Headers& headers) {
  auto given = headers.get("X-Request-Id");
  bool sane =
      given && !given->empty() && given->size() <= 128 && std::ranges::all_of(*given, [](char c) {
        return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
      });
  return sane ? std::string(*given) : fresh_id();
}

}  // namespace

Parsed<Request> make_request(Parser& parser) {
  Request request;
  request.method = std::move(parser.method);
  request.headers = std::move(parser.headers);
  request.request_id = request_id(request.headers);

  std::string_view target = take_authority(parser.target, request.headers);
  if (target.empty() || target.starts_with('?'))
    request.path = "/";  // of an absolute target
  else if (!target.starts_with('/') && target != "*")
    return std::unexpected(bad("the request target is not a path"));
  for (char c : target)
    if (c <= ' ' || c >= 0x7f || c == '#')
      return std::unexpected(bad("a character in the target that must be encoded"));
  if (!valid_percent(target)) return std::unexpected(bad("a bad %-sequence in the target"));

  auto question = target.find('?');
  if (question != target.npos) request.query = target.substr(question + 1);
  auto path = target.substr(0, question);
  while (path.starts_with("//")) path.remove_prefix(1);
  if (!path.empty()) request.path = path;

  auto host = request.headers.get("Host");
  if (!host && parser.minor_version > 0) return std::unexpected(bad("the Host header is missing"));
  if (host && !valid_host(*host)) return std::unexpected(bad("the Host header is not a host"));
  return request;
}

Parsed<void> check_host(const Request& request, const std::vector<std::string>& allowed) {
  if (allowed.empty()) return {};
  if (!is_allowed(request.headers.get("Host").value_or(""), allowed))
    return std::unexpected(
        Refused{403, "FORBIDDEN_HOST", "this server is not known by that Host name"});
  auto origin = request.headers.get("Origin");
  if (!origin) return {};
  auto scheme = origin->find("://");
  if (scheme == origin->npos || !is_allowed(origin->substr(scheme + 3), allowed))
    return std::unexpected(
        Refused{403, "FORBIDDEN_ORIGIN", "pages of that Origin may not call this server"});
  return {};
}

}  // namespace glovebox::http
