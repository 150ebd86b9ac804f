#include "base/error.h"

#include <cerrno>

namespace glovebox {

std::string_view name(Code code) {
  switch (code) {
    case Code::invalid: return "invalid";
    case Code::unauthenticated: return "unauthenticated";
    case Code::forbidden: return "forbidden";
    case Code::not_found: return "not_found";
    case Code::conflict: return "conflict";
    case Code::gone: return "gone";
    case Code::too_large: return "too_large";
    case Code::exhausted: return "exhausted";
    case Code::unsupported: return "unsupported";
    case Code::unavailable: return "unavailable";
    case Code::timeout: return "timeout";
    case Code::cancelled: return "cancelled";
    case Code::internal: return "internal";
  }
  return "unknown";
}

static Code code_of(int errno_value) {
  switch (errno_value) {
    case ENOENT: return Code::not_found;
    case EACCES:
    case EPERM: return Code::forbidden;
    case EEXIST:
    case EBUSY: return Code::conflict;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN: return Code::exhausted;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE: return Code::unavailable;
    case ETIMEDOUT: return Code::timeout;
    default: return Code::internal;
  }
}

Error sys_error(std::string what, int errno_value) {
  return Error{code_of(errno_value), str(what, ": ", std::strerror(errno_value)),
               errno_name(errno_value)};
}
Error sys_error(std::string what) { return sys_error(std::move(what), errno); }

std::string errno_name(int errno_value) {
  const char* name = ::strerrorname_np(errno_value);
  return name ? name : str("E", errno_value);
}

}  // namespace glovebox
