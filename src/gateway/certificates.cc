#include "gateway/certificates.h"

#include <sys/stat.h>

#include "base/fault.h"
#include "base/log.h"
#include "gateway/authority.h"
#include "sys/tree.h"

namespace glovebox::gateway {

namespace {

constexpr std::size_t kFileLimit = 64 * 1024;
constexpr std::int64_t kRenewLeaf = kLeafDays * kDay / 3;  // left
constexpr std::int64_t kRenewAuthority = 2 * kLeafDays * kDay;

Result<std::shared_ptr<net::TlsServer>> server_of(const Secret& pem) {
  return net::TlsServer::parse(pem.reveal(), pem);
}

// Empty: there is none.
Result<Secret> read(const std::string& path) {
  auto text = sys::read_file(path, kFileLimit);
  if (text) return Secret(std::move(*text));
  if (text.error().code == Code::not_found) return Secret();
  return std::move(text.error());
}

}  // namespace

Result<Certificates> Certificates::open(std::string directory, std::string domain, Clock& clock) {
  Certificates made(std::move(directory), std::move(domain), clock);
  TRY_DO(sys::make_dirs(made.path("tls"), 0700));
  if (::chmod(made.directory_.c_str(), 0711) < 0)
    return sys_error("let others pass through " + made.directory_);
  TRY_DO(made.renew());
  return made;
}

Result<void> Certificates::renew() {
  TRY_DO(keep_authority(), "local certificate authority");
  TRY_DO(keep_leaf(), "certificate for ", domain_);
  if (operators_.empty()) shown_ = own_;
  return ok;
}

Result<void> Certificates::keep_authority() {
  const std::string file = path("tls/authority.pem");
  if (authority_.empty()) {
    TRY(found, read(file));
    authority_ = std::move(found);
  }
  bool made = false;
  if (!authority_.empty()) {
    auto facts = facts_of(authority_.reveal());
    if (!facts || !server_of(authority_))
      return Error{Code::invalid, str(file, " is damaged; remove it to get a new authority, which ",
                                      "clients that trusted this one must then trust")};
    if (!may_sign_for(authority_.reveal(), domain_)) {
      log::warn("ingress.authority_replaced", {{"why", "it is for another domain"}});
      authority_ = {};
    } else if (facts->not_after - now() < kRenewAuthority) {
      TRY(longer, prolong_authority(authority_, domain_, now()));
      authority_ = std::move(longer);
      made = true;
    }
  }
  if (authority_.empty()) {
    TRY(fresh, make_authority(domain_, now()));
    authority_ = std::move(fresh);
    made = true;
  }
  if (made) {
    TRY_DO(sys::write_file_atomic(file, authority_.reveal(), 0600));
    FAULT("ingress.authority_saved");
    TRY(facts, facts_of(authority_.reveal()));
    log::info("ingress.authority", {{"name", facts.subject}, {"sha256", facts.sha256}});
  }
  // Also where somebody took it away.
  TRY(shown, certificate_of(authority_.reveal()));
  TRY(there, read(path("ca.pem")));
  if (there.reveal() != shown) TRY_DO(sys::write_file_atomic(path("ca.pem"), shown, 0644));
  FAULT("ingress.authority_shown");
  return ok;
}

Result<void> Certificates::keep_leaf() {
  const std::string file = path("tls/leaf.pem");
  if (leaf_.empty()) {
    TRY(found, read(file));
    leaf_ = std::move(found);
  }
  auto good = [&] {
    auto facts = facts_of(leaf_.reveal());
    return facts && facts->not_before <= now() && facts->not_after - now() > kRenewLeaf &&
           is_for(leaf_.reveal(), domain_) && is_signed_by(leaf_.reveal(), authority_.reveal()) &&
           server_of(leaf_);
  };
  bool keep = !leaf_.empty() && good();
  if (!keep) {
    TRY(fresh, issue_leaf(authority_, domain_, now()));
    TRY_DO(sys::write_file_atomic(file, fresh.reveal(), 0600));
    FAULT("ingress.leaf_saved");
    leaf_ = std::move(fresh);
    log::info("ingress.certificate", {{"domain", domain_}});
  }
  if (keep && own_) return ok;
  TRY(server, server_of(leaf_));
  own_ = std::move(server);
  return ok;
}

Result<void> Certificates::use(const Secret& pem) {
  if (pem.empty()) {
    operators_ = {};
    shown_ = own_;
    return ok;
  }
  TRY(server, server_of(pem), "the operator's certificate");
  operators_ = pem;
  shown_ = std::move(server);
  return ok;
}

std::string Certificates::complaint() const {
  if (operators_.empty()) return "";
  auto facts = facts_of(operators_.reveal());
  if (!facts) return facts.error().what;
  if (facts->not_after <= now()) return "ingress.certificate has ended";
  if (facts->not_after - now() < 7 * kDay) return "ingress.certificate ends within a week";
  if (facts->not_before > now()) return "ingress.certificate is not valid yet";
  if (!is_for(operators_.reveal(), domain_))
    return str("ingress.certificate is not for ", domain_, " and *.", domain_);
  return "";
}

}  // namespace glovebox::gateway
