#include "brain/seal.h"

#include <openssl/evp.h>

#include <memory>

#include "base/random.h"

namespace glovebox::brain {
namespace {

constexpr std::size_t kNonce = 12, kTag = 16;

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* in(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* out(std::string& bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }
int size(std::string_view bytes) { return static_cast<int>(bytes.size()); }

}  // namespace

Seal::Seal(Secret key) : key_(key.empty() ? Secret(random_bytes(kKeySize)) : std::move(key)) {}

Result<std::string> Seal::close(const Secret& plain, std::string_view purpose) const {
  std::string nonce = random_bytes(kNonce), sealed(plain.reveal().size(), '\0'), tag(kTag, '\0');
  Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int n = 0;
  bool done = cipher && key_.reveal().size() == kKeySize &&
              EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, in(key_.reveal()),
                                 in(nonce)) == 1 &&
              EVP_EncryptUpdate(cipher.get(), nullptr, &n, in(purpose), size(purpose)) == 1 &&
              EVP_EncryptUpdate(cipher.get(), out(sealed), &n, in(plain.reveal()),
                                size(plain.reveal())) == 1 &&
              EVP_EncryptFinal_ex(cipher.get(), out(sealed) + n, &n) == 1 &&
              EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTag, tag.data()) == 1;
  if (!done) return Error{Code::internal, "a secret could not be sealed"};
  return base64url(str(nonce, sealed, tag));
}

Result<Secret> Seal::reveal(std::string_view text, std::string_view purpose) const {
  const Error wrong{Code::internal, "a sealed secret does not open: is this its key file?"};
  auto whole = unbase64url(text);
  if (!whole || whole->size() < kNonce + kTag) return wrong;
  std::string_view nonce(whole->data(), kNonce);
  std::string_view sealed(whole->data() + kNonce, whole->size() - kNonce - kTag);
  std::string tag = whole->substr(whole->size() - kTag), plain(sealed.size(), '\0');
  Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int n = 0;
  bool done = cipher && key_.reveal().size() == kKeySize &&
              EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, in(key_.reveal()),
                                 in(nonce)) == 1 &&
              EVP_DecryptUpdate(cipher.get(), nullptr, &n, in(purpose), size(purpose)) == 1 &&
              EVP_DecryptUpdate(cipher.get(), out(plain), &n, in(sealed), size(sealed)) == 1 &&
              EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTag, tag.data()) == 1 &&
              EVP_DecryptFinal_ex(cipher.get(), out(plain) + n, &n) == 1;
  Secret opened(std::move(plain));
  if (!done) return wrong;
  return opened;
}

}  // namespace glovebox::brain
