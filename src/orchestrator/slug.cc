#include "orchestrator/slug.h"

#include <openssl/evp.h>

#include <array>
#include <span>

#include "base/str.h"
#include "orchestrator/orchestrator.h"

namespace glovebox::orchestrator {

namespace {

constexpr std::size_t kLongest = 63, kHash = 8;

std::string short_hash(std::string_view text) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  return hex(std::span(digest).first(kHash / 2));
}

}  // namespace

std::string slug(std::string_view prefix, std::string_view id) {
  std::string folded = lower(id);
  for (char& c : folded)
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) c = '-';
  std::string name = str(prefix, folded);
  const bool lossless =
      folded == id && !folded.empty() && !folded.ends_with('-') && name.size() <= kLongest;
  if (lossless) return name;
  name.resize(std::min(name.size(), kLongest - 1 - kHash));
  while (name.ends_with('-')) name.pop_back();
  return str(name, '-', short_hash(id));
}

std::string box_name(std::string_view session_id) { return slug("agent-", session_id); }

}  // namespace glovebox::orchestrator
