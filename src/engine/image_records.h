// What is known of images, their roots and who holds them, in SQLite.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "store/database.h"

namespace glovebox::engine {

// What processes of a box begin with.
struct ImageConfig {
  std::vector<std::string> env;  // "K=V"
  std::string cwd, user;
  std::vector<std::string> entrypoint, cmd;
  std::map<std::string, std::string> labels;
  // "host": the root is what a box's own files begin with, over the machine's own image; else the
  // root is all there is.
  std::string over = {};
  bool operator==(const ImageConfig&) const = default;
};
std::string encode(const ImageConfig& config);
Result<void> check(const ImageConfig& config);                   // that a box can begin with it
Result<ImageConfig> decode_image_config(std::string_view json);  // ours
// The "config" of an OCI or Docker image configuration; refused if it is of another machine.
Result<ImageConfig> decode_oci_config(std::string_view json);

struct ImageRecord {
  std::string name;
  std::string id;      // "sha256:…" of root and configuration
  std::string root;    // key
  std::string source;  // "root tarball", "registry docker.io/library/debian:12", "build" …
  std::string digest;  // of the manifest it came with; may be empty
  ImageConfig config;
  std::int64_t created_at = 0;  // unix ms
  std::uint64_t bytes = 0;      // of files, as unpacked
  // What the platform's clients said when they had it built, kept for them.
  bool shared = false;
  std::int64_t disk_bytes = 0;  // 0: nothing was said
};
std::string encode(const ImageRecord& image, std::int64_t users);
std::string image_id(const std::string& root, const ImageConfig& config);

struct RootRecord {
  std::string key;
  std::string parent = {};  // what it began as a copy of: a tree of roots
  std::uint64_t bytes = 0, entries = 0;
  bool reuse = true;  // kept for the next build or pull though no image is made of it
};

struct RootUse {
  std::string user, root;
  ImageConfig config;
};

class ImageRecords {
 public:
  static Result<ImageRecords> open(const std::string& path);
  Result<void> put_root(const RootRecord& root, std::int64_t now);
  std::optional<RootRecord> root(const std::string& key);
  Result<void> touch_root(const std::string& key, std::int64_t now);
  Result<void> remove_root(const std::string& key);
  // False: it is not there, or somebody needs it, and it stays.
  Result<bool> remove_unneeded_root(const std::string& key);
  // From now on `key` and what it is made of stay only while somebody needs them.
  Result<void> end_reuse(const std::string& key);
  Result<std::vector<std::string>> roots();
  // Nobody's: neither an image's nor held nor what such a one is made of; those for reuse only if
  // not used since `before`.
  Result<std::vector<std::string>> unused_roots(std::int64_t before);

  Result<void> put_image(const ImageRecord& image);  // takes the name over
  Result<std::optional<ImageRecord>> image(const std::string& name_or_id);
  Result<void> remove_image(const std::string& name);
  Result<std::vector<ImageRecord>> list();

  Result<void> hold(const RootUse& use);
  Result<void> release(const std::string& user);
  std::optional<RootUse> use(const std::string& user);
  Result<std::vector<std::string>> users();
  std::int64_t users_of(const std::string& root);
  Result<void> sync() const { return db_.sync(); }

 private:
  explicit ImageRecords(store::Database db) : db_(std::move(db)) {}
  store::Database db_;
};

}  // namespace glovebox::engine
