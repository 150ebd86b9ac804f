// Arbitrary bytes as a skill's archive: libarchive's readers, the records between the two
// processes, and the plan. What must hold: limits, and that nothing a plan names is outside the
// skill's folder or there twice.
#include <cassert>
#include <cstdint>
#include <set>

#include "runner/archive_members.h"
#include "runner/member_frames.h"

using namespace glovebox;

namespace {

const runner::ArchiveLimits kLimits{.archive = 1 << 20,
                                    .unpacked = 1 << 20,
                                    .members = 200,
                                    .names = 10'000,
                                    .ratio_from = 100'000};

void check_path(std::string_view path) {
  assert(!path.empty() && path.size() <= 1024 && valid_utf8(path) == path);
  for (const std::string& part : split(path, '/'))
    assert(!part.empty() && part != "." && part != ".." && part.find('\0') == part.npos);
}

std::string parent(const std::string& path) {
  auto slash = path.rfind('/');
  return slash == path.npos ? "" : path.substr(0, slash);
}

void check(const runner::SkillPlan& plan) {
  std::set<std::string> folders{""}, files;
  for (const std::string& folder : plan.folders) {
    check_path(folder);
    assert(folders.contains(parent(folder)) && folders.insert(folder).second);
  }
  std::size_t unpacked = 0;
  for (const auto& file : plan.files) {
    check_path(file.path);
    assert(folders.contains(parent(file.path)) && !folders.contains(file.path));
    assert(files.insert(file.path).second);
    unpacked += file.content.size();
  }
  assert(unpacked <= kLimits.unpacked);
}

// What the parent makes of what its reader says.
void follow(std::string_view records, runner::Packing packing) {
  runner::MemberFrames frames(kLimits, kLimits.unpacked);
  if (!frames.feed(records)) return;
  auto members = frames.finish();
  if (!members) return;
  assert(members->size() <= kLimits.members);
  if (auto plan = runner::plan_skill(std::move(*members), packing, kLimits)) check(*plan);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.size() > kLimits.archive) return 0;
  std::string records;
  auto read = runner::read_members(bytes, kLimits, [&](std::string_view record) {
    records += record;
    return true;
  });
  records += read ? runner::end_record() : runner::refusal_record(read.error().what);
  follow(records, runner::packing_of(bytes));
  follow(bytes, runner::packing_of(bytes));  // a reader that says whatever it likes
  return 0;
}
