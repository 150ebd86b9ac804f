// What a request is for, by its Host and its routing headers: a pure function.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace glovebox::gateway {

struct IngressRoute {
  enum class To {
    own,         // us: /healthz and the like
    label,       // `{label}.{domain}` of another part, where there is one of that name
    data_plane,  // of the sandbox `label`
    port,        // of the sandbox `label`
    nowhere,     // no name of ours
  };
  To to = To::nowhere;
  std::string label;
  int port = 0;
  bool operator==(const IngressRoute&) const = default;
};

inline constexpr int kManagementPort = 9501;

// `is_part` says which labels are parts; names of sandboxes do not hide them.
IngressRoute route_of(const http::Headers& headers, std::string_view domain,
                      const std::function<bool(std::string_view label)>& is_part);

// An address in numbers, and names that always mean this machine.
bool is_own_host(std::string_view host);
// "name" of "Name.:80".
std::string host_name(std::string_view authority);

}  // namespace glovebox::gateway
