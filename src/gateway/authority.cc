#include "gateway/authority.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <memory>

#include "base/random.h"
#include "net/openssl.h"

namespace glovebox::gateway {

namespace {

using net::Bio;
using net::Cert;
using net::Free;
using net::Key;
using net::openssl_error;
using Number = std::unique_ptr<BIGNUM, Free<&BN_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<&X509_EXTENSION_free>>;
using Constraints = std::unique_ptr<NAME_CONSTRAINTS, Free<&NAME_CONSTRAINTS_free>>;
using Name = std::unique_ptr<X509_NAME, Free<&X509_NAME_free>>;

// Machines' clocks differ: what is made now is good for them, too.
constexpr std::int64_t kBackdate = kDay;

Bio reader(std::string_view text) {
  return Bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Nobody is asked for a passphrase.
int no_passphrase(char*, int, int, void*) { return 0; }

Result<Cert> read_cert(std::string_view pem) {
  ::ERR_clear_error();
  Cert cert(::PEM_read_bio_X509(reader(pem).get(), nullptr, &no_passphrase, nullptr));
  if (!cert) return openssl_error("certificate", Code::invalid);
  return cert;
}

Result<Key> read_private_key(std::string_view pem) {
  ::ERR_clear_error();
  Key key(::PEM_read_bio_PrivateKey(reader(pem).get(), nullptr, &no_passphrase, nullptr));
  if (!key) return openssl_error("key", Code::invalid);
  return key;
}

std::string text_in(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Result<Secret> write(X509* cert, EVP_PKEY* key) {
  Bio bio(::BIO_new(::BIO_s_secmem()));
  if (::PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      ::PEM_write_bio_X509(bio.get(), cert) != 1)
    return openssl_error("write a certificate");
  return Secret(text_in(bio.get()));
}

struct Wanted {
  std::string name;  // of its subject, for people
  std::int64_t days;
  std::initializer_list<std::pair<int, std::string>> extensions;
};

// `issuer` null: it signs itself.
Result<Cert> make(const Wanted& wanted, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key,
                  std::int64_t now) {
  Cert cert(::X509_new());
  ::X509_set_version(cert.get(), X509_VERSION_3);
  std::string serial = random_bytes(16);
  serial[0] = static_cast<char>((serial[0] & 0x3f) | 0x40);  // positive, and of one length
  Number number(::BN_bin2bn(reinterpret_cast<const unsigned char*>(serial.data()),
                            static_cast<int>(serial.size()), nullptr));
  ::BN_to_ASN1_INTEGER(number.get(), ::X509_get_serialNumber(cert.get()));
  ::ASN1_TIME_set(::X509_getm_notBefore(cert.get()), now - kBackdate);
  ::ASN1_TIME_set(::X509_getm_notAfter(cert.get()), now + wanted.days * kDay);
  ::X509_set_pubkey(cert.get(), key);
  Name name(::X509_NAME_new());
  ::X509_NAME_add_entry_by_txt(name.get(), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(wanted.name.data()),
                               static_cast<int>(wanted.name.size()), -1, 0);
  ::X509_set_subject_name(cert.get(), name.get());
  X509* signer = issuer ? issuer : cert.get();
  ::X509_set_issuer_name(cert.get(), ::X509_get_subject_name(signer));
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  ::X509V3_set_ctx(&context, signer, cert.get(), nullptr, nullptr, 0);
  for (const auto& [id, value] : wanted.extensions) {
    Extension extension(::X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str()));
    if (!extension || ::X509_add_ext(cert.get(), extension.get(), -1) != 1)
      return openssl_error(str("extension ", value));
  }
  if (::X509_sign(cert.get(), issuer_key, ::EVP_sha256()) == 0)
    return openssl_error("sign a certificate");
  return cert;
}

// Old enough to be understood everywhere, small enough to be quick.
Result<Key> new_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("make a key");
  return key;
}

Result<Secret> self_signed(std::string_view name, EVP_PKEY* key, std::string_view domain,
                           std::int64_t now) {
  Wanted wanted{.name = std::string(name),
                .days = kAuthorityDays,
                .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                               {NID_key_usage, "critical,keyCertSign,cRLSign"},
                               {NID_subject_key_identifier, "hash"},
                               {NID_name_constraints,
                                str("critical,permitted;DNS:", domain,
                                    ",permitted;DNS:localhost,permitted;IP:127.0.0.0/255.0.0.0,",
                                    "permitted;IP:0:0:0:0:0:0:0:1/"
                                    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}}};
  TRY(cert, make(wanted, key, nullptr, key, now));
  return write(cert.get(), key);
}

std::string common_name(X509* cert) {
  char name[256] = "";
  ::X509_NAME_get_text_by_NID(::X509_get_subject_name(cert), NID_commonName, name, sizeof name);
  return name;
}

std::int64_t seconds(const ASN1_TIME* time) {
  std::tm parts{};
  if (::ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return ::timegm(&parts);
}

}  // namespace

Result<Secret> make_authority(std::string_view domain, std::int64_t now_secs) {
  TRY(key, new_key());
  // A name of its own: stores of trust tell authorities apart by it.
  return self_signed(str("Glovebox local authority ", random_id(8)), key.get(), domain, now_secs);
}

Result<Secret> prolong_authority(const Secret& authority, std::string_view domain,
                                 std::int64_t now_secs) {
  TRY(cert, read_cert(authority.reveal()));
  TRY(key, read_private_key(authority.reveal()));
  return self_signed(common_name(cert.get()), key.get(), domain, now_secs);
}

Result<Secret> issue_leaf(const Secret& authority, std::string_view domain, std::int64_t now_secs) {
  TRY(issuer, read_cert(authority.reveal()));
  TRY(issuer_key, read_private_key(authority.reveal()));
  TRY(key, new_key());
  Wanted wanted{.name = "Glovebox ingress",
                .days = kLeafDays,
                .extensions = {
                    {NID_basic_constraints, "critical,CA:FALSE"},
                    {NID_key_usage, "critical,digitalSignature"},
                    {NID_ext_key_usage, "serverAuth"},
                    {NID_subject_key_identifier, "hash"},
                    {NID_authority_key_identifier, "keyid:always"},
                    {NID_subject_alt_name, str("DNS:", domain, ",DNS:*.", domain,
                                               ",DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1")}}};
  TRY(cert, make(wanted, key.get(), issuer.get(), issuer_key.get(), now_secs));
  return write(cert.get(), key.get());
}

Result<CertificateFacts> facts_of(std::string_view pem) {
  TRY(cert, read_cert(pem));
  CertificateFacts facts;
  facts.not_before = seconds(::X509_get0_notBefore(cert.get()));
  facts.not_after = seconds(::X509_get0_notAfter(cert.get()));
  facts.subject = common_name(cert.get());
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (::X509_digest(cert.get(), ::EVP_sha256(), hash, &size) != 1)
    return openssl_error("fingerprint");
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (unsigned int i = 0; i < size; ++i) {
    if (i) facts.sha256 += ':';
    facts.sha256 += {kDigits[hash[i] >> 4], kDigits[hash[i] & 15]};
  }
  return facts;
}

bool is_for(std::string_view pem, std::string_view domain) {
  auto cert = read_cert(pem);
  if (!cert) return false;
  for (const std::string& name : {std::string(domain), str("any-name.", domain)})
    if (::X509_check_host(cert->get(), name.data(), name.size(), 0, nullptr) != 1) return false;
  return true;
}

bool may_sign_for(std::string_view pem, std::string_view domain) {
  auto cert = read_cert(pem);
  if (!cert || ::X509_check_ca(cert->get()) != 1) return false;
  Constraints constraints(static_cast<NAME_CONSTRAINTS*>(
      ::X509_get_ext_d2i(cert->get(), NID_name_constraints, nullptr, nullptr)));
  if (!constraints) return false;
  for (int i = 0; i < sk_GENERAL_SUBTREE_num(constraints->permittedSubtrees); ++i) {
    const GENERAL_NAME* base = sk_GENERAL_SUBTREE_value(constraints->permittedSubtrees, i)->base;
    if (base->type != GEN_DNS) continue;
    auto* text = reinterpret_cast<const char*>(::ASN1_STRING_get0_data(base->d.dNSName));
    if (std::string_view(text, static_cast<std::size_t>(::ASN1_STRING_length(base->d.dNSName))) ==
        domain)
      return true;
  }
  return false;
}

bool is_signed_by(std::string_view pem, std::string_view authority) {
  auto cert = read_cert(pem), issuer = read_cert(authority);
  bool is_it = cert && issuer && ::X509_check_issued(issuer->get(), cert->get()) == X509_V_OK &&
               ::X509_verify(cert->get(), ::X509_get0_pubkey(issuer->get())) == 1;
  ::ERR_clear_error();
  return is_it;
}

Result<std::string> certificate_of(std::string_view pem) {
  TRY(cert, read_cert(pem));
  Bio bio(::BIO_new(::BIO_s_mem()));
  if (::PEM_write_bio_X509(bio.get(), cert.get()) != 1) return openssl_error("write a certificate");
  return text_in(bio.get());
}

}  // namespace glovebox::gateway
