#include "gateway/uplink_words.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "http/client.h"
#include "http/text.h"

namespace glovebox::gateway {

namespace {

constexpr std::string_view kBetas[] = {kAgentsBeta, kMemoryBeta, "skills-2025-10-02",
                                       "files-api-2025-04-14"};
constexpr std::string_view kHelpers[] = {kWorkerHelper, "session-tool-runner", kPollerHelper};

std::string known_words(const http::Request& request, std::string_view header,
                        std::span<const std::string_view> known, std::string_view otherwise) {
  std::string out;
  for (std::string_view word : known)
    if (http::has_token(request.headers.get(header).value_or(""), word))
      out += str(out.empty() ? "" : ",", word);
  return out.empty() ? std::string(otherwise) : out;
}

// The shape of answers follows it, and the worker in the box may be an older one.
std::string version_of(const http::Request& request) {
  auto said = request.headers.get("anthropic-version");
  bool date = said && said->size() == 10 && (*said)[4] == '-' && (*said)[7] == '-' &&
              std::ranges::all_of(*said, [](char c) { return (c >= '0' && c <= '9') || c == '-'; });
  return date ? std::string(*said) : "2026-10-21";
}

}  // namespace

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 4 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_token(std::string_view text) {
  return !text.empty() && text.size() <= 1024 &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 127; });
}

Result<std::string> query_of(std::span<const Argument> known, std::string_view raw) {
  std::vector<std::optional<std::string>> values(known.size());
  if (raw.empty()) return std::string();
  for (const std::string& part : split(raw, '&')) {
    const std::size_t equals = part.find('=');
    const std::string name = http::form_decode(part.substr(0, equals));
    if (name == "beta") continue;  // of older clients: says nothing
    const auto at = static_cast<std::size_t>(
        std::ranges::find(known, std::string_view(name), &Argument::name) - known.begin());
    if (at == known.size()) return Error{Code::invalid, "an argument that is not passed on"};
    std::string value =
        equals == part.npos ? "" : http::form_decode(std::string_view(part).substr(equals + 1));
    if (values[at]) return Error{Code::invalid, str(known[at].name, ": is given twice")};
    if (!known[at].good(value)) return Error{Code::invalid, str(known[at].name, ": is no such")};
    values[at] = std::move(value);
  }
  std::string query;
  for (std::size_t i = 0; i < known.size(); ++i)
    if (values[i])
      query += str(query.empty() ? '?' : '&', known[i].name, '=', http::encode_query(*values[i]));
  return query;
}

http::Headers service_headers(const http::Headers& of_operator, const http::Request& request,
                              Otherwise otherwise, bool with_body) {
  http::Headers headers;
  headers.set("Accept", std::string(otherwise.accept));
  headers.set("User-Agent", "glovebox-uplink/" GLOVEBOX_VERSION);
  headers.set("anthropic-version", version_of(request));
  for (const auto& [name, value] : of_operator.all()) headers.set(name, value);
  headers.set("anthropic-beta", known_words(request, "anthropic-beta", kBetas, otherwise.beta));
  headers.set("x-stainless-helper",
              known_words(request, "x-stainless-helper", kHelpers, otherwise.helper));
  if (with_body) headers.set("Content-Type", "application/json");
  return headers;
}

}  // namespace glovebox::gateway
