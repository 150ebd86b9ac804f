// SHA-256 of what comes in pieces.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/str.h"

namespace glovebox::engine {

class Sha256 {
 public:
  Sha256() { ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr); }
  Sha256& add(std::string_view bytes) {
    ::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
    return *this;
  }
  // With its length in front, so that no two lists of fields look alike.
  Sha256& field(std::string_view bytes) { return add(str(bytes.size(), ":")).add(bytes); }
  std::string hex() {  // once
    std::uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    ::EVP_DigestFinal_ex(context_.get(), digest, &size);
    return glovebox::hex(std::span(digest, size));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype([](EVP_MD_CTX* context) { ::EVP_MD_CTX_free(context); })>
      context_{::EVP_MD_CTX_new()};
};

}  // namespace glovebox::engine
