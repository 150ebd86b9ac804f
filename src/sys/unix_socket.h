// Unix sockets at paths of any length: the kernel's limit of 107 bytes is passed by through the
// directory's descriptor.
#pragma once

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

// `type` is SOCK_STREAM or SOCK_SEQPACKET. What was left at the path by an earlier process is
// replaced. Mode 0600.
Result<Fd> listen_unix(const std::string& path, int type);
Result<Fd> connect_unix(const std::string& path, int type);

}  // namespace glovebox::sys
