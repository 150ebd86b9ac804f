// glovebox-image: takes archives apart and puts trees together, for the engine, which gives it a
// range of user ids and the paths of its trees and hears on standard output what became of it
// (report.h). Whatever the archive or the trees hold, it can harm no more than the tree it fills.
//
//   glovebox-image unpack BASE TREE BYTES ENTRIES RESERVE [layer]  <archive
//   glovebox-image unpack-over BASE LOWER LAYER BYTES ENTRIES RESERVE  <archive of `pack`
//   glovebox-image pack   BASE TREE                                    3>archive
//   glovebox-image count  BASE TREE             how much there is in it
//   glovebox-image finish BASE TREE             what a box needs to be in its root
//   glovebox-image copy   BASE TREE SOURCE BYTES ENTRIES RESERVE DEST OWNER MODE add|copy SOURCES…
//   glovebox-image copy-over BASE LOWER LAYER SOURCE …   the same, into LAYER/u as seen over LOWER
//   glovebox-image digest BASE SOURCE BYTES ENTRIES DEST OWNER MODE add|copy SOURCES…
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>

#include "image/confine.h"
#include "image/copy.h"
#include "image/pack.h"
#include "image/place.h"
#include "image/unpack.h"

namespace glovebox::image {
namespace {

constexpr int kArchive = 3;  // the descriptor that `pack` writes to

using Words = std::vector<std::string>;

struct Folder {
  const char* name;
  mode_t mode;
  bool real;  // a mount goes over it, so it may be no link
};
constexpr Folder kFolders[] = {
    {"proc", 0555, true},  {"sys", 0555, true},  {"dev", 0755, true},       {"etc", 0755, true},
    {"tmp", 01777, false}, {"run", 0755, false}, {"workspace", 0777, false}};

Result<void> finish(int tree) {
  Place place(tree);
  for (const auto& [name, mode, real] : kFolders) {
    struct stat info{};
    const bool there = ::fstatat(tree, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && (S_ISDIR(info.st_mode) || (S_ISLNK(info.st_mode) && !real))) continue;
    if (there) TRY_DO(place.clear(tree, name));
    if (::mkdirat(tree, name, mode) < 0) return sys_error(str("make ", name));
  }
  return ok;
}

Result<std::uint64_t> number(const std::string& word) {
  auto value = parse_int<std::uint64_t>(word);
  if (!value) return Error{Code::invalid, str("no number: ", word)};
  return *value;
}

Result<CopyPlan> copy_plan(const Words& words, std::size_t at) {
  if (words.size() < at + 4) return Error{Code::invalid, "wrong usage"};
  CopyPlan plan;
  plan.dest = words[at];
  plan.owner = words[at + 1];
  if (!words[at + 2].empty()) {
    TRY(mode, number(words[at + 2]));
    plan.mode = static_cast<unsigned>(mode) & 07777;
  }
  plan.extract = words[at + 3] == "add";
  plan.sources.assign(words.begin() + static_cast<std::ptrdiff_t>(at) + 4, words.end());
  return plan;
}

Result<void> run(const Words& words, Report& report) {
  if (words.size() < 3) return Error{Code::invalid, "wrong usage"};
  TRY(base, number(words[1]));
  const auto ids = static_cast<uid_t>(base);
  auto limits = [&](std::size_t at, bool reserve) -> Result<Report::Limits> {
    if (words.size() < at + (reserve ? 3 : 2)) return Error{Code::invalid, "wrong usage"};
    TRY(bytes, number(words[at]));
    TRY(entries, number(words[at + 1]));
    if (!reserve) return Report::Limits{bytes, entries, 0};
    TRY(kept, number(words[at + 2]));
    return Report::Limits{bytes, entries, kept};
  };
  if (words[0] == "unpack") {
    TRY(to, limits(3, true));
    TRY(trees, confine(ids, words[2], ""));
    report.set_limits(to, trees.tree.get());
    UnpackOptions options{.layer = words.size() > 6 && words[6] == "layer"};
    TRY_DO(unpack(STDIN_FILENO, trees.tree.get(), options, report));
    report.done();
    return ok;
  }
  if (words[0] == "unpack-over" && words.size() > 6) {
    TRY(to, limits(4, true));
    TRY(trees, confine_over(ids, words[2], words[3], ""));
    report.set_limits(to, trees.tree.get());
    TRY_DO(unpack(STDIN_FILENO, trees.tree.get(), {.over = true}, report));
    report.done();
    return ok;
  }
  if (words[0] == "pack") {
    TRY(opaque, opaque_directories(words[2]));
    TRY(trees, confine(ids, "", words[2]));
    report.set_limits({UINT64_MAX, UINT64_MAX, 0}, -1);
    TRY_DO(pack(trees.source.get(), kArchive, opaque, report));
    report.done();
    return ok;
  }
  if (words[0] == "count") {
    TRY(trees, confine(ids, "", words[2]));
    report.set_limits({UINT64_MAX, UINT64_MAX, 0}, -1);
    TRY_DO(count(trees.source.get(), report));
    report.done();
    return ok;
  }
  if (words[0] == "finish") {
    TRY(trees, confine(ids, words[2], ""));
    TRY_DO(finish(trees.tree.get()));
    report.done();
    return ok;
  }
  if (words[0] == "copy" && words.size() > 6) {
    TRY(to, limits(4, true));
    TRY(plan, copy_plan(words, 7));
    TRY(trees, confine(ids, words[2], words[3]));
    report.set_limits(to, trees.tree.get());
    TRY_DO(copy(trees.source.get(), trees.tree.get(), plan, report));
    report.done();
    return ok;
  }
  if (words[0] == "copy-over" && words.size() > 7) {
    TRY(to, limits(5, true));
    TRY(plan, copy_plan(words, 8));
    TRY(trees, confine_over(ids, words[2], words[3], words[4]));
    report.set_limits(to, trees.tree.get());
    TRY_DO(copy(trees.source.get(), trees.tree.get(), plan, report));
    report.done();
    return ok;
  }
  if (words[0] == "digest") {
    TRY(to, limits(3, false));
    TRY(plan, copy_plan(words, 5));
    TRY(trees, confine(ids, "", words[2]));
    report.set_limits(to, -1);
    TRY(name, digest(trees.source.get(), plan, report));
    report.done(name);
    return ok;
  }
  return Error{Code::invalid, "wrong usage"};
}

}  // namespace
}  // namespace glovebox::image

int main(int argc, char** argv) {
  using namespace glovebox::image;
  // Where there is such a locale, names in UTF-8 can be read from every kind of archive.
  (void)std::setlocale(LC_CTYPE, "C.UTF-8");
  Report report(STDOUT_FILENO);
  auto done = run(Words(argv + 1, argv + argc), report);
  if (done) return 0;
  report.error(done.error());
  return 1;
}
