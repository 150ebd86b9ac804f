#include "sys/text.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace glovebox::sys {
namespace {

// A segment that may be written to has pages of its own, which are not to be had again.
int let_go_of(dl_phdr_info* object, std::size_t, void*) {
  const auto page = static_cast<std::uintptr_t>(::getpagesize());
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const auto& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || segment.p_flags & PF_W) continue;
    // Whole pages of it: at its ends others begin.
    const std::uintptr_t at = object->dlpi_addr + segment.p_vaddr;
    const std::uintptr_t begin = (at + page - 1) & ~(page - 1);
    const std::uintptr_t end = (at + segment.p_memsz) & ~(page - 1);
    if (begin < end)
      ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // or it stays
  }
  return 0;
}

}  // namespace

void let_go_of_text() { ::dl_iterate_phdr(let_go_of, nullptr); }

}  // namespace glovebox::sys
