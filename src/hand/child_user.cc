#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "hand/child.h"

// The box's own files say who its users are; libc's way to ask would load modules the tenant may
// have put there.
namespace glovebox::hand {
namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;
constexpr std::size_t kMaxGroups = 256;

// The lines of a table as fields; nothing if it is not a plain file. Bounded, whatever the tenant
// made of it.
std::vector<std::vector<std::string>> read_table(const char* path, std::size_t fields) {
  std::vector<std::vector<std::string>> table;
  Fd file(::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat st{};
  if (!file || ::fstat(file.get(), &st) < 0 || !S_ISREG(st.st_mode)) return table;
  std::string text;
  char part[16 * 1024];
  for (ssize_t n; text.size() < kMaxFile && (n = ::read(file.get(), part, sizeof part)) > 0;)
    text.append(part, static_cast<std::size_t>(n));
  for (const auto& line : split(text, '\n'))
    if (auto row = split(line, ':'); row.size() >= fields) table.push_back(std::move(row));
  return table;
}

Error no_user(const std::string& user) {
  return Error{Code::invalid, str("no such user: ", user), "USER_NOT_FOUND"};
}

std::vector<gid_t> groups_of(const std::string& name, gid_t primary) {
  std::vector<gid_t> groups{primary};
  for (const auto& row : read_table("/etc/group", 4)) {  // name:password:gid:members
    auto members = split(row[3], ',');
    auto gid = parse_int<gid_t>(row[2]);
    if (gid && *gid != primary && groups.size() < kMaxGroups &&
        std::ranges::find(members, name) != members.end())
      groups.push_back(*gid);
  }
  return groups;
}

}  // namespace

Result<Identity> find_identity(const std::string& user) {
  Identity identity{.uid = ::geteuid(), .gid = ::getegid()};
  auto colon = user.find(':');
  std::string who = user.substr(0, colon);
  auto number = who.empty() && user.empty() ? std::optional(identity.uid) : parse_int<uid_t>(who);
  if (number == static_cast<uid_t>(-1)) return no_user(user);
  bool known = false;
  for (const auto& row : read_table("/etc/passwd", 7)) {  // name:password:uid:gid:gecos:home:shell
    auto uid = parse_int<uid_t>(row[2]);
    auto gid = parse_int<gid_t>(row[3]);
    if (!uid || !gid || (number ? *uid != *number : row[0] != who)) continue;
    identity.name = row[0];
    identity.home = row[5];
    if (!user.empty()) identity.uid = *uid, identity.gid = *gid;
    known = true;
    break;
  }
  // Clients before 0.5.89 ask for the hosted service's user unasked: where the image has no such
  // one, its own is meant.
  if (!known && user == "tl-user") return find_identity("");
  if (!known && !number) return no_user(user);
  if (!known) {
    identity.uid = *number;
    identity.name = str(*number);
    if (!user.empty()) identity.gid = *number;
  }
  if (identity.home.empty()) identity.home = "/";
  if (colon != user.npos) {
    auto gid = parse_int<gid_t>(std::string_view(user).substr(colon + 1));
    if (!number || !gid || *gid == static_cast<gid_t>(-1)) return no_user(user);
    identity.gid = *gid;
    identity.groups = {*gid};
  } else if (!user.empty()) {
    identity.groups = groups_of(identity.name, identity.gid);
  }
  identity.switches =
      !user.empty() && (identity.uid != ::geteuid() || identity.gid != ::getegid() ||
                        identity.uid != ::getuid() || identity.gid != ::getgid());
  return identity;
}

Result<void> become(const Identity& identity) {
  if (!identity.switches) return ok;
  if (::setgroups(identity.groups.size(), identity.groups.data()) < 0 ||
      ::setresgid(identity.gid, identity.gid, identity.gid) < 0 ||
      ::setresuid(identity.uid, identity.uid, identity.uid) < 0) {
    Error error = sys_error(str("become user ", identity.name));
    error.tag = "USER_NOT_ALLOWED";
    return error;
  }
  return ok;
}

}  // namespace glovebox::hand
