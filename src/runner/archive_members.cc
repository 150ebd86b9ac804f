#include "runner/archive_members.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <memory>

#include "runner/member_frames.h"

namespace glovebox::runner {

namespace {

constexpr std::size_t kPiece = 64 * 1024;

struct Free {
  void operator()(archive* of) const { ::archive_read_free(of); }
};
using Archive = std::unique_ptr<archive, Free>;

Error refusal(archive* from, std::string_view doing) {
  const char* why = ::archive_error_string(from);
  return {Code::invalid, str(doing, ": ", why ? why : "unreadable")};
}

// What GNU tar recognizes by itself; nothing that would start a program.
void support(archive* from, Packing packing) {
  if (packing == Packing::zip) {
    ::archive_read_support_format_zip_seekable(from);
    return;
  }
  ::archive_read_support_format_tar(from);
  ::archive_read_support_filter_gzip(from);
  ::archive_read_support_filter_bzip2(from);
  ::archive_read_support_filter_compress(from);
  ::archive_read_support_filter_lzip(from);
  ::archive_read_support_filter_lzma(from);
  ::archive_read_support_filter_xz(from);
  ::archive_read_support_filter_zstd(from);
}

Member member_of(archive_entry* entry, const char* name) {
  Member member;
  member.name = name;
  const bool linked = ::archive_entry_hardlink(entry) || ::archive_entry_symlink(entry);
  const mode_t type = ::archive_entry_filetype(entry);
  member.kind = linked          ? Member::Kind::special
                : S_ISDIR(type) ? Member::Kind::folder
                : S_ISREG(type) ? Member::Kind::file
                                : Member::Kind::special;
  member.executable = (::archive_entry_perm(entry) & 0111) != 0;
  return member;
}

}  // namespace

Result<void> read_members(std::string_view bytes, const ArchiveLimits& limits,
                          const std::function<bool(std::string_view)>& write) {
  const Error unwanted{Code::cancelled, "nobody listens"};
  Archive from(::archive_read_new());
  if (!from) return Error{Code::internal, "no memory for an archive"};
  support(from.get(), packing_of(bytes));
  if (::archive_read_open_memory(from.get(), bytes.data(), bytes.size()) != ARCHIVE_OK)
    return refusal(from.get(), "no archive");

  std::size_t left = limits.unpacked_of(bytes.size()), members = 0, names = 0;
  std::string piece(kPiece, '\0');
  for (;;) {
    archive_entry* entry = nullptr;
    const int got = ::archive_read_next_header(from.get(), &entry);
    if (got == ARCHIVE_EOF) return ok;
    // A warning is about times, owners and the like, or about a name, which then is null.
    if (got != ARCHIVE_OK && got != ARCHIVE_WARN) return refusal(from.get(), "broken archive");
    const char* name = ::archive_entry_pathname(entry);
    if (!name) return Error{Code::invalid, "it has a member whose name cannot be read"};
    if (++members > limits.members)
      return Error{Code::too_large, str("it has more than ", limits.members, " members")};
    Member member = member_of(entry, name);
    names += member.name.size() + 1;
    if (names > limits.names) return Error{Code::too_large, "its names are too long altogether"};
    if (!write(member_record(member))) return unwanted;
    if (member.kind != Member::Kind::file) continue;
    std::size_t size = 0;
    for (;;) {
      const la_ssize_t n = ::archive_read_data(from.get(), piece.data(), piece.size());
      if (n < 0) return refusal(from.get(), "broken member");
      if (n == 0) break;
      if (static_cast<std::size_t>(n) > left)
        return Error{Code::too_large, "it unpacks to more than it may"};
      left -= static_cast<std::size_t>(n);
      size += static_cast<std::size_t>(n);
      if (!write(content_record({piece.data(), static_cast<std::size_t>(n)}))) return unwanted;
    }
    // A sparse file may end in a hole, which nothing above has counted.
    if (::archive_entry_size_is_set(entry) &&
        static_cast<std::uint64_t>(::archive_entry_size(entry)) != size)
      return Error{Code::invalid, "broken member: it is not as long as it says"};
  }
}

}  // namespace glovebox::runner
