#include "runner/memory_store.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "runner/files.h"
#include "runner/json.h"

namespace glovebox::runner {

namespace {

constexpr std::size_t kMaxPath = 1024;  // as the service
constexpr std::size_t kMinDeletions = 8, kMaxDeletions = 50;

std::string_view name_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::vector<MemoryStore> memory_stores_of(std::string_view session_json) {
  auto session = parse_json(session_json);
  return session ? wire::memory_stores_of(*session) : std::vector<MemoryStore>();
}

Result<std::string> memory_root(const MemoryStore& store, std::string_view work_directory) {
  if (store.mount_path.empty()) {
    if (!single_name(store.name) && !single_name(store.id))
      return Error{Code::invalid, "a memory store without a usable name or id"};
    return str(work_directory, "/memory/", single_name(store.name) ? store.name : store.id);
  }
  std::string root;
  bool clean = store.mount_path.starts_with('/');
  for (const std::string& part : split(store.mount_path, '/')) {
    if (part.empty() || part == ".") continue;
    clean = clean && single_name(part);
    root += "/" + part;
  }
  if (!clean || root.empty())
    return Error{Code::invalid, str("the mount path \"", json_escape(store.mount_path),
                                    "\" of memory store ", store.id, " is no clean absolute path")};
  return root;
}

bool overlap(std::string_view root, std::string_view other) {
  return str(root, "/").starts_with(str(other, "/")) || str(other, "/").starts_with(str(root, "/"));
}

std::string memory_marker(std::string_view store_id) { return str("version 1\n", store_id); }

std::string sha256_hex(std::string_view bytes) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  ::EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  return hex({digest.data(), size});
}

std::optional<std::string> memory_file(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  if (path.empty() || path.size() > kMaxPath || path == kMemoryMarker) return std::nullopt;
  for (const std::string& part : split(path, '/'))
    if (!single_name(part)) return std::nullopt;
  return std::string(path);
}

bool unfinished_write(std::string_view path) {
  std::string_view name = name_of(path);
  if (!name.starts_with(".fs-") || !name.ends_with(".tmp") || name.size() <= 8) return false;
  name = name.substr(4, name.size() - 8);
  return name.find_first_not_of("0123456789abcdef") == name.npos;
}

FolderState folder_state(const Hashes& with_marker, std::string_view store_id) {
  auto marker = with_marker.find(std::string(kMemoryMarker));
  if (marker != with_marker.end() && marker->second == sha256_hex(memory_marker(store_id)))
    return FolderState::ours;
  const std::size_t files = with_marker.size() - (marker != with_marker.end());
  return files == 0 ? FolderState::empty : FolderState::foreign;
}

MemoryDecision decide(const MemoryState& state) {
  using enum MemoryAction;
  const auto& [local, base, remote, refused, read_only] = state;
  if (!local && !remote) return {none, {}};
  if (!remote) {
    if (local == base) return {remove_local, base};
    if (read_only)
      return {none, {}, base ? "deleted there, edited here: the file stays, unsynced" : ""};
    if (local == refused) return {none, {}};
    return {create, {}, base ? "deleted there, edited here: created again" : ""};
  }
  if (!local) {
    if (!base) return {fetch, {}};
    if (remote != base) return {fetch, base, "deleted here, changed there: restored"};
    return {read_only ? none : remove_remote, base};
  }
  if (remote != base) {
    if (local == remote) return {none, remote};
    return {fetch, base, local != base ? "changed here and there: the service's wins" : ""};
  }
  if (local == base || read_only || local == refused) return {none, base};
  return {update, base};
}

std::size_t deletion_cap(std::size_t known) {
  return std::clamp(known / 4, kMinDeletions, kMaxDeletions);
}

UploadEnd upload_end(bool update, int status) {
  if (status == 400 || status == 413) return UploadEnd::refused;
  if (update && status == 404) return UploadEnd::gone;
  if (update && status == 409) return UploadEnd::overtaken;
  return UploadEnd::later;
}

}  // namespace glovebox::runner
