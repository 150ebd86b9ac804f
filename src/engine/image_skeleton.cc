// An empty Debian-like machine: what every program may expect, and nothing that was ever on this
// one.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "engine/image_parts.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

struct Directory {
  const char* path;
  mode_t mode = 0755;
};

// 1777 for what users of the box other than its root must be able to write in. Where people work
// together on files there is no sticky bit: on most machines (fs.protected_regular) not even root
// could open for writing what another user made there.
constexpr Directory kDirectories[] = {{""},
                                      {"etc"},
                                      {"etc/pam.d"},
                                      {"etc/skel"},
                                      {"etc/profile.d"},
                                      {"etc/default"},
                                      {"etc/opt"},
                                      {"home"},
                                      {"home/user"},
                                      {"root", 0700},
                                      {"workspace", 0777},
                                      {"tmp", 01777},
                                      {"var"},
                                      {"var/tmp", 01777},
                                      {"var/log"},
                                      {"var/lib"},
                                      {"var/cache"},
                                      {"var/spool"},
                                      {"var/mail"},
                                      {"var/opt"},
                                      {"var/local"},
                                      {"run"},
                                      {"run/lock", 01777},
                                      {"mnt"},
                                      {"mnt/session"},
                                      {"mnt/session/outputs", 0777},
                                      {"opt"},
                                      {"srv"},
                                      {"media"},
                                      {"boot"},
                                      {"usr"},
                                      {"proc", 0555},
                                      {"sys", 0555},
                                      {"dev"}};

struct Link {
  const char* path;
  const char* target;
};
constexpr Link kLinks[] = {{"var/run", "/run"},
                           {"var/lock", "/run/lock"},
                           {"etc/localtime", "/usr/share/zoneinfo/Etc/UTC"},
                           {"etc/os-release", "../usr/lib/os-release"},
                           {"etc/mtab", "../proc/self/mounts"}};

// On a machine with merged /usr these are links into it. Which of them exist depends on the
// architecture.
constexpr const char* kMerged[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};

struct File {
  const char* path;
  const char* content;
  mode_t mode = 0644;
};

constexpr const char* kBashrc =
    "[ -z \"$PS1\" ] && return\n"
    "shopt -s checkwinsize\n"
    "PS1='\\u@\\h:\\w\\$ '\n"
    "alias ls='ls --color=auto'\n";
constexpr const char* kProfile = "[ -n \"$BASH_VERSION\" ] && [ -f ~/.bashrc ] && . ~/.bashrc\n";
constexpr const char* kPamShared =
    "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so\n";
constexpr const char* kPamRootMay =
    "auth sufficient pam_rootok.so\nauth required pam_unix.so\naccount required "
    "pam_unix.so\nsession required pam_unix.so\n"
    "password required pam_unix.so\n";

constexpr File kFiles[] = {
    {"etc/passwd",
     "root:x:0:0:root:/root:/bin/bash\n"
     "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
     "bin:x:2:2:bin:/bin:/usr/sbin/nologin\n"
     "sys:x:3:3:sys:/dev:/usr/sbin/nologin\n"
     "sync:x:4:65534:sync:/bin:/bin/sync\n"
     "games:x:5:60:games:/usr/games:/usr/sbin/nologin\n"
     "man:x:6:12:man:/var/cache/man:/usr/sbin/nologin\n"
     "lp:x:7:7:lp:/var/spool/lpd:/usr/sbin/nologin\n"
     "mail:x:8:8:mail:/var/mail:/usr/sbin/nologin\n"
     "news:x:9:9:news:/var/spool/news:/usr/sbin/nologin\n"
     "uucp:x:10:10:uucp:/var/spool/uucp:/usr/sbin/nologin\n"
     "proxy:x:13:13:proxy:/bin:/usr/sbin/nologin\n"
     "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
     "backup:x:34:34:backup:/var/backups:/usr/sbin/nologin\n"
     "list:x:38:38:list:/var/list:/usr/sbin/nologin\n"
     "irc:x:39:39:irc:/run/ircd:/usr/sbin/nologin\n"
     "_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n"
     "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
     "user:x:1000:1000:user:/home/user:/bin/bash\n"},
    {"etc/group",
     "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nlp:x:7:\nmail:x:8:"
     "\nnews:x:9:\nuucp:x:10:\n"
     "man:x:12:\nproxy:x:13:\nkmem:x:15:\ndialout:x:20:\nfax:x:21:\nvoice:x:22:\ncdrom:x:24:"
     "\nfloppy:x:25:\ntape:x:26:\n"
     "sudo:x:27:\naudio:x:29:\ndip:x:30:\nwww-data:x:33:\nbackup:x:34:\noperator:x:37:\nlist:x:38:"
     "\nirc:x:39:\nsrc:x:40:\n"
     "shadow:x:42:\nutmp:x:43:\nvideo:x:44:\nsasl:x:45:\nplugdev:x:46:\nstaff:x:50:\ngames:x:60:"
     "\nusers:x:100:\n"
     "user:x:1000:\nnogroup:x:65534:\n"},
    // No password: nobody logs in here, the hand starts processes as whom it is told.
    {"etc/shadow",
     "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n", 0640},
    {"etc/gshadow", "root:*::\nshadow:*::\nuser:!::\n", 0640},
    {"etc/hostname", "sandbox\n"},
    {"etc/hosts", "127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
    {"etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n"},
    {"etc/nsswitch.conf",
     "passwd: files\ngroup: files\nshadow: files\ngshadow: files\nhosts: files dns\nnetworks: "
     "files\nprotocols: files\n"
     "services: files\nethers: files\nrpc: files\nnetgroup: files\n"},
    {"etc/timezone", "Etc/UTC\n"},
    {"etc/machine-id", "", 0444},
    {"etc/fstab", ""},
    {"etc/environment", ""},
    {"etc/motd", ""},
    {"etc/default/locale", "LANG=C.UTF-8\n"},
    {"etc/shells", "/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/dash\n/usr/bin/dash\n"},
    {"etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n"},
    {"etc/profile",
     "if [ \"$(id -u)\" = 0 ]; then\n"
     "  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
     "else\n"
     "  PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games\n"
     "fi\n"
     "export PATH\n"
     "[ -n \"$BASH\" ] && [ -f /etc/bash.bashrc ] && . /etc/bash.bashrc\n"
     "for script in /etc/profile.d/*.sh; do [ -r \"$script\" ] && . \"$script\"; done\n"
     "unset script\n"},
    {"etc/bash.bashrc", kBashrc},
    {"etc/login.defs",
     "MAIL_DIR /var/mail\nUMASK 022\nHOME_MODE 0755\nPASS_MAX_DAYS 99999\nPASS_MIN_DAYS "
     "0\nPASS_WARN_AGE 7\n"
     "UID_MIN 1000\nUID_MAX 60000\nSYS_UID_MIN 100\nSYS_UID_MAX 999\nGID_MIN 1000\nGID_MAX "
     "60000\nSYS_GID_MIN 100\n"
     "SYS_GID_MAX 999\nUSERGROUPS_ENAB yes\nENCRYPT_METHOD YESCRYPT\nENV_SUPATH "
     "PATH=/usr/local/sbin:/usr/local/bin:"
     "/usr/sbin:/usr/bin:/sbin:/bin\nENV_PATH PATH=/usr/local/bin:/usr/bin:/bin\n"},
    {"etc/pam.d/common-auth", "auth required pam_unix.so\n"},
    {"etc/pam.d/common-account", "account required pam_unix.so\n"},
    {"etc/pam.d/common-password", "password required pam_unix.so\n"},
    {"etc/pam.d/common-session", "session required pam_unix.so\n"},
    {"etc/pam.d/common-session-noninteractive", "session required pam_unix.so\n"},
    {"etc/pam.d/other",
     "auth required pam_deny.so\naccount required pam_deny.so\npassword required pam_deny.so\n"
     "session required pam_deny.so\n"},
    {"etc/pam.d/login", kPamShared},
    {"etc/pam.d/su", kPamRootMay},
    {"etc/pam.d/su-l", kPamRootMay},
    {"etc/pam.d/runuser", kPamRootMay},
    {"etc/pam.d/runuser-l", kPamRootMay},
    {"etc/pam.d/passwd", kPamRootMay},
    {"etc/pam.d/chpasswd", kPamRootMay},
    {"etc/pam.d/newusers", kPamRootMay},
    {"etc/pam.d/chsh", kPamRootMay},
    {"etc/pam.d/chfn", kPamRootMay},
    {"etc/skel/.bashrc", kBashrc},
    {"etc/skel/.profile", kProfile},
    {"root/.bashrc", kBashrc},
    {"root/.profile", kProfile},
    {"home/user/.bashrc", kBashrc},
    {"home/user/.profile", kProfile},
};

struct Owner {
  const char* path;
  uid_t user;
  gid_t group;
};
constexpr Owner kOwners[] = {{"etc/shadow", 0, 42},
                             {"etc/gshadow", 0, 42},
                             {"home/user", 1000, 1000},
                             {"home/user/.bashrc", 1000, 1000},
                             {"home/user/.profile", 1000, 1000},
                             {"var/mail", 0, 8}};

Result<void> make_link(const std::string& path, const std::string& target) {
  if (::symlink(target.c_str(), path.c_str()) == 0) return ok;
  return sys_error(str("make link ", path));
}

// "usr/lib" for a root that has lib -> usr/lib. Anything else cannot be had from /usr alone.
Result<void> merge_usr(const std::string& host, const std::string& root) {
  for (const char* name : kMerged) {
    std::string path = str(host, "/", name);
    char target[256];
    ssize_t n = ::readlink(path.c_str(), target, sizeof target);
    if (n < 0 && errno == ENOENT) continue;
    std::string_view to = n > 0 ? std::string_view(target, static_cast<std::size_t>(n)) : "";
    if (to != str("usr/", name) && to != str("/usr/", name))
      return Error{Code::unsupported, str("the image \"host\" needs a merged /usr, and here /",
                                          name, " is no link to /usr/", name)};
    TRY_DO(make_link(str(root, "/", name), str("usr/", name)));
  }
  return ok;
}

}  // namespace

Result<void> write_skeleton(const std::string& host, const std::string& root) {
  for (const Directory& directory : kDirectories) {
    std::string path = str(root, "/", directory.path);
    if (::mkdir(path.c_str(), directory.mode) != 0 && errno != EEXIST)
      return sys_error(str("make ", path));
    if (::chmod(path.c_str(), directory.mode) != 0) return sys_error(str("set the mode of ", path));
  }
  for (const File& file : kFiles)
    TRY_DO(sys::create_file(str(root, "/", file.path), file.content, file.mode));
  for (const Link& link : kLinks) TRY_DO(make_link(str(root, "/", link.path), link.target));
  for (const Owner& owner : kOwners)
    if (::lchown(str(root, "/", owner.path).c_str(), owner.user, owner.group) != 0)
      return sys_error(str("set the owner of ", owner.path));
  return merge_usr(host, root);
}

}  // namespace glovebox::engine
