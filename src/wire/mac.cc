#include "wire/mac.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdlib>

namespace glovebox::wire {

std::string hmac_sha256(std::string_view message, const Secret& key) {
  std::string mac(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  const std::string_view bytes = key.reveal();
  // Fails only when SHA-256 is not to be had, and then nothing here may go on.
  if (!HMAC(EVP_sha256(), bytes.data(), static_cast<int>(bytes.size()),
            reinterpret_cast<const unsigned char*>(message.data()), message.size(),
            reinterpret_cast<unsigned char*>(mac.data()), &size))
    std::abort();
  mac.resize(size);
  return mac;
}

}  // namespace glovebox::wire
