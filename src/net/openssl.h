#pragma once

// OpenSSL's objects as owners of themselves, and its errors as ours.

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>

#include "base/error.h"
#include "base/str.h"

namespace glovebox::net {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<&BIO_free>>;
using Cert = std::unique_ptr<X509, Free<&X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<&EVP_PKEY_free>>;

inline Error openssl_error(std::string_view doing, Code code = Code::internal) {
  char text[256] = "unknown error";
  if (unsigned long reason = ::ERR_get_error()) ::ERR_error_string_n(reason, text, sizeof text);
  ::ERR_clear_error();  // the queue belongs to the thread: leave nothing for the next one
  return Error{code, str(doing, ": ", text)};
}

}  // namespace glovebox::net
