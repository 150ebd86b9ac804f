// A minimal Debian, made here by mmdebstrap. It is a build like any other, in two sandboxes:
//
//   over the machine's own image   mmdebstrap fetches the packages, checks what they are signed
//                                  with, and lays their files out; nothing of them runs
//   over what was laid out         dpkg installs them, with the scripts they bring
//
// So neither apt nor a package's script has anything of this machine in reach; who breaks off, or
// kills us, leaves what he leaves of any build.

#include <unistd.h>

#include <algorithm>

#include "engine/core.h"
#include "engine/image_build.h"
#include "net/task.h"

namespace glovebox::engine {

namespace {

constexpr const char* kProgram = "/usr/bin/mmdebstrap";
constexpr const char* kKeys = "/usr/share/keyrings/debian-archive-keyring.gpg";
constexpr std::size_t kMaxPackages = 500, kMaxWord = 512;

// These become words of a script: nothing that a shell knows is in them.
Result<void> check_word(std::string_view what, std::string_view word, std::string_view beyond) {
  auto fits = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           beyond.find(c) != beyond.npos;
  };
  if (!word.empty() && word.size() <= kMaxWord && word[0] != '-' && std::ranges::all_of(word, fits))
    return ok;
  return Error{Code::invalid, str(what, ": '", valid_utf8(word), "' cannot be one")};
}

Result<void> check_words(const Images::Debian& wanted) {
  TRY_DO(check_word("suite", wanted.suite, "-._"));
  if (!wanted.mirror.empty()) {
    TRY_DO(check_word("mirror", wanted.mirror, "-._~:/%+@?=&,[]"));
    if (!wanted.mirror.starts_with("http://") && !wanted.mirror.starts_with("https://"))
      return Error{Code::invalid, "mirror: must begin with http:// or https://"};
  }
  if (wanted.packages.size() > kMaxPackages)
    return Error{Code::invalid, str("packages: at most ", kMaxPackages)};
  for (const auto& package : wanted.packages) TRY_DO(check_word("package", package, "-.+:="));
  return ok;
}

Result<void> check_programs(const Images::Debian& wanted) {
  if (::access(kProgram, X_OK) < 0)
    return Error{Code::unsupported,
                 "mmdebstrap is not on this machine: 'apt-get install mmdebstrap' brings it (or "
                 "'glovebox image pull debian' fetches a Debian that others made)",
                 "MMDEBSTRAP_MISSING"};
  if (!wanted.unsigned_packages && ::access(kKeys, R_OK) < 0)
    return Error{Code::unsupported,
                 "the keys of Debian's archive are not on this machine: 'apt-get install "
                 "debian-archive-keyring' brings them",
                 "MMDEBSTRAP_MISSING"};
  return ok;
}

// Lines for apt. The mirror that comes with the request is a directory of the context.
std::vector<std::string> sources_of(const Images::Debian& wanted) {
  std::string trust = wanted.unsigned_packages ? "trusted=yes" : str("signed-by=", kKeys);
  auto line = [&](std::string_view from, std::string_view suite) {
    return str("deb [", trust, "] ", from, " ", suite, " main");
  };
  if (!wanted.context.empty()) return {line("copy:///mirror", wanted.suite)};
  if (!wanted.mirror.empty()) return {line(wanted.mirror, wanted.suite)};
  std::vector<std::string> lines{line("http://deb.debian.org/debian", wanted.suite)};
  if (wanted.suite == "sid" || wanted.suite == "unstable") return lines;
  lines.push_back(line("http://deb.debian.org/debian", wanted.suite + "-updates"));
  lines.push_back(line("http://deb.debian.org/debian-security", wanted.suite + "-security"));
  return lines;
}

// `extract` is the variant that runs nothing of what it fetched; `chrootless` the mode that asks
// for no privilege a sandbox lacks. The packages stay for the second sandbox. /bin and the like
// are links from the start, as dpkg has wanted since Debian 12.
std::string fetch(const Images::Debian& wanted) {
  std::string script =
      "set -e; umask 022; export HOME=/tmp TMPDIR=/tmp; mmdebstrap --mode=chrootless "
      "--variant=extract --format=directory --skip=cleanup/apt/cache "
      "--aptopt='APT::Sandbox::User \"root\"' "
      "--setup-hook='for d in bin sbin lib; do mkdir -p \"$1/usr/$d\"; ln -s usr/$d \"$1/$d\"; "
      "done; if [ $(dpkg --print-architecture) = amd64 ]; then mkdir \"$1/usr/lib64\"; ln -s "
      "usr/lib64 \"$1/lib64\"; fi' ";
  // The last is what tells packages of before Debian 13 that the links are there.
  for (std::string_view package : {"?essential", "apt", "?exact-name(usr-is-merged)"})
    script += str("--include='", package, "' ");
  for (const auto& package : wanted.packages) script += str("--include='", package, "' ");
  script += str(wanted.suite, " /made");
  for (const auto& line : sources_of(wanted)) script += str(" '", line, "'");
  return script + "; mkdir /made/.packages; mv /made/var/cache/apt/archives/*.deb /made/.packages";
}

// Nothing is told to start, nobody is asked anything.
constexpr std::string_view kInstall =
    "set -e; export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C "
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin; printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; "
    "chmod 755 /usr/sbin/policy-rc.d; [ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk; "
    "dpkg --install --force-depends /.packages/*.deb; dpkg --configure --pending; "
    "rm -rf /.packages /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/cache/apt/*.bin "
    "/var/cache/apt/archives/* /var/log/*.log /var/log/apt/*";

std::string mirror_of(const Images::Debian& wanted) {
  if (!wanted.context.empty()) return "the directory that was sent";
  return wanted.mirror.empty() ? "http://deb.debian.org/debian" : wanted.mirror;
}

// Its Dockerfile is nobody's business: in `doing` stands what happens.
void put_dockerfile(const Images::Debian& wanted, Images::Build& build) {
  std::string text;
  auto line = [&, number = 0](std::string_view instruction, std::string doing = "") mutable {
    text += str(instruction, "\n");
    ++number;
    if (!doing.empty()) build.doing[number] = std::move(doing);
  };
  line("FROM host AS fetched");
  if (!wanted.context.empty()) line("COPY . /mirror/");
  line("RUN " + fetch(wanted),
       str("mmdebstrap fetches packages of ", wanted.suite, " from ", mirror_of(wanted)));
  line("FROM scratch");
  line("COPY --from=fetched /made/ /");
  line(str("RUN ", kInstall), "dpkg installs them");
  // Nobody has that directory any more.
  if (!wanted.context.empty()) line("RUN rm -f /etc/apt/sources.list");
  line("WORKDIR /root");
  line("CMD [\"/bin/bash\"]");
  build.dockerfile = std::move(text);
}

// mmdebstrap has told in the lines above what is wrong. Mostly it is this.
Error explained(Error error, const Images::Debian& wanted) {
  if (error.code != Code::invalid || error.what.find("mmdebstrap") == std::string::npos)
    return error;
  error.tag = "MMDEBSTRAP_FAILED";
  error.what +=
      str("; the reason is in its last lines. Can a sandbox reach that mirror, and does "
          "it have ",
          wanted.suite, " and the packages? --mirror names another");
  return error;
}

}  // namespace

Result<void> Images::check_debian(const Debian& wanted) {
  TRY_DO(check_words(wanted));
  return check_programs(wanted);
}

Task<ImageRecord> Images::debian(Debian wanted, Progress progress) {
  CO_TRY_DO(check_debian(wanted));
  CO_TRY(usual, co_await core_.settle_network(std::nullopt));
  if (wanted.context.empty() && usual && !usual->allow_internet_access)
    co_return Error{Code::unsupported,
                    str("mmdebstrap cannot reach ", mirror_of(wanted),
                        ": sandboxes have no network here (engine.default_network, or see "
                        "'glovebox doctor'); --mirror takes a directory, too"),
                    "NO_NETWORK"};
  Build build;
  build.name = wanted.name;
  put_dockerfile(wanted, build);
  build.context = wanted.context;
  build.source = "debian " + wanted.suite;
  build.fresh = true;  // what a mirror has today is not what it had
  build.reuse = Reuse::no;
  auto made = co_await this->build(std::move(build), std::move(progress));
  if (!made)
    co_return explained(std::move(made.error()), wanted).with(str("make a Debian ", wanted.suite));
  co_return made;
}

}  // namespace glovebox::engine
