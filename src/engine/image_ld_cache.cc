// The cache of the dynamic loader is copied, since making one means running ldconfig over all
// libraries; but only what points into the image: the machine's own entries for /usr/local and /opt
// are nobody's business there.
#include <cstring>
#include <string>

#include "engine/image_parts.h"

namespace glovebox::engine {

namespace {

// As glibc's dl-cache.h has it since 2.1 ("glibc-ld.so.cache1.1"); all offsets count from the start
// of the file.
struct Header {
  char magic[20];
  std::uint32_t entries;
  std::uint32_t strings_size;
  std::uint8_t flags;
  std::uint8_t padding[3];
  std::uint32_t extensions;
  std::uint32_t unused[3];
};
static_assert(sizeof(Header) == 48);

struct Entry {
  std::int32_t flags;
  std::uint32_t key, value;  // offsets of name and path
  std::uint32_t os_version;
  std::uint64_t hwcap;
};
static_assert(sizeof(Entry) == 24);

struct ExtensionHeader {
  std::uint32_t magic, count;
};
struct Extension {
  std::uint32_t tag, flags, offset, size;
};
constexpr std::uint32_t kExtensionMagic = 0xEAA42174;
constexpr std::uint32_t kHwcapNames = 1;  // offsets of strings

bool in_image(std::string_view path) {
  if (path.starts_with("/usr/")) path.remove_prefix(4);
  return path.starts_with("/lib");
}

// Copies what is kept to the place it had, so no offset changes; the rest stays zero.
class Filter {
 public:
  explicit Filter(std::string_view in) : in_(in), out_(in.size(), '\0') {}

  std::string run() {
    Header header;
    if (!get(0, header) ||
        std::memcmp(header.magic, "glibc-ld.so.cache1.1", sizeof header.magic) != 0)
      return "";
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < header.entries; ++i) {
      Entry entry;
      std::string_view path;
      if (!get(at(i), entry) || !string(entry.value, path)) return "";
      if (!in_image(path)) continue;
      if (!keep_string(entry.key) || !keep_string(entry.value)) return "";
      put(at(kept++), entry);  // in order still: the loader searches by halves
    }
    if (header.extensions && !keep_extensions(header.extensions)) return "";
    header.entries = kept;
    put(0, header);
    return std::move(out_);
  }

 private:
  static std::size_t at(std::uint32_t entry) {
    return sizeof(Header) + std::size_t{entry} * sizeof(Entry);
  }

  template <class T>
  bool get(std::size_t offset, T& value) const {
    if (offset > in_.size() || in_.size() - offset < sizeof value) return false;
    std::memcpy(&value, in_.data() + offset, sizeof value);
    return true;
  }
  template <class T>
  void put(std::size_t offset, const T& value) {
    std::memcpy(out_.data() + offset, &value, sizeof value);
  }
  bool string(std::uint32_t offset, std::string_view& text) const {
    std::size_t end = in_.find('\0', offset);
    if (offset >= in_.size() || end == std::string_view::npos) return false;
    text = in_.substr(offset, end - offset);
    return true;
  }
  bool keep(std::size_t offset, std::size_t size) {
    if (offset > in_.size() || in_.size() - offset < size) return false;
    std::memcpy(out_.data() + offset, in_.data() + offset, size);
    return true;
  }
  bool keep_string(std::uint32_t offset) {
    std::string_view text;
    return string(offset, text) && keep(offset, text.size());
  }
  bool keep_extensions(std::uint32_t offset) {
    ExtensionHeader header;
    if (!get(offset, header) || header.magic != kExtensionMagic || header.count > 64) return false;
    if (!keep(offset, sizeof header + header.count * sizeof(Extension))) return false;
    for (std::uint32_t i = 0; i < header.count; ++i) {
      Extension extension;
      if (!get(offset + sizeof header + i * sizeof extension, extension) ||
          !keep(extension.offset, extension.size))
        return false;
      if (extension.tag != kHwcapNames) continue;
      for (std::uint32_t name = 0; name + 4 <= extension.size; name += 4) {
        std::uint32_t text;
        if (!get(extension.offset + name, text) || !keep_string(text)) return false;
      }
    }
    return true;
  }

  std::string_view in_;
  std::string out_;
};

}  // namespace

std::string filter_ld_cache(std::string_view cache) { return Filter(cache).run(); }

}  // namespace glovebox::engine
