#include "gateway/dns_message.h"

#include <algorithm>

namespace glovebox::gateway::dns {

namespace {

constexpr std::size_t kHeader = 12, kMaxName = 255, kMaxQuery = 512;
constexpr std::uint16_t kClassIn = 1;
constexpr std::uint16_t kTypeA = 1, kTypeAaaa = 28;

// What programs look up: A NS CNAME SOA PTR MX TXT AAAA LOC SRV NAPTR DNAME DS SSHFP RRSIG NSEC
// DNSKEY TLSA SMIMEA SVCB HTTPS SPF URI CAA.
constexpr std::uint16_t kTypes[] = {1,  2,  5,  6,  12, 15, 16, 28, 29, 33, 35,  39,
                                    43, 44, 46, 47, 48, 52, 53, 64, 65, 99, 256, 257};

std::uint16_t number(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[at]) << 8 |
                                    static_cast<unsigned char>(bytes[at + 1]));
}

// The end of a name that begins at `at`; 0: it is none. A question's name is spelled out; in
// records a pointer may end it, and where that leads is nobody's business here.
std::size_t name_end(std::string_view message, std::size_t at, bool pointers) {
  const std::size_t begin = at;
  while (at < message.size()) {
    const auto length = static_cast<unsigned char>(message[at]);
    if (length == 0) return at + 1;
    if ((length & 0xc0) == 0xc0) return pointers && at + 2 <= message.size() ? at + 2 : 0;
    if (length > 63) return 0;
    at += 1u + length;
    if (at - begin >= kMaxName) return 0;
  }
  return 0;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

Error bad(std::string_view what) { return Error{Code::invalid, str("DNS: ", what)}; }

}  // namespace

Result<Query> parse_query(std::string message) {
  if (message.size() < kHeader || message.size() > kMaxQuery) return bad("no query by its size");
  const std::uint16_t flags = number(message, 2);
  if (flags & 0xf800) return bad("no query");  // an answer, or another kind of operation
  // One question; no answers; beside it at most one thing, which is for the options of EDNS.
  if (number(message, 4) != 1 || number(message, 6) || number(message, 8) ||
      number(message, 10) > 1)
    return bad("not one question");
  std::size_t end = name_end(message, kHeader, false);
  if (end == 0 || end + 4 > message.size()) return bad("no name in the question");
  Query query;
  query.type = number(message, end);
  if (number(message, end + 2) != kClassIn) return bad("not of class IN");
  query.usual = std::ranges::find(kTypes, query.type) != std::end(kTypes);
  query.id = number(message, 0);
  query.question = end + 4 - kHeader;
  query.message = std::move(message);
  return query;
}

std::string with_id(std::string message, std::uint16_t id) {
  message[0] = static_cast<char>(id >> 8);
  message[1] = static_cast<char>(id & 0xff);
  return message;
}

bool answers(std::string_view message, const Query& query, std::uint16_t id) {
  if (message.size() < kHeader + query.question || number(message, 0) != id) return false;
  if (!(number(message, 2) & 0x8000) || number(message, 4) != 1) return false;
  auto asked = std::string_view(query.message).substr(kHeader, query.question);
  return std::ranges::equal(asked, message.substr(kHeader, query.question),
                            [](char a, char b) { return lower(a) == lower(b); });
}

Result<std::vector<std::string>> addresses(std::string_view message) {
  if (message.size() < kHeader) return bad("no header");
  std::size_t at = kHeader;
  for (int i = number(message, 4); i > 0; --i) {
    at = name_end(message, at, true);
    if (at == 0 || at + 4 > message.size()) return bad("question cut short");
    at += 4;
  }
  std::vector<std::string> found;
  const int records = number(message, 6) + number(message, 8) + number(message, 10);
  for (int i = 0; i < records; ++i) {
    at = name_end(message, at, true);
    if (at == 0 || at + 10 > message.size()) return bad("record cut short");
    const std::uint16_t type = number(message, at), size = number(message, at + 8);
    at += 10;
    if (at + size > message.size()) return bad("record cut short");
    if ((type == kTypeA && size == 4) || (type == kTypeAaaa && size == 16))
      found.emplace_back(message.substr(at, size));
    at += size;
  }
  return found;
}

std::string answer(const Query& query, Answer code) {
  std::string out = query.message.substr(0, kHeader + query.question);
  const bool wants_recursion = static_cast<unsigned char>(out[2]) & 1;
  out[2] = static_cast<char>(wants_recursion ? 0x81 : 0x80);
  out[3] = static_cast<char>(0x80 | static_cast<std::uint8_t>(code));
  std::ranges::fill(out.begin() + 6, out.begin() + kHeader, '\0');
  return out;
}

}  // namespace glovebox::gateway::dns
