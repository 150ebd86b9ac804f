#include "orchestrator/git_wire.h"

#include <algorithm>
#include <optional>

namespace glovebox::orchestrator {

namespace {

constexpr std::size_t kLongestLine = 65520, kMostShallow = 100'000;
constexpr std::string_view kHeads = "refs/heads/", kTags = "refs/tags/";

Error no_git(std::string_view what) {
  return {Code::invalid, str("the server does not speak git: ", what)};
}

bool is_id(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

struct Line {
  std::string_view text;  // without its newline
  std::size_t size = 0;   // with its length
  bool flush = false;
};
// The first line of `bytes`; none: it is not there as a whole.
Result<std::optional<Line>> first_line(std::string_view bytes) {
  if (bytes.size() < 4) return std::optional<Line>();
  std::size_t size = 0;
  for (char c : bytes.substr(0, 4)) {
    const auto digit = std::string_view("0123456789abcdef").find(c >= 'A' && c <= 'F' ? c + 32 : c);
    if (digit == std::string_view::npos) return no_git("a line without its length");
    size = size * 16 + digit;
  }
  if (size == 0) return std::optional<Line>(Line{.size = 4, .flush = true});
  if (size < 4 || size > kLongestLine) return no_git("a line of a wrong length");
  if (bytes.size() < size) return std::optional<Line>();
  std::string_view text = bytes.substr(4, size - 4);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return std::optional<Line>(Line{.text = text, .size = size});
}

// The word after "NAME=" among the capabilities.
std::string_view capability(std::string_view all, std::string_view name) {
  for (std::size_t at = all.find(name); at != all.npos; at = all.find(name, at + 1))
    if ((at == 0 || all[at - 1] == ' ') && all.substr(at + name.size()).starts_with('=')) {
      all.remove_prefix(at + name.size() + 1);
      return all.substr(0, all.find(' '));
    }
  return "";
}

void read_capabilities(GitRefs& refs, std::string_view all) {
  for (const auto& word : split(all, ' ')) {
    if (word == "shallow") refs.shallow = true;
    if (word.starts_with("symref=HEAD:")) refs.head = word.substr(12);
  }
  if (auto format = capability(all, "object-format"); !format.empty()) refs.format = format;
}

std::string line(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const std::size_t size = text.size() + 4;
  std::string out;
  for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[(size >> shift) & 15];
  return out.append(text);
}

std::string refused(std::string_view text) {
  return str("the server says: ", valid_utf8(text.substr(0, 300)));
}

}  // namespace

bool RefsAnswer::may_be_meant(std::string_view name) const {
  if (ref_.empty()) return name == "HEAD" || name == refs_.head;
  return name == ref_ || name == str(kHeads, ref_) || name == str(kTags, ref_);
}

Result<void> RefsAnswer::take(std::string_view text) {
  if (text.starts_with("ERR ")) return Error{Code::invalid, refused(text.substr(4))};
  if (!announced_) {
    if (!text.starts_with("# service=git-upload-pack"))
      return no_git("it announces something else");
    announced_ = true;
    return ok;
  }
  const auto zero = text.find('\0');
  if (std::exchange(first_, false) && zero != text.npos)
    read_capabilities(refs_, text.substr(zero + 1));
  text = text.substr(0, zero);
  const auto space = text.find(' ');
  if (space == text.npos) return no_git("a line that is no ref");
  const std::string_view id = text.substr(0, space), name = text.substr(space + 1);
  if (name == "capabilities^{}" || name.ends_with("^{}") || id == "shallow") return ok;
  if (!is_id(id)) return no_git("a ref without an id");
  refs_.any = true;
  if (may_be_meant(name) &&
      std::ranges::find(refs_.refs, name, &GitRefs::Ref::name) == refs_.refs.end())
    refs_.refs.push_back({std::string(name), std::string(id)});
  return ok;
}

Result<void> RefsAnswer::feed(std::string_view bytes) {
  waiting_ += bytes;
  std::string_view rest = waiting_;
  while (flushes_ < 2) {
    TRY(found, first_line(rest));
    if (!found) break;
    if (found->flush)
      ++flushes_;
    else
      TRY_DO(take(found->text));
    rest.remove_prefix(found->size);
  }
  waiting_ = flushes_ < 2 ? std::string(rest) : "";
  return ok;
}

Result<void> RefsAnswer::finish() const {
  if (!announced_ || flushes_ < 2) return no_git("its list of refs is cut off");
  return ok;
}

Result<GitWant> choose(const GitRefs& refs, std::string_view ref) {
  auto find = [&](std::string_view name) {
    return std::ranges::find(refs.refs, name, &GitRefs::Ref::name);
  };
  const auto end = refs.refs.end();
  if (!refs.any) return Error{Code::invalid, "the repository is empty"};
  if (ref.empty()) {
    if (auto head = find(refs.head); head != end) return GitWant{head->id, head->name};
    if (auto head = find("HEAD"); head != end) return GitWant{head->id, ""};
    return Error{Code::invalid, "the repository has no HEAD: name a branch"};
  }
  for (const std::string& name : {str(kHeads, ref), str(kTags, ref), std::string(ref)})
    if (auto found = find(name); found != end && name.starts_with("refs/"))
      return GitWant{found->id, found->name};
  if (is_id(ref)) return GitWant{std::string(ref), ""};
  return Error{Code::invalid, str("there is no branch, tag or commit '", ref, "'")};
}

std::string pack_request(const GitRefs& refs, const GitWant& want, int depth) {
  std::string said =
      str("want ", want.id, " ofs-delta no-progress agent=glovebox/", GLOVEBOX_VERSION);
  if (refs.format != "sha1") said += str(" object-format=", refs.format);
  std::string body = line(said + "\n");
  if (depth > 0 && refs.shallow) body += line(str("deepen ", depth, "\n"));
  return body + "0000" + line("done\n");
}

Result<std::string> PackAnswer::feed(std::string bytes) {
  if (in_pack_) return bytes;
  waiting_ += bytes;
  std::string_view rest = waiting_;
  while (!rest.empty()) {
    if (rest.starts_with("PACK")) {
      in_pack_ = true;
      std::string begun(rest);
      waiting_.clear();
      return begun;
    }
    // Four bytes that may yet become that.
    if (rest.size() < 4) break;
    TRY(found, first_line(rest));
    if (!found) break;
    if (found->text.starts_with("ERR "))
      return Error{Code::invalid, refused(found->text.substr(4))};
    constexpr std::string_view kShallow = "shallow ";
    if (found->text.starts_with(kShallow)) {
      const std::string_view id = found->text.substr(kShallow.size());
      if (!is_id(id) || shallow_.size() >= kMostShallow)
        return no_git("a shallow line that is none");
      shallow_.emplace_back(id);
    } else if (!found->flush && !found->text.starts_with("NAK") &&
               !found->text.starts_with("ACK ") && !found->text.starts_with("unshallow ")) {
      return no_git("a line nobody knows");
    }
    rest.remove_prefix(found->size);
  }
  waiting_ = std::string(rest);
  return std::string();
}

Result<void> PackAnswer::finish() const {
  if (!in_pack_) return no_git("there is no pack in its answer");
  return ok;
}

}  // namespace glovebox::orchestrator
