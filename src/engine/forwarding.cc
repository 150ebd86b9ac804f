#include "engine/forwarding.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <map>
#include <memory>

#include "base/fd.h"
#include "base/log.h"
#include "engine/network_rules.h"
#include "sys/nft.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

namespace nft = sys::nft;

constexpr const char* kGuard = "glovebox_guard";
const std::string kNet = "/proc/sys/net/";
const std::string kForward4 = kNet + "ipv4/ip_forward";
const std::string kRedirects4 = kNet + "ipv4/conf/all/accept_redirects";
const std::string kConf6 = kNet + "ipv6/conf/";

Result<std::string> read_setting(const std::string& path) {
  TRY(text, sys::read_file(path, 64), path);
  return std::string(trim(text));
}

Result<void> write_setting(const std::string& path, std::string_view value) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), value.data(), value.size()) < 0)
    return sys_error(str("write ", path));
  return ok;
}

Result<bool> is_guarded(nft::Family family) {
  TRY(tables, nft::tables(family));
  return tables.contains(kGuard);
}

Result<void> raise_guard(nft::Family family) {
  nft::Transaction guard(kGuard, family);
  guard.replace_table();
  guard.base_chain("forward", {nft::kForward, -1, "filter"});
  guard.rule("forward", [](nft::Rule& rule) {
    rule.not_link(nft::Way::in, kLinkPrefix).not_link(nft::Way::out, kLinkPrefix).drop();
  });
  return guard.commit();
}

Result<void> lower_guard(nft::Family family) {
  nft::Transaction guard(kGuard, family);
  guard.delete_table();
  return guard.commit();
}

// The kernel takes this one along when forwarding changes; it is to stay what it was.
Result<void> set_forwarding4(std::string_view value) {
  TRY(redirects, read_setting(kRedirects4));
  TRY_DO(write_setting(kForward4, value));
  return write_setting(kRedirects4, redirects);
}

// The setting `name` of every interface, "default" too.
Result<std::map<std::string, std::string>> settings6(const std::string& name) {
  std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })> dir(::opendir(kConf6.c_str()));
  if (!dir) return sys_error(kConf6);
  std::map<std::string, std::string> found;
  while (const dirent* entry = ::readdir(dir.get())) {
    std::string interface = entry->d_name;
    if (interface == "." || interface == ".." || interface == "all") continue;
    auto value = read_setting(kConf6 + interface + "/" + name);
    if (value) found[interface] = *value;
  }
  return found;
}

// With forwarding on for "all", every interface becomes a router's: it forgets the routes that
// routers announced, and listens to none of them from then on. A machine that has its own address
// from such an announcement would lose its network, so each is put back to what it was; for packets
// to be passed on "all" is what counts.
Result<void> set_forwarding6(std::string_view value) {
  TRY(forwarding, settings6("forwarding"));
  TRY(accept, settings6("accept_ra"));
  for (const auto& [interface, setting] : accept)
    if (setting == "1") (void)write_setting(kConf6 + interface + "/accept_ra", "2");
  auto set = write_setting(kConf6 + "all/forwarding", value);
  for (const auto& [interface, setting] : forwarding)
    (void)write_setting(kConf6 + interface + "/forwarding", setting);
  for (const auto& [interface, setting] : accept)
    if (setting == "1") (void)write_setting(kConf6 + interface + "/accept_ra", setting);
  return set;
}

Result<void> turn_on(nft::Family family, const std::string& setting,
                     Result<void> (*set)(std::string_view), bool& guarded) {
  TRY(now, read_setting(setting));
  TRY(stands, is_guarded(family));
  guarded |= stands || now == "0";
  if (!guarded) return ok;  // it is on for everybody, by somebody else's wish
  TRY_DO(raise_guard(family), "guard");
  if (now == "0") TRY_DO(set("1"));
  return ok;
}

Result<void> turn_back(nft::Family family, Result<void> (*set)(std::string_view)) {
  TRY(guarded, is_guarded(family));
  if (!guarded) return ok;
  TRY_DO(set("0"));
  return lower_guard(family);
}

}  // namespace

Result<void> turn_forwarding_on(bool with_ipv6, Guards& guards) {
  TRY_DO(turn_on(nft::Family::ip, kForward4, set_forwarding4, guards.ipv4), "forwarding of IPv4");
  if (with_ipv6)
    TRY_DO(turn_on(nft::Family::ip6, kConf6 + "all/forwarding", set_forwarding6, guards.ipv6),
           "forwarding of IPv6");
  return ok;
}

Result<void> turn_forwarding_back() {
  TRY_DO(turn_back(nft::Family::ip, set_forwarding4), "forwarding of IPv4");
  return turn_back(nft::Family::ip6, set_forwarding6);
}

}  // namespace glovebox::engine
