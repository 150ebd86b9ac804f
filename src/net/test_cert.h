// For tests: a certificate of its own for localhost and 127.0.0.1, in a directory that goes with
// the object.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <string>

#include "base/temp_dir.h"

namespace glovebox::net {

class TestCert {
 public:
  TestCert() {
    directory_ = make_temp_dir("glovebox-cert");
    write();
  }
  ~TestCert() { std::filesystem::remove_all(directory_); }
  TestCert(const TestCert&) = delete;
  std::string cert() const { return directory_ + "/cert.pem"; }
  std::string key() const { return directory_ + "/key.pem"; }

 private:
  void write() const {
    EVP_PKEY* pair = ::EVP_EC_gen("P-256");
    X509* cert = ::X509_new();
    ::X509_set_version(cert, 2);
    ::ASN1_INTEGER_set(::X509_get_serialNumber(cert), 1);
    ::X509_gmtime_adj(::X509_getm_notBefore(cert), -3600);
    ::X509_gmtime_adj(::X509_getm_notAfter(cert), 3600);
    ::X509_set_pubkey(cert, pair);
    X509_NAME* name = ::X509_get_subject_name(cert);
    ::X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
    ::X509_set_issuer_name(cert, name);
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    ::X509V3_set_ctx(&context, cert, cert, nullptr, nullptr, 0);
    for (auto [id, value] : {std::pair{NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1"},
                             std::pair{NID_basic_constraints, "critical,CA:TRUE"}}) {
      X509_EXTENSION* extension = ::X509V3_EXT_conf_nid(nullptr, &context, id, value);
      ::X509_add_ext(cert, extension, -1);
      ::X509_EXTENSION_free(extension);
    }
    ::X509_sign(cert, pair, ::EVP_sha256());
    FILE* cert_file = std::fopen(this->cert().c_str(), "w");
    ::PEM_write_X509(cert_file, cert);
    std::fclose(cert_file);
    FILE* key_file = std::fopen(key().c_str(), "w");
    ::PEM_write_PrivateKey(key_file, pair, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(key_file);
    ::X509_free(cert);
    ::EVP_PKEY_free(pair);
  }

  std::string directory_;
};

}  // namespace glovebox::net
