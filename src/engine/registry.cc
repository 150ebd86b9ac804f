#include "engine/registry.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>

#include "engine/oci.h"
#include "engine/sha256.h"
#include "net/task.h"

namespace glovebox::engine {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxText = 4 << 20;
constexpr int kRedirects = 5;
constexpr int kAttempts = 4;
constexpr std::uint64_t kMaxBlob = 64ull << 30;
constexpr const char* kManifests =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json";

// "127.example.org" is a name like any other, which leads wherever its owner likes.
bool of_this_machine(std::string_view host) {
  if (host == "::1" || host.starts_with("[::1]")) return true;
  std::string name(host.substr(0, host.find(':')));
  in_addr address{};
  return name == "localhost" ||
         (name.starts_with("127.") && ::inet_pton(AF_INET, name.c_str(), &address) == 1);
}

std::string base64(std::string_view text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');
  int n = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                            reinterpret_cast<const unsigned char*>(text.data()),
                            static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

struct Target {
  http::Url url;
  std::string path;
};
// An absolute address as a client and the rest. Foreign ones must be https.
Result<Target> split_address(std::string_view address, bool plain_allowed) {
  auto scheme = address.find("://");
  if (scheme == address.npos) return Error{Code::invalid, "no address"};
  auto slash = address.find_first_of("/?", scheme + 3);
  std::string_view origin = address.substr(0, slash);
  TRY(url, http::Url::parse(origin));
  if (url.scheme != "https" &&
      !(url.scheme == "http" && plain_allowed && of_this_machine(url.host)))
    return Error{Code::forbidden,
                 str("the registry sends us to ", valid_utf8(origin), ", which is not https")};
  std::string path = slash == address.npos ? "/" : std::string(address.substr(slash));
  if (path.starts_with('?')) path.insert(0, "/");
  return Target{std::move(url), std::move(path)};
}

Task<std::string> read_text(http::BodyReader& body) {
  std::string text;
  for (;;) {
    CO_TRY(piece, co_await body.read());
    if (piece.empty()) co_return text;
    if (text.size() + piece.size() > kMaxText)
      co_return Error{Code::too_large, "the registry's answer is too long"};
    text += piece;
  }
}

Error refusal(int status, const Reference& reference, std::string_view what) {
  std::string said = str("registry ", reference.host, ": ", what, ": status ", status);
  if (status == 404) return {Code::not_found, said, "IMAGE_NOT_FOUND"};
  if (status == 401 || status == 403)
    return {Code::forbidden, said + " (no such image, or a name and password are needed)",
            "REGISTRY_REFUSED"};
  if (status == 429) return {Code::exhausted, said + " (too many pulls; later may do)"};
  return {Code::unavailable, said};
}

}  // namespace

Result<Reference> parse_reference(std::string_view text) {
  auto wrong = [&] {
    return Error{Code::invalid, str("'", valid_utf8(text.substr(0, 200)),
                                    "' is no image reference, such as debian:12, "
                                    "ghcr.io/owner/name:tag or name@sha256:…")};
  };
  Reference out;
  std::string rest(text);
  if (auto at = rest.find('@'); at != rest.npos) {
    out.tag = rest.substr(at + 1);
    if (!check_digest(out.tag)) return wrong();
    rest.resize(at);
  }
  auto slash = rest.find('/');
  std::string first = rest.substr(0, slash);
  bool named =
      slash != rest.npos && (first.find_first_of(".:") != first.npos || first == "localhost");
  out.host = named ? first : "docker.io";
  if (named) rest.erase(0, slash + 1);
  auto colon = rest.rfind(':');
  if (colon != rest.npos) {
    if (out.tag.empty()) out.tag = rest.substr(colon + 1);
    rest.resize(colon);
  }
  if (out.tag.empty()) out.tag = "latest";
  auto fits = [](std::string_view part, std::string_view more) {
    return !part.empty() && part.size() <= 255 && std::ranges::all_of(part, [&](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != more.npos;
    });
  };
  if (out.host == "docker.io" && rest.find('/') == rest.npos) rest = "library/" + rest;
  out.repository = rest;
  auto begins_well = [](std::string_view part) {
    return !part.empty() && part[0] != '.' && part[0] != '-' && part[0] != ':';
  };
  if (rest.ends_with('/') || !begins_well(rest) || !begins_well(out.host)) return wrong();
  const std::string upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  if (!fits(out.repository, "._-/") || out.repository.find("..") != std::string::npos ||
      out.repository.find("//") != std::string::npos || out.repository.starts_with('/') ||
      !fits(out.tag, upper + "._-:") || !fits(out.host, upper + ".-:[]"))
    return wrong();
  const char* join = out.tag.starts_with("sha256:") ? "@" : ":";
  out.text = str(out.host, "/", out.repository, join, out.tag);
  if (out.host == "docker.io") out.host = "registry-1.docker.io";
  out.plain = of_this_machine(out.host);
  return out;
}

Challenge parse_challenge(std::string_view header) {
  Challenge out;
  auto space = header.find(' ');
  out.scheme = lower(header.substr(0, space));
  if (space == header.npos) return out;
  std::string_view rest = header.substr(space + 1);
  while (!rest.empty()) {
    auto equals = rest.find('=');
    if (equals == rest.npos) break;
    std::string key = lower(trim(rest.substr(0, equals)));
    rest.remove_prefix(equals + 1);
    std::string value;
    if (rest.starts_with('"')) {
      auto end = rest.find('"', 1);
      if (end == rest.npos) break;
      value = rest.substr(1, end - 1);
      rest.remove_prefix(end + 1);
    } else {
      auto end = std::min(rest.find(','), rest.size());
      value = trim(rest.substr(0, end));
      rest.remove_prefix(end);
    }
    if (auto comma = rest.find(','); comma != rest.npos)
      rest.remove_prefix(comma + 1);
    else
      rest = {};
    if (key == "realm") out.realm = value;
    if (key == "service") out.service = value;
    if (key == "scope") out.scope = value;
  }
  return out;
}

// Whoever asked for an image chose its registry. Where that sends us on to is its own choice, and
// must not be what only this machine can reach.
http::ClientOptions Registry::options_for(const http::Url& to) const {
  http::ClientOptions options;
  auto own = http::Url::parse("https://" + reference_.host);
  const bool home = own && own->host == to.host;
  if (!home && !reference_.plain) options.reach = net::Reach::public_only;
  return options;
}

Task<void> Registry::sign_in(Challenge challenge) {
  std::string basic;
  if (!credentials_.user.empty())
    basic = "Basic " + base64(str(credentials_.user, ":", credentials_.password.reveal()));
  if (challenge.scheme == "basic") {
    if (basic.empty()) co_return refusal(401, reference_, reference_.text);
    authorization_ = Secret(basic);
    co_return ok;
  }
  if (challenge.scheme != "bearer" || challenge.realm.empty())
    co_return Error{Code::unsupported, str("registry ", reference_.host,
                                           " asks for a sign-in of a kind we do not know")};
  CO_TRY(target, split_address(challenge.realm, reference_.plain), "sign in");
  std::string path = target.path + (target.path.find('?') == std::string::npos ? "?" : "&");
  path += "service=" + http::encode_query(challenge.service);
  std::string scope = challenge.scope.empty() ? str("repository:", reference_.repository, ":pull")
                                              : challenge.scope;
  path += "&scope=" + http::encode_query(scope);
  http::Headers headers;
  if (!basic.empty()) headers.set("Authorization", basic);
  http::ClientOptions options = options_for(target.url);
  options.body_limit = kMaxText;
  http::Client client(loop_, target.url, {}, options);
  CO_TRY(answer, co_await client.call("GET", path, {}, std::move(headers)), "sign in");
  if (answer.status != 200) co_return refusal(answer.status, reference_, "sign in");
  boost::system::error_code wrong;
  json::value value = json::parse(answer.body, wrong);
  for (const char* name : {"token", "access_token"})
    if (!wrong && value.is_object())
      if (const json::value* token = value.as_object().if_contains(name);
          token && token->is_string()) {
        authorization_ = Secret(str("Bearer ", std::string_view(token->as_string())));
        co_return ok;
      }
  co_return Error{Code::unavailable, str("registry ", reference_.host, ": sign-in gave no token")};
}

Task<http::StreamResponse> Registry::get(std::string path, std::string accept, std::uint64_t from) {
  CO_TRY(target,
         split_address(str(reference_.plain ? "http://" : "https://", reference_.host, path),
                       reference_.plain));
  bool home = true, signed_in = false;
  for (int redirects = 0; redirects <= kRedirects;) {
    http::Headers headers;
    headers.set("User-Agent", "glovebox/" GLOVEBOX_VERSION);
    if (!accept.empty()) headers.set("Accept", accept);
    if (from > 0) headers.set("Range", str("bytes=", from, "-"));
    // Not to whom it sends us on: those have addresses that are signed.
    if (home && !authorization_.empty())
      headers.set("Authorization", std::string(authorization_.reveal()));
    client_ =
        std::make_unique<http::Client>(loop_, target.url, http::Headers(), options_for(target.url));
    CO_TRY(answer, co_await client_->open("GET", target.path, {}, std::move(headers)), "registry ",
           target.url.host);
    if (answer.status == 401 && home && !signed_in) {
      auto challenge = answer.headers.get("WWW-Authenticate");
      if (!challenge) co_return refusal(401, reference_, path);
      signed_in = true;
      CO_TRY_DO(co_await sign_in(parse_challenge(*challenge)));
      continue;
    }
    if (answer.status == 301 || answer.status == 302 || answer.status == 303 ||
        answer.status == 307 || answer.status == 308) {
      auto location = answer.headers.get("Location");
      if (!location) co_return refusal(answer.status, reference_, path);
      ++redirects;
      if (location->starts_with('/')) {
        target.path = std::string(*location);
      } else {
        CO_TRY(next, split_address(*location, reference_.plain), "redirect");
        home = home && next.url.host == target.url.host && next.url.port == target.url.port &&
               next.url.scheme == target.url.scheme;
        target = std::move(next);
      }
      continue;
    }
    co_return answer;
  }
  co_return Error{Code::unavailable, str("registry ", reference_.host, " sends us in circles")};
}

Task<Registry::Text> Registry::manifest(std::string tag_or_digest) {
  CO_TRY(answer, co_await get(str("/v2/", reference_.repository, "/manifests/", tag_or_digest),
                              kManifests, 0));
  if (answer.status != 200) co_return refusal(answer.status, reference_, reference_.text);
  Text out;
  out.media_type = std::string(answer.headers.get("Content-Type").value_or(""));
  if (auto semicolon = out.media_type.find(';'); semicolon != std::string::npos)
    out.media_type.resize(semicolon);
  CO_TRY(bytes, co_await read_text(*answer.body), "manifest");
  out.bytes = std::move(bytes);
  out.digest = "sha256:" + Sha256().add(out.bytes).hex();
  if (tag_or_digest.starts_with("sha256:") && out.digest != tag_or_digest)
    co_return Error{Code::invalid, str("the manifest is not ", tag_or_digest, " but ", out.digest)};
  co_return out;
}

Task<std::string> Registry::small_blob(std::string digest) {
  CO_TRY(answer, co_await get(str("/v2/", reference_.repository, "/blobs/", digest), "", 0));
  if (answer.status != 200) co_return refusal(answer.status, reference_, digest);
  CO_TRY(text, co_await read_text(*answer.body));
  std::string found = "sha256:" + Sha256().add(text).hex();
  if (found != digest)
    co_return Error{Code::invalid, str("blob ", digest, " is damaged: it is ", found)};
  co_return text;
}

static Result<void> append(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return sys_error("write a layer");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return ok;
}

Task<void> Registry::blob(std::string digest, std::uint64_t size, int file, Progress progress) {
  if (size > kMaxBlob) co_return Error{Code::too_large, str("blob ", digest, " is too large")};
  const std::uint64_t limit = size > 0 ? size : kMaxBlob;
  auto hash = std::make_unique<Sha256>();
  std::uint64_t done = 0;
  Result<void> last = ok;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 0) CO_TRY_DO(co_await net::sleep(Millis(200 << attempt)));
    auto answer = co_await get(str("/v2/", reference_.repository, "/blobs/", digest), "", done);
    if (!answer) {
      last = std::move(answer.error());
      if (last.error().code != Code::unavailable && last.error().code != Code::timeout)
        co_return last;
      continue;
    }
    if (answer->status == 200 && done > 0) {  // it does not go on where we were
      if (::ftruncate(file, 0) < 0 || ::lseek(file, 0, SEEK_SET) < 0) co_return sys_error("rewind");
      hash = std::make_unique<Sha256>();
      done = 0;
    } else if (answer->status != 200 && answer->status != 206) {
      last = refusal(answer->status, reference_, digest);
      if (answer->status < 500) co_return last;
      continue;
    }
    bool whole = false;
    for (;;) {
      auto piece = co_await answer->body->read();
      if (!piece) {
        last = std::move(piece.error());
        break;
      }
      if (piece->empty()) {
        whole = true;
        break;
      }
      done += piece->size();
      if (done > limit)
        co_return Error{Code::invalid, str("blob ", digest, " is longer than it should be")};
      hash->add(*piece);
      CO_TRY_DO(append(file, *piece));
      if (progress) CO_TRY_DO(progress(done));
    }
    if (!whole) {
      if (last.error().code == Code::cancelled) co_return last;
      continue;
    }
    std::string found = "sha256:" + hash->hex();
    if (found == digest) co_return ok;
    co_return Error{Code::invalid, str("blob ", digest, " is damaged: it is ", found)};
  }
  co_return std::move(last.error()).with(str("blob ", digest));
}

}  // namespace glovebox::engine
