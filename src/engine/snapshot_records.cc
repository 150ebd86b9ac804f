#include "engine/snapshot_records.h"

#include <sys/utsname.h>

#include "wire/decode.h"
#include "wire/mac.h"

namespace glovebox::engine {

namespace json = boost::json;

Result<void> SnapshotRecords::insert(const wire::SnapshotRecord& record) {
  TRY(statement,
      db_.prepare("INSERT INTO snapshots(id, sandbox, status, record) VALUES (?, ?, ?, ?)"));
  statement.bind(record.id, record.source.id, record.status, wire::encode_stored_snapshot(record));
  return statement.run();
}

Result<void> SnapshotRecords::save(const wire::SnapshotRecord& record) {
  TRY(statement, db_.prepare("UPDATE snapshots SET status = ?, record = ? WHERE id = ?"));
  statement.bind(record.status, wire::encode_stored_snapshot(record), record.id);
  return statement.run();
}

Result<wire::SnapshotRecord> SnapshotRecords::find(const std::string& id) {
  TRY(statement, db_.prepare("SELECT record FROM snapshots WHERE id = ? AND status <> 'deleted'"));
  statement.bind(id);
  TRY(found, statement.step());
  if (!found) return Error{Code::not_found, str("no snapshot ", id), "SNAPSHOT_NOT_FOUND"};
  return wire::decode_stored_snapshot(statement.text(0));
}

Result<std::vector<wire::SnapshotRecord>> SnapshotRecords::select(std::string_view where) {
  TRY(statement,
      db_.prepare(str("SELECT record FROM snapshots WHERE ", where, " ORDER BY seq DESC")));
  std::vector<wire::SnapshotRecord> records;
  for (;;) {
    TRY(more, statement.step());
    if (!more) return records;
    TRY(record, wire::decode_stored_snapshot(statement.text(0)), "stored snapshot");
    records.push_back(std::move(record));
  }
}

Result<std::vector<wire::SnapshotRecord>> SnapshotRecords::list() {
  return select("status <> 'deleted'");
}

Result<void> SnapshotRecords::mark_deleted(const wire::SnapshotRecord& record) {
  TRY(all, list());
  for (wire::SnapshotRecord& child : all) {
    if (child.parent != record.id) continue;
    child.parent = record.parent;
    TRY_DO(save(child));
  }
  TRY(statement, db_.prepare("UPDATE snapshots SET status = 'deleted' WHERE id = ?"));
  statement.bind(record.id);
  return statement.run();
}

Result<std::vector<std::string>> SnapshotRecords::deleted() {
  TRY(statement, db_.prepare("SELECT id FROM snapshots WHERE status = 'deleted'"));
  std::vector<std::string> ids;
  for (;;) {
    TRY(more, statement.step());
    if (!more) return ids;
    ids.push_back(statement.text(0));
  }
}

Result<void> SnapshotRecords::forget(const std::string& id) {
  TRY(statement, db_.prepare("DELETE FROM snapshots WHERE id = ?"));
  statement.bind(id);
  return statement.run();
}

namespace {

// So that nothing else that is signed with this key can pass for a manifest.
constexpr std::string_view kPurpose = "glovebox snapshot 1\n";

}  // namespace

std::string authenticate(std::string_view purpose, std::string_view text, const Secret& key) {
  return base64url(wire::hmac_sha256(str(purpose, text), key));
}

std::string seal_manifest(const wire::SnapshotRecord& record, const Secret& key) {
  utsname machine{};
  ::uname(&machine);
  json::object manifest{{"format", 1},
                        {"kernel", machine.release},
                        {"cpu", machine.machine},
                        {"snapshot", json::parse(wire::encode_stored_snapshot(record))}};
  std::string text = json::serialize(manifest);
  return str(text, "\n", authenticate(kPurpose, text, key), "\n");
}

Result<wire::SnapshotRecord> open_manifest(std::string_view text, const Secret& key) {
  Error foreign{Code::forbidden, "not made by this installation, or changed since",
                "SNAPSHOT_INVALID"};
  auto end = text.find('\n');
  if (end == std::string_view::npos) return foreign;
  std::string_view body = text.substr(0, end);
  if (!equal_constant_time(trim(text.substr(end + 1)), authenticate(kPurpose, body, key)))
    return foreign;
  TRY(value, wire::parse_json(body), "manifest");
  const json::object* manifest = value.if_object();
  const json::value* format = manifest ? manifest->if_contains("format") : nullptr;
  const json::value* snapshot = manifest ? manifest->if_contains("snapshot") : nullptr;
  if (!format || !snapshot || *format != 1)
    return Error{Code::unsupported, "the snapshot is of a format that this version does not know",
                 "SNAPSHOT_FORMAT"};
  return wire::decode_stored_snapshot(json::serialize(*snapshot));
}

}  // namespace glovebox::engine
