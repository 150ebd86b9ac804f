// What a git server says and is told over HTTP (protocol version 0, gitprotocol-pack), as far as it
// takes to carry a pack past us: which refs there are, and what we want. What is in a pack is read
// by git, in the box.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::orchestrator {

struct GitRefs {
  struct Ref {
    std::string name, id;
  };
  std::vector<Ref> refs;  // "HEAD", "refs/heads/main", …: those that may be meant
  bool any = false;       // the repository has refs, whichever
  std::string head;       // the branch HEAD stands for: "refs/heads/main"; "": none
  std::string format;     // of ids: "sha1" or "sha256"
  bool shallow = false;   // it can leave older commits out
};
// Takes the answer to GET …/info/refs?service=git-upload-pack apart, piece by piece. However long
// the list is, only what `ref` (see choose) may mean is kept.
class RefsAnswer {
 public:
  explicit RefsAnswer(std::string ref) : ref_(std::move(ref)) { refs_.format = "sha1"; }
  Result<void> feed(std::string_view bytes);
  Result<void> finish() const;  // an error where it ended before the list did
  const GitRefs& refs() const { return refs_; }

 private:
  Result<void> take(std::string_view line);
  bool may_be_meant(std::string_view name) const;

  const std::string ref_;
  GitRefs refs_;
  std::string waiting_;
  bool announced_ = false, first_ = true;
  int flushes_ = 0;
};

struct GitWant {
  std::string id;
  std::string name;  // the full name of the ref; "" for a commit alone
};
// A branch, a tag, or a commit's id; "": what HEAD is.
Result<GitWant> choose(const GitRefs& refs, std::string_view ref);

// The body of POST …/git-upload-pack. A depth of 0 asks for all commits.
std::string pack_request(const GitRefs& refs, const GitWant& want, int depth);

// Takes the answer to it apart, piece by piece: what stands before the pack is kept, the rest is
// the pack's.
class PackAnswer {
 public:
  // What of `bytes` belongs to the pack.
  Result<std::string> feed(std::string bytes);
  Result<void> finish() const;  // an error where it ended before the pack began
  const std::vector<std::string>& shallow() const { return shallow_; }  // ids

 private:
  std::string waiting_;
  std::vector<std::string> shallow_;
  bool in_pack_ = false;
};

}  // namespace glovebox::orchestrator
