// Arbitrary bytes as an upload: its parts, and the files in them as a skill. What must hold: pieces
// of any size give the same parts, no piece of a part is longer than what was fed and what was
// kept, and no file of a skill leaves its folder.
#include <cassert>

#include "brain/multipart.h"
#include "brain/skill_files.h"

using namespace glovebox;

namespace {

constexpr brain::FormLimits kLimits{.parts = 20, .head = 200};
constexpr brain::SkillLimits kSkill{.files = 10, .bytes = 10'000};

struct Seen final : brain::FormSink {
  std::string all;  // of heads and bodies, told apart
  std::vector<brain::SkillFile> files;
  std::size_t longest = 0;
  bool refused = false, inside = false;

  Result<void> begin(const brain::FormPart& part) override {
    assert(!inside && !part.name.empty());
    inside = true;
    all += str('{', part.name, '|', part.filename.value_or("-"), '|', part.type, '|');
    files.push_back({part.filename.value_or(part.name), ""});
    return ok;
  }
  Result<void> data(std::string_view bytes) override {
    assert(inside && !bytes.empty());
    longest = std::max(longest, bytes.size());
    all += bytes;
    files.back().content += bytes;
    return ok;
  }
  Result<void> end() override {
    assert(inside);
    inside = false;
    all += '}';
    return ok;
  }
};

Seen read(std::string_view bytes, std::size_t piece) {
  Seen seen;
  brain::FormParser parser("B", kLimits, seen);
  for (; !bytes.empty() && !seen.refused; bytes.remove_prefix(std::min(piece, bytes.size())))
    seen.refused = !parser.feed(bytes.substr(0, piece));
  if (!seen.refused) seen.refused = !parser.finish();
  assert(seen.longest <= piece + kLimits.head + 10);
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Seen whole = read(bytes, bytes.size() + 1), pieces = read(bytes, data[0] % 16 + 1u);
  assert(whole.refused == pieces.refused);
  if (whole.refused) return 0;
  assert(whole.all == pieces.all);
  auto package = brain::package_skill(whole.files, kSkill);
  if (!package) return 0;
  assert(package->name.size() <= 64 && !package->name.contains('/') && package->bytes <= 10'000);
  // Of each file the archive has two names and one content, and nothing else varies.
  std::size_t names = 0;
  for (const auto& file : whole.files)
    names += package->name.size() + file.path.size() - file.path.find('/');
  assert(package->archive.size() ==
         22 + whole.files.size() * (30 + 46) + 2 * names + package->bytes);
  return 0;
}
