// As much of DNS messages (RFC 1035) as a forwarder must understand to be more than a pipe: which
// question is asked, whether an answer is one to it, and what addresses it gives. Both sides are
// hostile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::gateway::dns {

inline constexpr std::size_t kMaxMessage = 65'535;
enum class Answer : std::uint8_t { failed = 2, no_such_name = 3, refused = 5 };

struct Query {
  std::string message;  // as it came
  std::uint16_t id = 0;
  std::uint16_t type = 0;
  std::size_t question = 0;  // length of the question, behind the header of 12 bytes
  bool usual = false;        // of a type that names are looked up for: no transfer, no ANY
};
// Exactly one question for a name, of class IN. What is not that is an error, and gets no answer.
Result<Query> parse_query(std::string message);

// The same question under another id: what is not known cannot be answered by a stranger.
std::string with_id(std::string message, std::uint16_t id);

// Whether the message is a whole answer to the query when that was sent under `id`.
bool answers(std::string_view message, const Query& query, std::uint16_t id);
// The A and AAAA records of an answer, 4 bytes or 16 each. One that cannot be read to its end is an
// error.
Result<std::vector<std::string>> addresses(std::string_view message);

// An answer of our own, without records.
std::string answer(const Query& query, Answer code);

}  // namespace glovebox::gateway::dns
