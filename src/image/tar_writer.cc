#include "image/tar_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace glovebox::image {

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kName = 100;
constexpr off_t kMaxOctal = 077777777777;  // of eleven digits
constexpr int kLevel = 3;

// "LENGTH KEY=VALUE\n", and the length counts itself.
std::string record(std::string_view key, std::string_view value) {
  const std::string rest = str(" ", key, "=", value, "\n");
  std::size_t length = rest.size() + 1;
  while (str(length).size() + rest.size() != length) ++length;
  return str(length, rest);
}

std::string times(const timespec& at) {
  if (at.tv_sec < 0) return str(at.tv_sec);
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%09ld", at.tv_nsec);
  return str(at.tv_sec, fraction);
}

off_t stored(const TarWriter::Member& member) {
  if (member.type != '0') return 0;
  if (member.data.empty()) return member.info.st_size;
  off_t sum = 0;
  for (const auto& [offset, length] : member.data) sum += length;
  return sum;
}

// Where the data of a file with holes belongs: numbers in lines, in front of it.
std::string map_of(const TarWriter::Member& member) {
  std::string map = str(member.data.size(), "\n");
  for (const auto& [offset, length] : member.data) map += str(offset, "\n", length, "\n");
  map.resize((map.size() + kBlock - 1) / kBlock * kBlock, '\0');
  return map;
}

}  // namespace

TarWriter::TarWriter(int to)
    : to_(to), zstd_(::ZSTD_createCCtx()), buffer_(::ZSTD_CStreamOutSize(), '\0') {
  if (!zstd_) return;
  (void)::ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_compressionLevel, kLevel);
  (void)::ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_checksumFlag, 1);
}

Result<void> TarWriter::put(std::string_view bytes, ZSTD_EndDirective end) {
  if (!zstd_) return Error{Code::exhausted, "no memory to compress"};
  written_ += bytes.size();
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  for (;;) {
    ZSTD_outBuffer out{buffer_.data(), buffer_.size(), 0};
    const std::size_t left = ::ZSTD_compressStream2(zstd_.get(), &out, &in, end);
    if (::ZSTD_isError(left))
      return Error{Code::internal, str("compress: ", ::ZSTD_getErrorName(left))};
    for (std::size_t at = 0; at < out.pos;) {
      const ssize_t n = ::write(to_, buffer_.data() + at, out.pos - at);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return sys_error("write the archive");
      at += static_cast<std::size_t>(n);
    }
    if (end == ZSTD_e_end ? left == 0 : in.pos == in.size) return ok;
  }
}

Result<void> TarWriter::pad() {
  const std::size_t over = written_ % kBlock;
  return over == 0 ? ok : put(std::string(kBlock - over, '\0'));
}

Result<void> TarWriter::header(const Member& member, char type, std::string_view name, off_t size) {
  char head[kBlock] = {};
  auto text = [&](std::size_t at, std::size_t width, std::string_view value) {
    value.substr(0, width).copy(head + at, width);
  };
  auto octal = [&](std::size_t at, int width, std::uint64_t value) {
    std::snprintf(head + at, static_cast<std::size_t>(width), "%0*llo", width - 1,
                  static_cast<unsigned long long>(value));
  };
  const auto seconds = member.info.st_mtim.tv_sec;
  text(0, kName, name);
  octal(100, 8, member.info.st_mode & 07777);
  octal(108, 8, member.info.st_uid & 07777777);
  octal(116, 8, member.info.st_gid & 07777777);
  octal(124, 12, size > kMaxOctal ? 0 : static_cast<std::uint64_t>(size));
  octal(136, 12, seconds < 0 || seconds > kMaxOctal ? 0 : static_cast<std::uint64_t>(seconds));
  text(148, 8, "        ");
  head[156] = type;
  text(157, kName, member.link);
  text(257, 8, std::string_view("ustar\00000", 8));
  octal(329, 8, 0);
  octal(337, 8, 0);
  unsigned sum = 0;
  for (char c : head) sum += static_cast<unsigned char>(c);
  std::snprintf(head + 148, 8, "%06o", sum);
  return put(std::string_view(head, sizeof head));
}

Result<void> TarWriter::begin(const Member& member) {
  const bool holes = !member.data.empty();
  const std::string map = holes ? map_of(member) : "";
  const off_t size = stored(member) + static_cast<off_t>(map.size());
  std::string more;
  auto is_text = [](const std::string& bytes) { return valid_utf8(bytes) == bytes; };
  if (!is_text(member.path) || !is_text(member.link)) more += record("hdrcharset", "BINARY");
  more += record("mtime", times(member.info.st_mtim));
  if (holes) {
    more += record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0");
    more += record("GNU.sparse.name", member.path);
    more += record("GNU.sparse.realsize", str(member.info.st_size));
  } else {
    more += record("path", member.path);
  }
  if (!member.link.empty()) more += record("linkpath", member.link);
  if (size > kMaxOctal) more += record("size", str(size));
  for (const auto& [name, value] : member.attributes) more += record("SCHILY.xattr." + name, value);
  TRY_DO(header({.info = {}}, 'x', "pax", static_cast<off_t>(more.size())));
  TRY_DO(put(more));
  TRY_DO(pad());
  TRY_DO(header(member, member.type, member.path, size));
  return map.empty() ? ok : put(map);
}

Result<void> TarWriter::data(std::string_view bytes) { return put(bytes); }
Result<void> TarWriter::finish_data() { return pad(); }
Result<void> TarWriter::finish() { return put(std::string(2 * kBlock, '\0'), ZSTD_e_end); }

}  // namespace glovebox::image
