#include <array>
#include <cstdint>

#include "brain/skill_files.h"

namespace glovebox::brain {
namespace {

// PKWARE's APPNOTE, 4.3.7, 4.3.12 and 4.3.16. Nothing here comes near to what needs ZIP64.
constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr std::uint16_t kVersion = 20, kUnix = 3 << 8;
constexpr std::uint16_t kFirstOfJanuary1980 = 1 << 5 | 1;

constexpr auto kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  return table;
}();

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = ~0u;
  for (unsigned char c : bytes) crc = kCrcTable[(crc ^ c) & 0xff] ^ (crc >> 8);
  return ~crc;
}

void put(std::string& out, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

// What the heads of a file and of its entry in the directory have in common.
std::string common(const SkillFile& file) {
  std::string out;
  const auto size = static_cast<std::uint32_t>(file.content.size());
  put(out, kVersion, 2);
  put(out, 0, 2);  // flags
  put(out, 0, 2);  // stored as it is
  put(out, 0, 2);  // time
  put(out, kFirstOfJanuary1980, 2);
  put(out, crc32(file.content), 4);
  put(out, size, 4);
  put(out, size, 4);
  put(out, static_cast<std::uint32_t>(file.path.size()), 2);
  put(out, 0, 2);  // extra
  return out;
}

}  // namespace

std::string zip_of(const std::vector<SkillFile>& files) {
  std::string out, directory;
  for (const SkillFile& file : files) {
    const std::string head = common(file);
    const std::uint32_t mode =
        file.executable || file.content.starts_with("#!") ? 0100755 : 0100644;
    put(directory, kCentral, 4);
    put(directory, kUnix | kVersion, 2);
    directory += head;
    put(directory, 0, 2);  // comment
    put(directory, 0, 2);  // disk
    put(directory, 0, 2);  // internal attributes
    put(directory, mode << 16, 4);
    put(directory, static_cast<std::uint32_t>(out.size()), 4);
    directory += file.path;
    put(out, kLocal, 4);
    out += str(head, file.path, file.content);
  }
  const auto start = static_cast<std::uint32_t>(out.size());
  const auto count = static_cast<std::uint32_t>(files.size());
  out += directory;
  put(out, kEnd, 4);
  put(out, 0, 4);  // disks
  put(out, count, 2);
  put(out, count, 2);
  put(out, static_cast<std::uint32_t>(directory.size()), 4);
  put(out, start, 4);
  put(out, 0, 2);  // comment
  return out;
}

}  // namespace glovebox::brain
