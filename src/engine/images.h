// Images other than the machine's own: read-only roots that boxes start from, each with what its
// processes begin with. An image is a name for a root and a configuration; a root is a subvolume
// STATE/pool/images/KEY/u whose key is made of what it was made of (the digests of its layers, as
// we counted them; the steps of a build), so that two images of the same parts share them.
//
// Disk first: a root is filled under a name that begins with ".new-", flushed, renamed, noted. A
// root that nobody names, holds or may want again goes at the next sweep.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/image_records.h"
#include "engine/image_tool.h"
#include "engine/registry.h"
#include "net/loop.h"

namespace glovebox::engine {

struct Core;
struct Image;

// What of an archive or a registry becomes one root, from the bottom.
struct Layer {
  std::string digest;              // of its bytes as they are, counted by us
  std::function<Task<Fd>()> open;  // asked only if its root is not here
};

class Images {
 public:
  explicit Images(Core& core);
  Task<void> open();

  // The image to start a box from; "" and "host" are the default one, given as nullptr. By name
  // (":latest" may be left out) or id.
  Result<std::shared_ptr<const Image>> resolve(const std::string& name);
  // Until `release`, the root stays though its image may go. `user` is the id of a sandbox, or
  // "snapshot:ID".
  Result<void> hold(const std::string& user, const Image& image);
  Result<void> release(const std::string& user);
  std::shared_ptr<const Image> held(const std::string& user);  // nullptr: the default one

  Result<std::vector<ImageRecord>> list() { return records_->list(); }
  Result<ImageRecord> get(const std::string& name_or_id);
  Task<void> remove(std::string name_or_id);
  Task<std::uint64_t> prune();  // drops what is kept for reuse alone; gives the number of roots

  using Source = ImageTool::Source;
  struct Progress {
    std::function<void(std::string_view line)> line;                       // a step has begun
    std::function<void(std::uint64_t done, std::uint64_t of)> bytes = {};  // of: 0, not known
  };
  // A root tarball, an OCI layout or the output of `docker save`, as a tar.
  Task<ImageRecord> import(std::string name, std::string source, Source bytes, Progress progress);

  struct Pull {
    std::string reference, name;  // name: as the reference, where it is empty
    Credentials credentials;
  };
  Task<ImageRecord> pull(Pull request, Progress progress);  // image_pull.cc

  enum class Reuse { no, yes };  // whether its parts are wanted again when no image has them
  // The files a build may copy from, as a tar; gives a name that one build may use.
  Task<std::string> put_context(Source bytes);
  struct Build {
    std::string name, dockerfile;
    std::string context;  // of put_context; may be empty
    std::map<std::string, std::string> args;
    std::string target;  // a stage; empty: the last
    bool fresh = false;  // nothing of earlier builds is used
    Reuse reuse = Reuse::yes;
    std::string source = "build";
    bool shared = false;  // as ImageRecord has them
    std::int64_t disk_bytes = 0;
    // Of a Dockerfile that is ours and not the user's: what its lines do, for him. Of the others
    // nothing is said.
    std::map<int, std::string> doing = {};
  };
  Task<ImageRecord> build(Build request, Progress progress);  // image_build.cc

  struct Debian {
    std::string name, suite = "bookworm";
    std::string mirror;                      // its address; empty: Debian's own
    std::string context;                     // of put_context: a mirror in files; may be empty
    std::vector<std::string> packages = {};  // beside the essential ones and apt
    bool unsigned_packages = false;          // the mirror's are not signed by Debian
  };
  static Result<void> check_debian(const Debian& wanted);      // and that this machine can make one
  Task<ImageRecord> debian(Debian wanted, Progress progress);  // image_debian.cc

  // --- for builds and pulls (image_build.cc, image_pull.cc)
  // A subvolume to be filled: new, or a copy of the root `parent`. Dropped ones go by themselves.
  struct Draft {
    Images* images = nullptr;
    std::string name;
    Draft() = default;
    Draft(Draft&& other) noexcept;
    Draft& operator=(Draft&& other) noexcept;
    ~Draft();
  };
  Task<Draft> draft(std::string parent);
  // While it lives the root is not dropped, though no image and no box has it yet.
  class Pin {
   public:
    Pin(Images& images, const std::string& key)
        : pinned_(images.pinned_), at_(pinned_->insert(key)) {}
    Pin(Pin&& other) noexcept : pinned_(std::move(other.pinned_)), at_(other.at_) {}
    ~Pin() {
      if (pinned_) pinned_->erase(at_);
    }

   private:
    std::shared_ptr<std::multiset<std::string>> pinned_;
    std::multiset<std::string>::iterator at_;
  };
  std::string tree(const Draft& draft) const;       // its "u", a path of the machine
  std::string tree(const std::string& root) const;  // of a root
  Task<void> keep(Draft draft, RootRecord root);    // flushed, named, noted
  Task<ImageTool::Done> unpack(const Draft& draft, Fd archive, bool layer, Progress progress);
  Task<std::string> apply(std::vector<Layer> layers, Progress progress);  // the last one's key
  Task<std::string> finished(std::string root);  // its key once boxes can start from it
  Task<ImageRecord> publish(ImageRecord image, Reuse reuse);
  Result<void> check_name(const std::string& name) const;
  bool is_default(const std::string& name) const;  // the machine's own
  // A name for a box whose own files are a copy of a root, to be changed; until it is taken back.
  Result<std::string> lend(const std::string& root, const ImageConfig& config);
  void take_back(const std::string& name) { lent_.erase(name); }
  Task<Draft> draft_of_box(std::string id);  // its files as they are now
  Task<void> end_build_boxes();              // of builds that an engine before us did not finish
  bool has_root(const std::string& key) { return records_->root(key).has_value(); }

  class Range;  // of user ids, for one job
  Core& core() { return core_; }
  ImageTool& tool() { return tool_; }
  ImageRecords& records() { return *records_; }
  std::vector<std::string> limits() const;  // words for the tool

 private:
  Task<void> sweep();
  Task<ImageRecord> import_layout(std::string name, std::string source, Draft draft,
                                  Progress progress);
  Task<void> drop_unused();
  Task<std::uint64_t> drop_roots(std::vector<std::string> keys);  // gives how many went
  Task<void> discard(std::string name);
  Result<void> remove_draft(const std::string& name);
  std::shared_ptr<const Image> image_of(const std::string& root, const ImageConfig& config);

  Core& core_;
  ImageTool tool_;
  std::optional<ImageRecords> records_;
  Fd dir_;  // STATE/pool/images
  std::shared_ptr<std::multiset<std::string>> pinned_ =
      std::make_shared<std::multiset<std::string>>();
  std::map<std::string, std::weak_ptr<const Image>> cache_;
  std::map<std::string, Draft> contexts_;
  std::map<std::string, std::shared_ptr<const Image>> lent_;
};

class Images::Range {
 public:
  static Result<Range> take(Core& core);
  Range(Range&& other) noexcept : core_(std::exchange(other.core_, nullptr)), base_(other.base_) {}
  ~Range();
  std::string text() const { return str(base_); }

 private:
  Range(Core& core, uid_t base) : core_(&core), base_(base) {}
  Core* core_;
  uid_t base_;
};

}  // namespace glovebox::engine
