#include "sys/proc_facts.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

namespace glovebox::sys {

namespace {

// The host's CPU descriptions do not change: read once by the launcher, inherited by the boxes'
// first processes.
const std::string& host_cpuinfo() {
  static const std::string text = [] {
    std::string all;
    Fd fd(::open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC));
    char buffer[4096];
    for (ssize_t n;
         fd && all.size() < 64 * 1024 && (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
      all.append(buffer, static_cast<std::size_t>(n));
    return all.substr(0, all.find("\n\n") + 2);
  }();
  return text;
}

std::string cpuinfo(std::uint32_t cpus) {
  std::string out;
  std::string_view one = host_cpuinfo();
  auto first_line = one.find('\n');
  for (std::uint32_t cpu = 0; cpu < cpus; ++cpu)
    out += str("processor\t: ", cpu,
               first_line == std::string_view::npos ? "\n\n" : one.substr(first_line));
  return out;
}

std::string meminfo(std::int64_t memory_bytes) {
  std::string out;
  auto line = [&](std::string_view name, std::int64_t kib) {
    std::string number = str(kib);
    out += str(
        name, ":",
        std::string(name.size() + number.size() < 23 ? 23 - name.size() - number.size() : 1, ' '),
        number, " kB\n");
  };
  std::int64_t kib = memory_bytes / 1024;
  for (auto name : {"MemTotal", "MemFree", "MemAvailable"}) line(name, kib);
  for (auto name :
       {"Buffers", "Cached", "SwapCached", "Active", "Inactive", "SwapTotal", "SwapFree", "Dirty",
        "Writeback", "AnonPages", "Mapped", "Shmem", "Slab", "PageTables"})
    line(name, 0);
  line("CommitLimit", kib);
  line("Committed_AS", 0);
  return out;
}

// ps needs btime; programs that count processors need the cpu lines.
std::string stat(std::uint32_t cpus) {
  std::string out = "cpu  0 0 0 0 0 0 0 0 0 0\n";
  for (std::uint32_t cpu = 0; cpu < cpus; ++cpu) out += str("cpu", cpu, " 0 0 0 0 0 0 0 0 0 0\n");
  timespec wall{}, boot{};
  ::clock_gettime(CLOCK_REALTIME, &wall);
  ::clock_gettime(CLOCK_BOOTTIME, &boot);
  out += str("intr 0\nctxt 0\nbtime ", wall.tv_sec - boot.tv_sec,
             "\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n");
  return out;
}

}  // namespace

std::string fact(std::string_view name, std::int64_t memory_bytes, std::uint32_t cpus) {
  if (name == "meminfo") return meminfo(memory_bytes);
  if (name == "cpuinfo") return cpuinfo(cpus);
  if (name == "stat") return stat(cpus);
  if (name == "loadavg") return "0.00 0.00 0.00 1/1 1\n";
  return {};
}

}  // namespace glovebox::sys
