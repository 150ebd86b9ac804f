#include "engine/images.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fault.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/core.h"
#include "engine/oci.h"
#include "engine/sha256.h"
#include "net/task.h"
#include "sys/btrfs.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

constexpr std::string_view kDraft = ".new-";
constexpr std::uint64_t kMaxBytes = 64ull << 30;            // of one image's files
constexpr std::uint64_t kMaxEntries = 4'000'000;            // likewise
constexpr std::int64_t kReuseMs = 14ll * 24 * 3600 * 1000;  // roots kept for the next build or pull
constexpr std::size_t kMaxName = 200;
constexpr const char* kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The names that clients of the cloud know; here they are the default image until somebody gives
// them to another.
constexpr std::string_view kBaseNames[] = {"tensorlake/ubuntu-minimal",
                                           "tensorlake/ubuntu-systemd",
                                           "tensorlake/debian-minimal",
                                           "tensorlake/ubuntu-vnc",
                                           "ubuntu-minimal",
                                           "ubuntu-systemd",
                                           "debian-minimal",
                                           "ubuntu-vnc"};

Result<std::vector<std::string>> names_in(int directory) {
  Fd fd(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return sys_error("list images");
  std::unique_ptr<DIR, decltype([](DIR* stream) { ::closedir(stream); })> dir(
      ::fdopendir(fd.get()));
  if (!dir) return sys_error("list images");
  (void)fd.release();
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(dir.get()))
    if (std::string_view name = entry->d_name; name != "." && name != "..")
      names.emplace_back(name);
  return names;
}

bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

Images::Images(Core& core) : core_(core), tool_(core.loop, core.options.image_program) {}

Task<void> Images::open() {
  CO_TRY(found, ImageRecords::open(core_.path("images.db")));
  records_.emplace(std::move(found));
  CO_TRY_DO(sys::make_dirs(core_.path("pool/images"), 0700), "images");
  dir_.reset(::open(core_.path("pool/images").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir_) co_return sys_error("open images");
  co_return co_await sweep();
}

// What a crash left: drafts, roots without a row, rows without a root, holds of boxes that are
// gone.
Task<void> Images::sweep() {
  CO_TRY(names, names_in(dir_.get()));
  std::vector<std::string> strays;
  for (const auto& name : names)
    if (name.starts_with(kDraft) || !records_->root(name)) strays.push_back(name);
  CO_TRY(known, records_->roots());
  for (const auto& key : known)
    if (std::ranges::find(names, key) == names.end()) CO_TRY_DO(records_->remove_root(key));
  CO_TRY(rows, core_.records->uncleaned());
  CO_TRY(warm, core_.pools->records.warm());
  CO_TRY(users, records_->users());
  for (const auto& user : users) {
    bool lives = user.find(':') != user.npos ||  // those of snapshots are looked through with them
                 std::ranges::any_of(warm, [&](const auto& row) { return row.id == user; }) ||
                 std::ranges::any_of(rows, [&](const Row& row) { return row.record.id == user; });
    if (!lives) CO_TRY_DO(records_->release(user));
  }
  CO_TRY(unused, records_->unused_roots(system_clock().unix_ms() - kReuseMs));
  for (auto& name : strays) CO_TRY_DO(co_await discard(std::move(name)));
  CO_TRY_DO(co_await drop_roots(std::move(unused)));
  co_return ok;
}

// The list is of a while ago: each is looked at again, and nobody comes between that look and the
// new name.
Task<std::uint64_t> Images::drop_roots(std::vector<std::string> keys) {
  std::uint64_t count = 0;
  for (const auto& key : keys) {
    if (pinned_->contains(key)) continue;
    CO_TRY(gone, records_->remove_unneeded_root(key));
    if (!gone) continue;
    CO_FAULT("image.drop.after_row");  // a root without a row is a stray
    CO_TRY_DO(co_await discard(key));
    log::info("image.root_removed", {{"root", key}});
    ++count;
  }
  co_return count;
}

// To remove it takes a while. Until then it has another name: who makes the same root meanwhile
// must not take the dying one for it.
Task<void> Images::discard(std::string name) {
  std::string dying = str(kDraft, random_id(12));
  if (::renameat2(dir_.get(), name.c_str(), dir_.get(), dying.c_str(), RENAME_NOREPLACE) < 0) {
    if (errno == ENOENT) co_return ok;
    co_return sys_error(str("remove root ", name));
  }
  std::function<Result<void>()> remove = [this, dying] {
    return sys::remove_subvolume(dir_.get(), dying);
  };
  co_return co_await core_.pool.run(std::move(remove));
}

Result<void> Images::check_name(const std::string& name) const {
  auto fits = [](char c) {
    return plain(c) || std::string_view("._-/:").find(c) != std::string_view::npos;
  };
  auto digest_at = std::min(name.find('@'), name.size());
  std::string_view before = std::string_view(name).substr(0, digest_at);
  if (before.empty() || before.size() > kMaxName || !plain(before[0]) ||
      !std::ranges::all_of(before, fits) || before.find("//") != before.npos ||
      (digest_at < name.size() && !check_digest(name.substr(digest_at + 1))) ||
      name.starts_with("sha256:") || name.starts_with("build:"))
    return Error{Code::invalid,
                 str("image name '", valid_utf8(name),
                     "': letters, digits and . _ - / : after a letter or digit, at most ", kMaxName,
                     ", and perhaps @sha256: with a digest")};
  if (name == "host")
    return Error{Code::conflict, "'host' is this machine's own image and cannot be replaced"};
  return ok;
}

std::shared_ptr<const Image> Images::image_of(const std::string& root, const ImageConfig& config) {
  std::string id = image_id(root, config);
  if (auto known = cache_[id].lock()) return known;
  auto image = std::make_shared<Image>();
  image->config = config;
  image->env = config.env;
  image->generation = root;
  if (config.over == "host") {
    image->root = core_.image->root;
    image->usr_mask = core_.image->usr_mask;
    image->host_generation = core_.image->generation;
    image->upper = "images/" + root;
    for (const auto& entry : core_.image->env) {
      auto name = entry.substr(0, entry.find('=') + 1);
      if (std::ranges::none_of(config.env, [&](const auto& e) { return e.starts_with(name); }))
        image->env.push_back(entry);
    }
  } else {
    image->root = str("pool/images/", root, "/u");
  }
  auto has = [&](std::string_view name) {
    return std::ranges::any_of(config.env, [&](const auto& e) { return e.starts_with(name); });
  };
  if (!has("PATH=")) image->env.emplace_back(kPath);
  if (!has("LANG=") && !has("LC_ALL=")) image->env.emplace_back("LANG=C.UTF-8");
  image->cwd = config.cwd.empty() ? "/workspace" : config.cwd;
  image->user = config.user;
  image->entrypoint = config.entrypoint;
  if (!image->entrypoint.empty())
    image->entrypoint.insert(image->entrypoint.end(), config.cmd.begin(), config.cmd.end());
  cache_[id] = image;
  return image;
}

bool Images::is_default(const std::string& name) const {
  return name.empty() || name == "host" ||
         std::ranges::find(kBaseNames, name) != std::end(kBaseNames);
}

Result<std::shared_ptr<const Image>> Images::resolve(const std::string& name) {
  if (name.empty() || name == "host") return std::shared_ptr<const Image>();
  if (auto lent = lent_.find(name); lent != lent_.end()) return lent->second;
  TRY(found, records_->image(name));
  if (!found && is_default(name)) return std::shared_ptr<const Image>();
  if (!found)
    return Error{Code::invalid,
                 str("image ", valid_utf8(name),
                     ": not known here; 'glovebox image ls' lists what is, 'glovebox image pull' "
                     "and 'image import' bring more"),
                 "IMAGE_NOT_FOUND"};
  return image_of(found->root, found->config);
}

Result<std::string> Images::lend(const std::string& root, const ImageConfig& config) {
  auto image = std::make_shared<Image>(*image_of(root, config));
  if (config.over.empty()) {  // nothing below: what is changed is changed for good
    TRY_DO(sys::make_dirs(core_.path("images/nothing"), 0755));
    image->root = "images/nothing";
    image->upper = "images/" + root;
  }
  image->entrypoint.clear();
  std::string name = "build:" + random_id(16);
  lent_[name] = std::move(image);
  return name;
}

Task<Images::Draft> Images::draft_of_box(std::string id) {
  Draft draft;
  draft.images = this;
  std::string name = str(kDraft, random_id(12));
  std::function<Result<void>()> copy = [this, name, id]() -> Result<void> {
    TRY(source, core_.storage->open_upper(id));
    return sys::copy_subvolume(source.get(), dir_.get(), name, sys::Copy::writable);
  };
  draft.name = name;
  CO_TRY_DO(co_await core_.pool.run(std::move(copy)), "files of the build");
  co_return draft;
}

Task<void> Images::end_build_boxes() {
  std::vector<std::string> ids;
  for (const auto& [id, box] : core_.boxes)
    if (box->record.image.starts_with("build:")) ids.push_back(id);
  for (const auto& id : ids) CO_TRY_DO(co_await core_.remove(id));
  co_return ok;
}

Result<void> Images::hold(const std::string& user, const Image& image) {
  if (&image == core_.image.get()) return ok;  // the machine's own
  TRY_DO(records_->hold({user, image.generation, image.config}));
  if (records_->root(image.generation)) return ok;
  (void)records_->release(user);
  return Error{Code::conflict, "the image was removed meanwhile", "IMAGE_NOT_FOUND"};
}
Result<void> Images::release(const std::string& user) { return records_->release(user); }

std::shared_ptr<const Image> Images::held(const std::string& user) {
  auto use = records_->use(user);
  return use ? image_of(use->root, use->config) : nullptr;
}

Result<ImageRecord> Images::get(const std::string& name_or_id) {
  TRY(found, records_->image(name_or_id));
  if (!found)
    return Error{Code::not_found, str("no image ", valid_utf8(name_or_id)), "IMAGE_NOT_FOUND"};
  return std::move(*found);
}

Task<void> Images::remove(std::string name_or_id) {
  CO_TRY(image, get(name_or_id));
  CO_TRY_DO(records_->remove_image(image.name));
  CO_FAULT("image.remove.after_row");
  log::info("image.removed", {{"image", image.name}});
  co_return co_await drop_unused();
}

Task<void> Images::drop_unused() {
  CO_TRY(unused, records_->unused_roots(system_clock().unix_ms() - kReuseMs));
  CO_TRY_DO(co_await drop_roots(std::move(unused)));
  co_return ok;
}

Task<std::uint64_t> Images::prune() {
  CO_TRY(unused, records_->unused_roots(system_clock().unix_ms() + 1));
  co_return co_await drop_roots(std::move(unused));
}

Images::Draft::Draft(Draft&& other) noexcept
    : images(other.images), name(std::exchange(other.name, "")) {}
Images::Draft& Images::Draft::operator=(Draft&& other) noexcept {
  std::swap(images, other.images);
  std::swap(name, other.name);
  return *this;
}
Images::Draft::~Draft() {
  if (name.empty() || images->core_.closing) return;
  // What a task that is cancelled drops is removed beside it; what is not, by the next start.
  std::function<Result<void>()> remove = [dir = images->dir_.get(), gone = name] {
    return sys::remove_subvolume(dir, gone);
  };
  images->core_.work.spawn("drop draft", images->core_.pool.run(std::move(remove)));
}

Task<Images::Draft> Images::draft(std::string parent) {
  Draft draft;
  draft.images = this;
  std::string name = str(kDraft, random_id(12));
  std::function<Result<void>()> make = [this, name, parent]() -> Result<void> {
    if (!parent.empty()) {
      Fd source(::openat(dir_.get(), parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!source) return sys_error(str("root ", parent));
      return sys::copy_subvolume(source.get(), dir_.get(), name, sys::Copy::writable);
    }
    TRY_DO(sys::make_subvolume(dir_.get(), name));
    for (auto part : {"/u", "/w"})
      TRY_DO(sys::make_dirs(str(core_.path("pool/images/"), name, part), 0755));
    return ok;
  };
  CO_TRY_DO(core_.storage->check_room());
  draft.name = name;
  CO_TRY_DO(co_await core_.pool.run(std::move(make)), "draft of an image");
  co_return draft;
}

std::string Images::tree(const Draft& draft) const {
  return core_.path(str("pool/images/", draft.name, "/u"));
}
std::string Images::tree(const std::string& root) const {
  return core_.path(str("pool/images/", root, "/u"));
}

Task<void> Images::keep(Draft draft, RootRecord root) {
  Pin pin(*this, root.key);
  CO_FAULT("image.before_rename");
  std::function<Result<void>()> name = [this, from = draft.name, to = root.key]() -> Result<void> {
    TRY_DO(sys::commit(dir_.get()), "flush");
    if (::renameat2(dir_.get(), from.c_str(), dir_.get(), to.c_str(), RENAME_NOREPLACE) < 0)
      return sys_error("name a root");
    return sys::commit(dir_.get());
  };
  auto named = co_await core_.pool.run(std::move(name));
  // Somebody else made the same meanwhile, or a row was lost: what is there is as good.
  if (!named && named.error().tag != "EEXIST" && named.error().code != Code::conflict)
    co_return std::move(named.error());
  if (named) draft.name.clear();
  CO_FAULT("image.after_rename");
  co_return records_->put_root(root, system_clock().unix_ms());
}

std::vector<std::string> Images::limits() const {
  return {str(kMaxBytes), str(kMaxEntries), str(core_.options.reserve_mb << 20)};
}

Task<ImageTool::Done> Images::unpack(const Draft& draft, Fd archive, bool layer,
                                     Progress progress) {
  CO_TRY(range, Range::take(core_));
  std::vector<std::string> words{"unpack", range.text(), tree(draft)};
  for (auto& word : limits()) words.push_back(std::move(word));
  if (layer) words.emplace_back("layer");
  ImageTool::Progress tell;
  if (progress.bytes)
    tell = [progress](std::uint64_t bytes, std::uint64_t) { progress.bytes(bytes, 0); };
  co_return co_await tool_.run_on_file(std::move(words), std::move(archive), std::move(tell));
}

// Each layer on a copy of the one below: what two images have in common is there once, and is not
// unpacked again.
Task<std::string> Images::apply(std::vector<Layer> layers, Progress progress) {
  std::vector<std::string> keys;
  std::vector<Pin> pins;
  std::string below;
  for (const Layer& layer : layers) {
    below = Sha256().field("layer").field(below).field(layer.digest).hex();
    keys.push_back(below);
    pins.emplace_back(*this, below);
  }
  std::size_t done = layers.size();
  while (done > 0 && !has_root(keys[done - 1])) --done;
  RootRecord total;
  if (done > 0) {
    total = records_->root(keys[done - 1]).value_or(RootRecord());
    progress.line(str(done, " of ", layers.size(), " layers are here already"));
  }
  for (std::size_t i = done; i < layers.size(); ++i) {
    progress.line(str("unpack layer ", i + 1, " of ", layers.size()));
    CO_TRY(fresh, co_await draft(i == 0 ? "" : keys[i - 1]));
    CO_TRY(archive, co_await layers[i].open());
    CO_TRY(unpacked, co_await unpack(fresh, std::move(archive), true, progress), "layer ",
           layers[i].digest);
    total.key = keys[i];
    total.parent = i == 0 ? "" : keys[i - 1];
    total.bytes += unpacked.bytes;
    total.entries += unpacked.entries;
    CO_TRY_DO(co_await keep(std::move(fresh), total));
  }
  if (keys.empty()) co_return Error{Code::invalid, "the image has no layers"};
  co_return keys.back();
}

Task<std::string> Images::finished(std::string root) {
  Pin pin(*this, root);
  std::string key = Sha256().field("finished").field(root).hex();
  if (has_root(key)) {
    CO_TRY_DO(records_->touch_root(key, system_clock().unix_ms()));
    co_return key;
  }
  auto from = records_->root(root);
  if (!from) co_return Error{Code::internal, "a root is missing"};
  CO_TRY(fresh, co_await draft(root));
  CO_TRY(range, Range::take(core_));
  std::vector<std::string> words{"finish", range.text(), tree(fresh)};
  CO_TRY_DO(co_await tool_.run(std::move(words)), "prepare the root");
  // Mounts will go over these; the program's word is not enough for that.
  for (auto name : {"proc", "dev", "etc"}) {
    struct stat info{};
    if (::lstat(str(tree(fresh), "/", name).c_str(), &info) < 0 || !S_ISDIR(info.st_mode))
      co_return Error{Code::invalid, str("/", name, " of the image is no directory")};
  }
  CO_TRY_DO(co_await keep(std::move(fresh), {key, root, from->bytes, from->entries}));
  co_return key;
}

Task<ImageRecord> Images::publish(ImageRecord image, Reuse reuse) {
  CO_TRY_DO(check(image.config));
  if (!has_root(image.root))
    co_return Error{Code::conflict, "the image was removed meanwhile", "IMAGE_NOT_FOUND"};
  image.id = image_id(image.root, image.config);
  image.created_at = system_clock().unix_ms();
  if (auto root = records_->root(image.root)) image.bytes = root->bytes;
  CO_FAULT("image.before_name");
  CO_TRY_DO(records_->put_image(image));
  if (reuse == Reuse::no) CO_TRY_DO(records_->end_reuse(image.root));
  CO_FAULT("image.after_name");
  std::function<Result<void>()> sync = [this] { return records_->sync(); };
  CO_TRY_DO(co_await core_.pool.run(std::move(sync)));
  log::info("image.named", {{"image", image.name}, {"id", image.id}, {"source", image.source}});
  co_return image;
}

Result<Images::Range> Images::Range::take(Core& core) {
  TRY(base, core.take_range());
  return Range(core, base);
}
Images::Range::~Range() {
  if (core_) core_->ranges_taken.erase(base_);
}

}  // namespace glovebox::engine
