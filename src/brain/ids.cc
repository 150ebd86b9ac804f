#include "brain/ids.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "base/random.h"
#include "base/str.h"
#include "brain/store.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kDigits =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::size_t kTimeDigits = 9;  // 62^9 microseconds last until the year 2399
constexpr std::size_t kRandomDigits = 13;

}  // namespace

std::string new_id(std::string_view prefix) {
  // Two ids of one microsecond sort by their order too: the later one takes the next.
  static Micros last = 0;
  Micros time = last = std::max(now_us(), last + 1);
  std::array<char, kTimeDigits> digits;
  for (std::size_t i = kTimeDigits; i-- > 0; time /= 62)
    digits[i] = kDigits[static_cast<std::size_t>(time % 62)];
  std::string id = str(prefix, "_01", std::string_view(digits.data(), digits.size()));
  const std::size_t whole = id.size() + kRandomDigits;
  while (id.size() < whole)
    for (unsigned char c : random_bytes(kRandomDigits + 3))
      if (c < 248 && id.size() < whole) id += kDigits[c % 62];  // 248 = 4 × 62: each as likely
  return id;
}

std::string new_secret(std::string_view prefix) {
  return str(prefix, '-', base64url(random_bytes(32)));
}

std::string hash_of(std::string_view secret) {
  std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), digest.data());
  return hex(digest);
}

}  // namespace glovebox::brain
