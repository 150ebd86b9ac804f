#include "orchestrator/host_tree.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "sys/beneath.h"

namespace glovebox::orchestrator {

namespace beneath = sys::beneath;

namespace {

constexpr std::size_t kMostFiles = 20'000;

bool executable(const Fd& file) {
  struct stat info{};
  return ::fstat(file.get(), &info) == 0 && (info.st_mode & 0111) != 0;
}

}  // namespace

Result<HostTree> HostTree::open(const std::string& directory, const std::string& below) {
  HostTree tree;
  tree.root_.reset(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!tree.root_) return sys_error(directory);
  tree.below_ = below;
  auto folder = beneath::open_folder(tree.root_.get(), below, beneath::Missing::fail);
  if (!folder && folder.error().code == Code::not_found) {
    TRY(file, tree.file(""));
    tree.is_file_ = true;
    tree.files_.push_back({"", executable(file)});
    return tree;
  }
  if (!folder) return std::move(folder.error());
  auto visit = [&](const std::string& path, const Fd& file) -> Result<void> {
    tree.files_.push_back({path, executable(file)});
    return ok;
  };
  TRY_DO(beneath::each_file(folder->get(), kMostFiles, visit));
  return tree;
}

Result<Fd> HostTree::file(const std::string& path) const {
  const std::string whole = path.empty() ? below_ : below_.empty() ? path : str(below_, '/', path);
  TRY(found, beneath::open_plain(root_.get(), whole));
  if (!found) return Error{Code::not_found, str(whole, " is not there")};
  return std::move(*found);
}

}  // namespace glovebox::orchestrator
