#include "brain/session_memory.h"

#include <algorithm>
#include <boost/json.hpp>

#include "brain/api_body.h"
#include "brain/json_read.h"
#include "brain/memory_path.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxStores = 8, kMaxInstructions = 4096, kMaxId = 256;
constexpr std::string_view kAbout =
    "These folders are your memory: what is in them was kept by earlier sessions, and what you "
    "put there is kept for later ones. Look there before you begin something they may help with, "
    "and note there what will be worth knowing next time. They hold text files of at most 100 KB.";

json::array stored(std::string_view resources) {
  auto value = wire::parse_json(resources);
  return value && value->is_array() ? value->get_array() : json::array{};
}

bool taken(const json::array& attached, std::string_view key, std::string_view value) {
  return std::ranges::any_of(
      attached, [&](const json::value& one) { return text_of(one.get_object(), key) == value; });
}

// Two stores may have the same name; two folders may not.
std::string mount_path(const json::array& attached, std::string_view name) {
  const std::string path = "/mnt/memory/" + memory_slug(name);
  std::string own = path;
  for (int n = 2; taken(attached, "mount_path", own); ++n) own = str(path, '-', n);
  return own;
}

Result<json::object> attach_store(MemoryRecords& stores, Members& request,
                                  const json::array& attached) {
  TRY(id, required_text(request, "memory_store_id", kMaxId));
  TRY(access, request.text("access", 64));
  if (access && *access != "read_write" && *access != "read_only")
    return request.wrong("access", "must be read_write or read_only");
  TRY(instructions, text_up_to(request, "instructions", kMaxInstructions));
  request.done();
  if (taken(attached, "memory_store_id", id))
    return request.wrong("memory_store_id", "is attached already");
  TRY(store, stores.memory_store(id), "resources");
  if (store.archived_at)
    return request.wrong("memory_store_id", str("memory store ", id, " is archived"));
  return json::object{
      {"type", "memory_store"},
      {"memory_store_id", id},
      {"name", store.name},
      {"description", store.description},
      {"access", access.value_or("read_write")},
      {"instructions", instructions ? json::value(*instructions) : json::value(nullptr)},
      {"mount_path", mount_path(attached, store.name)}};
}

}  // namespace

Result<json::array> attach_resources(MemoryRecords& stores, const json::array& requested) {
  json::array attached;
  for (const json::value& entry : requested) {
    TRY(request, Members::of(entry, str("resources[", attached.size(), "]")));
    TRY(type, required_text(request, "type", 64));
    if (type == "file" || type == "github_repository")
      return request.wrong("type",
                           str(type, " resources are not supported with self-hosted environments"));
    if (type != "memory_store")
      return request.wrong("type", "must be file, github_repository or memory_store");
    if (attached.size() == kMaxStores)
      return Error{Code::invalid, str("resources: more than ", kMaxStores, " memory stores")};
    TRY(store, attach_store(stores, request, attached));
    attached.push_back(std::move(store));
  }
  return attached;
}

std::string memory_prompt(std::string_view resources) {
  std::string folders;
  for (const json::value& value : stored(resources)) {
    const json::object& store = value.get_object();
    if (text_of(store, "type") != "memory_store") continue;
    folders +=
        str("\n- ", text_of(store, "mount_path"), " (\"", text_of(store, "name"), "\", ",
            text_of(store, "access") == "read_only" ? "only to read" : "to read and write", ')');
    for (auto key : {"description", "instructions"})
      if (std::string words = text_of(store, key); !words.empty())
        folders += str("\n  ", key, ": ", words);
  }
  return folders.empty() ? "" : str("<memory>\n", kAbout, folders, "\n</memory>");
}

std::optional<std::string> memory_access(std::string_view resources, std::string_view store) {
  for (const json::value& value : stored(resources))
    if (text_of(value.get_object(), "memory_store_id") == store)
      return text_of(value.get_object(), "access");
  return std::nullopt;
}

}  // namespace glovebox::brain
