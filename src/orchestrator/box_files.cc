// Skills and memories in a session's box, kept from outside over the engine's API.
#include <map>

#include "net/deadline.h"
#include "net/task.h"
#include "orchestrator/boxes.h"
#include "runner/retry.h"
#include "runner/unpack.h"

namespace glovebox::orchestrator {

namespace {

// Where a store without a mount path is put; services give them one.
constexpr std::string_view kWorkDirectory = "/workspace";
constexpr std::string_view kHere = "./";  // the box's work directory, wherever its image has that
constexpr Millis kPatience = 10s;  // with an engine that restarts: what fails is tried again later

// The box of some hands, whichever it is now.
class Place {
 public:
  Place(std::shared_ptr<Boxes> boxes, std::shared_ptr<BoxHands> hands)
      : boxes_(std::move(boxes)), hands_(std::move(hands)) {}
  EngineApi& api() const { return boxes_->api(); }
  const std::string& box() const { return hands_->box(); }

  // Each of these requests may be made twice.
  template <class T>
  Task<T> patiently(std::function<Task<T>()> request) const {
    const BoxOptions& options = boxes_->options();
    net::Deadline deadline(kPatience);
    for (int attempt = 0;; ++attempt) {
      auto result = co_await request();
      if (result || !may_pass(result.error()) || deadline.left() <= 0ms) co_return result;
      CO_TRY_DO(co_await net::sleep(
          runner::jittered(runner::doubled(options.first_retry, attempt, options.longest_retry))));
    }
  }

 private:
  std::shared_ptr<Boxes> boxes_;
  std::shared_ptr<BoxHands> hands_;
};

class BoxFiles : public runner::Files {
 public:
  explicit BoxFiles(Place place) : place_(std::move(place)) {}

  Task<void> make_folder(std::string path) override {
    return act([this, path] { return place_.api().make_folder(place_.box(), full(path)); });
  }
  Task<void> write_file(std::string path, std::string content, int mode) override {
    const std::string above = full(path).substr(0, full(path).rfind('/'));
    return act([this, path, above, mode, content = std::move(content)] {
      return place_.api().place(place_.box(), full(path), above, mode, content);
    });
  }
  Task<void> remove_tree(std::string path) override {
    return act([this, path] { return place_.api().remove_tree(place_.box(), full(path)); });
  }

 private:
  static std::string full(const std::string& path) { return str(kHere, path); }
  Task<void> act(std::function<Task<void>()> request) {
    return place_.patiently<void>(std::move(request));
  }
  const Place place_;
};

class BoxMemoryFolder : public runner::MemoryFolder {
 public:
  BoxMemoryFolder(Place place, std::string root)
      : place_(std::move(place)), root_(std::move(root)) {}

  Task<bool> exists() override {
    CO_TRY(found, co_await tree(root_));
    co_return found.has_value();
  }
  Task<bool> claim() override { co_return true; }  // in a box of the session's there is nobody else
  Task<void> create() override {
    return act([this] { return place_.api().make_folder(place_.box(), root_); });
  }
  Task<runner::Hashes> scan() override {
    CO_TRY(found, co_await tree(root_));
    runner::Hashes hashes;
    if (!found) co_return hashes;
    if (found->kind != "folder") co_return Error{Code::conflict, str(root_, " is no folder")};
    sizes_.clear();
    for (EngineApi::Tree::File& file : found->files) {
      sizes_[file.path] = file.size;
      hashes[std::move(file.path)] = std::move(file.sha256);
    }
    co_return hashes;
  }
  Task<std::optional<std::string>> hash(std::string path) override {
    CO_TRY(found, co_await tree(full(path)));
    if (!found || found->kind != "file" || found->files.size() != 1)
      co_return std::optional<std::string>();
    co_return std::optional(std::move(found->files[0].sha256));
  }
  Task<std::optional<std::string>> read(std::string path, std::size_t limit) override {
    // A tenant's file may be as large as its disk: not even asked for.
    auto known = sizes_.find(path);
    if (known != sizes_.end() && known->second > limit) co_return too_large(path);
    std::function<Task<std::optional<std::string>>()> request = [this, path] {
      return place_.api().read(place_.box(), full(path));
    };
    CO_TRY(content, co_await place_.patiently(std::move(request)));
    if (content && content->size() > limit) co_return too_large(path);
    co_return content;
  }
  Task<void> write(std::string path, std::string content) override {
    return act([this, path, content = std::move(content)] {
      return place_.api().place(place_.box(), full(path), root_, 0600, content);
    });
  }
  Task<void> remove(std::string path) override {
    return act([this, path] { return place_.api().remove_tree(place_.box(), full(path)); });
  }
  Task<void> remove_all() override {
    return act([this] { return place_.api().remove_tree(place_.box(), root_); });
  }

 private:
  std::string full(const std::string& path) const { return str(root_, '/', path); }
  static Error too_large(const std::string& path) {
    return Error{Code::too_large, str(path, " is too large")};
  }
  Task<void> act(std::function<Task<void>()> request) {
    return place_.patiently<void>(std::move(request));
  }
  Task<std::optional<EngineApi::Tree>> tree(std::string path) {
    std::function<Task<std::optional<EngineApi::Tree>>()> request = [this, path] {
      return place_.api().tree(place_.box(), path);
    };
    return place_.patiently(std::move(request));
  }

  const Place place_;
  const std::string root_;
  std::map<std::string, std::uint64_t> sizes_;  // when last seen
};

}  // namespace

std::shared_ptr<runner::Hands> equipped_box(net::Loop& loop, std::shared_ptr<Boxes> boxes,
                                            std::shared_ptr<BoxHands> hands,
                                            runner::SessionAccess access, std::string unpack) {
  Place place(std::move(boxes), hands);
  runner::Equipment equipment;
  equipment.files = std::make_shared<BoxFiles>(place);
  equipment.open_memory = [place](std::string root) -> std::shared_ptr<runner::MemoryFolder> {
    return std::make_shared<BoxMemoryFolder>(place, std::move(root));
  };
  equipment.work_directory = kWorkDirectory;
  equipment.unpack = runner::unpacker(loop, std::move(unpack));
  equipment.memory.of_session = true;
  return std::make_shared<runner::EquippedHands>(loop, std::move(hands), std::move(access),
                                                 std::move(equipment));
}

}  // namespace glovebox::orchestrator
