// The files of /proc that must tell a box's limits and not the host's size.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace glovebox::sys {

// uptime is not among them: ps and the kernel's own start times count from the host's boot.
inline constexpr const char* kFactNames[] = {"meminfo", "cpuinfo", "stat", "loadavg"};

// The content of /proc/NAME for a box of this size; reads the host's files at /proc.
std::string fact(std::string_view name, std::int64_t memory_bytes, std::uint32_t cpus);

}  // namespace glovebox::sys
