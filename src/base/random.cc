#include "base/random.h"

#include <sys/random.h>

#include <cassert>

namespace glovebox {

std::string random_bytes(std::size_t n) {
  std::string bytes(n, '\0');
  for (std::size_t done = 0; done < n;) {
    ssize_t got = ::getrandom(bytes.data() + done, n - done, 0);
    assert(got > 0 || errno == EINTR);
    if (got > 0) done += static_cast<std::size_t>(got);
  }
  return bytes;
}

std::string random_id(std::size_t n) {
  constexpr char kLetters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string id;
  while (id.size() < n)
    for (unsigned char c : random_bytes(n))
      if (c < 252 && id.size() < n) id += kLetters[c % 36];  // 252 = 7 × 36: every letter as likely
  return id;
}

}  // namespace glovebox
