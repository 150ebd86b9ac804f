#include "wire/snapshot.h"

#include <boost/json.hpp>

#include "wire/decode.h"
#include "wire/to_json.h"

namespace glovebox::wire {

namespace json = boost::json;

namespace {

constexpr std::size_t kText = 1 << 20;
constexpr std::int64_t kLast = INT64_MAX;

json::object snapshot_json(const SnapshotRecord& record) {
  json::object out{{"id", record.id},
                   {"namespace", "default"},
                   {"sandbox_id", record.source.id},
                   {"status", record.status},
                   {"snapshot_type", record.type},
                   {"snapshot_uri", "glovebox:" + record.id},
                   {"snapshot_format_version", "1"},
                   {"size_bytes", record.size_bytes},
                   {"rootfs_disk_bytes", record.source.resources.disk_mb << 20},
                   {"created_at", record.created_at}};
  if (!record.source.name.empty()) out["sandbox_name"] = record.source.name;
  if (!record.source.image.empty()) out["base_image"] = valid_utf8(record.source.image);
  if (!record.parent.empty()) out["parent_id"] = record.parent;
  if (!record.image_generation.empty()) out["image_generation"] = record.image_generation;
  if (!record.error.empty()) out["error"] = valid_utf8(record.error);
  return out;
}

Result<SnapshotRecord> snapshot_of(const json::value& value) {
  TRY(members, Members::of(value, "snapshot"));
  SnapshotRecord record;
  struct {
    std::string_view key;
    std::string& into;
  } texts[] = {{"id", record.id},
               {"parent_id", record.parent},
               {"status", record.status},
               {"snapshot_type", record.type},
               {"sandbox_id", record.source.id},
               {"sandbox_name", record.source.name},
               {"base_image", record.source.image},
               {"image_generation", record.image_generation},
               {"error", record.error}};
  for (auto& member : texts) {
    TRY(text, members.text(member.key, kText));
    if (text) member.into = std::move(*text);
  }
  if (record.id.empty()) return members.wrong("id", "is missing");
  TRY(size, members.integer("size_bytes", 0, kLast));
  TRY(created, members.integer("created_at", 0, kLast));
  TRY(temporary, members.flag("temporary"));
  record.temporary = temporary.value_or(false);
  record.size_bytes = size.value_or(0);
  record.created_at = created.value_or(0);
  return record;
}

Result<json::value> body_of(std::string_view text) {
  if (trim(text).empty()) return json::value(json::object());
  return parse_json(text);
}

}  // namespace

std::string encode_snapshot(const SnapshotRecord& record) { return to_json(snapshot_json(record)); }

std::string encode_snapshots(const std::vector<SnapshotRecord>& records) {
  json::array list;
  for (const SnapshotRecord& record : records) list.push_back(snapshot_json(record));
  return to_json(json::object{{"snapshots", std::move(list)}});
}

std::string encode_snapshot_taken(const SnapshotRecord& record) {
  return to_json(json::object{{"snapshot_id", record.id}, {"status", record.status}});
}

std::string encode_stored_snapshot(const SnapshotRecord& record) {
  json::object out = snapshot_json(record);
  if (record.temporary) out["temporary"] = true;
  out["source"] = json::parse(encode_record(record.source));
  return to_json(out);
}

Result<SnapshotRecord> decode_stored_snapshot(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(record, snapshot_of(value));
  const json::value* source = value.as_object().if_contains("source");
  if (!source) return Error{Code::invalid, "source: is missing"};
  TRY(sandbox, decode_record(to_json(*source)), "source");
  record.source = std::move(sandbox);
  return record;
}

Result<SnapshotRecord> decode_snapshot(std::string_view text) {
  TRY(value, parse_json(text));
  return snapshot_of(value);
}

Result<std::vector<SnapshotRecord>> decode_snapshots(std::string_view text) {
  TRY(value, parse_json(text));
  const json::object* object = value.if_object();
  const json::value* list = object ? object->if_contains("snapshots") : nullptr;
  if (!list || !list->is_array()) return Error{Code::invalid, "snapshots: must be an array"};
  std::vector<SnapshotRecord> records;
  for (const json::value& item : list->get_array()) {
    TRY(record, snapshot_of(item));
    records.push_back(std::move(record));
  }
  return records;
}

Result<TakeSnapshot> decode_take_snapshot(std::string_view text) {
  TRY(value, body_of(text));
  TRY(members, Members::of(value));
  TRY(type, members.text("snapshot_type", 64));
  TRY(suspended, members.flag("suspended"));
  members.done();
  if (type && *type != "filesystem" && *type != "memory")
    return members.wrong("snapshot_type", "must be filesystem or memory");
  return TakeSnapshot{type.value_or("filesystem"), suspended.value_or(false)};
}

Result<std::string> decode_rollback(std::string_view text) {
  TRY(value, body_of(text));
  TRY(members, Members::of(value));
  TRY(id, members.text("snapshot_id", 128));
  members.done();
  if (!id || id->empty()) return members.wrong("snapshot_id", "is missing");
  return *id;
}

std::string encode_copies(const std::string& source, const std::vector<SandboxRecord>& copies) {
  json::array list;
  for (const SandboxRecord& copy : copies) {
    json::object member = json::parse(encode_created(copy)).as_object();
    // The API's own word for a member that did not come up; no state of a sandbox is called so.
    if (copy.status == State::terminated) member["status"] = "failed";
    list.push_back(std::move(member));
  }
  return to_json(json::object{{"source_sandbox_id", source}, {"sandboxes", std::move(list)}});
}

}  // namespace glovebox::wire
