#include "engine/image_records.h"

#include <openssl/evp.h>

#include <boost/json.hpp>

#include "wire/decode.h"

namespace glovebox::engine {

namespace json = boost::json;

namespace {

constexpr store::Migration kMigrations[] = {{1, R"(
  CREATE TABLE roots (
    key TEXT PRIMARY KEY,
    parent TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    reuse INTEGER NOT NULL,
    used_at INTEGER NOT NULL
  );
  CREATE TABLE images (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    root TEXT NOT NULL,
    source TEXT NOT NULL,
    digest TEXT NOT NULL,
    config TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL
  );
  CREATE INDEX image_ids ON images(id);
  CREATE INDEX image_roots ON images(root);
  CREATE TABLE uses (
    user TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    config TEXT NOT NULL
  );
  CREATE INDEX use_roots ON uses(root);
)"},
                                            {2, R"(
  ALTER TABLE images ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE images ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0;
)"}};

json::array array_of(const std::vector<std::string>& list) {
  return json::array(list.begin(), list.end());
}

// Members of the wrong type are as absent: these are people's files, and most is not for us.
std::vector<std::string> strings(const json::object& object, std::string_view name) {
  std::vector<std::string> out;
  const json::value* value = object.if_contains(name);
  if (!value) return out;
  if (value->is_string()) out.emplace_back(value->as_string());
  if (value->is_array())
    for (const json::value& item : value->as_array())
      if (item.is_string()) out.emplace_back(item.as_string());
  return out;
}
std::string text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->as_string()) : "";
}
std::map<std::string, std::string> pairs(const json::object& object, std::string_view name) {
  std::map<std::string, std::string> out;
  const json::value* value = object.if_contains(name);
  if (value && value->is_object())
    for (const auto& [key, item] : value->as_object())
      if (item.is_string()) out[std::string(key)] = std::string(item.as_string());
  return out;
}

json::object object_of(const ImageConfig& config) {
  json::object labels;
  for (const auto& [key, value] : config.labels) labels[key] = value;
  return {{"env", array_of(config.env)}, {"cwd", config.cwd},
          {"user", config.user},         {"entrypoint", array_of(config.entrypoint)},
          {"cmd", array_of(config.cmd)}, {"labels", std::move(labels)},
          {"over", config.over}};
}

Result<json::object> parse(std::string_view text) {
  boost::system::error_code wrong;
  json::value value = json::parse(text, wrong);
  if (wrong || !value.is_object()) return Error{Code::invalid, "is no JSON object"};
  return std::move(value.as_object());
}

#if defined(__x86_64__)
constexpr std::string_view kArchitecture = "amd64";
#elif defined(__aarch64__)
constexpr std::string_view kArchitecture = "arm64";
#endif

}  // namespace

std::string encode(const ImageConfig& config) { return json::serialize(object_of(config)); }

Result<void> check(const ImageConfig& config) {
  // A launcher takes no more (wire/launcher.cc), and there must be room for what is added to it.
  constexpr std::size_t kEntries = 1000, kEntry = 32 << 10, kTogether = 64 << 10;
  constexpr std::size_t kPath = 4096, kUser = 64;
  auto refused = [](std::string what) { return Error{Code::invalid, "the image's " + what}; };
  std::size_t bytes = 0;
  for (const std::string& entry : config.env) {
    bytes += entry.size();
    if (entry.size() > kEntry) return refused(str("environment has more than ", kEntry, " in one"));
  }
  if (config.env.size() > kEntries || bytes > kTogether)
    return refused(str("environment is more than ", kEntries, " entries or ", kTogether, " bytes"));
  if (config.cwd.size() > kPath) return refused("working directory has too long a name");
  if (config.user.size() > kUser) return refused("user has too long a name");
  return ok;
}

Result<ImageConfig> decode_image_config(std::string_view bytes) {
  TRY(object, parse(bytes), "image configuration");
  return ImageConfig{strings(object, "env"),        text(object, "cwd"),    text(object, "user"),
                     strings(object, "entrypoint"), strings(object, "cmd"), pairs(object, "labels"),
                     text(object, "over")};
}

Result<ImageConfig> decode_oci_config(std::string_view bytes) {
  TRY(whole, parse(bytes), "image configuration");
  std::string os = text(whole, "os"), machine = text(whole, "architecture");
  if ((!os.empty() && os != "linux") || (!machine.empty() && machine != kArchitecture))
    return Error{Code::unsupported,
                 str("the image is for ", os, "/", machine, "; this is linux/", kArchitecture),
                 "WRONG_PLATFORM"};
  const json::value* inner = whole.if_contains("config");
  if (!inner || !inner->is_object()) return ImageConfig{};
  const json::object& object = inner->as_object();
  return ImageConfig{strings(object, "Env"), text(object, "WorkingDir"),
                     text(object, "User"),   strings(object, "Entrypoint"),
                     strings(object, "Cmd"), pairs(object, "Labels")};
}

std::string image_id(const std::string& root, const ImageConfig& config) {
  std::string text = str(root, "\n", encode(config));
  std::uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  ::EVP_Digest(text.data(), text.size(), digest, &size, ::EVP_sha256(), nullptr);
  return "sha256:" + hex(std::span(digest, size));
}

std::string encode(const ImageRecord& image, std::int64_t users) {
  json::object out{{"name", image.name},
                   {"id", image.id},
                   {"source", image.source},
                   {"created_at", image.created_at},
                   {"size_bytes", image.bytes},
                   {"sandboxes", users},
                   {"config", object_of(image.config)}};
  if (!image.digest.empty()) out["digest"] = image.digest;
  return json::serialize(out);
}

Result<ImageRecords> ImageRecords::open(const std::string& path) {
  TRY(db, store::Database::open(path, kMigrations));
  return ImageRecords(std::move(db));
}

Result<void> ImageRecords::put_root(const RootRecord& root, std::int64_t now) {
  TRY(statement, db_.prepare("INSERT OR REPLACE INTO roots(key, parent, bytes, entries, reuse, "
                             "used_at) VALUES (?, ?, ?, ?, ?, ?)"));
  statement.bind(root.key, root.parent, root.bytes, root.entries, root.reuse, now);
  return statement.run();
}

std::optional<RootRecord> ImageRecords::root(const std::string& key) {
  auto statement = db_.prepare("SELECT bytes, entries, reuse, parent FROM roots WHERE key = ?");
  if (!statement) return std::nullopt;
  statement->bind(key);
  auto found = statement->step();
  if (!found || !*found) return std::nullopt;
  return RootRecord{key, statement->text(3), static_cast<std::uint64_t>(statement->integer(0)),
                    static_cast<std::uint64_t>(statement->integer(1)), statement->integer(2) != 0};
}

Result<void> ImageRecords::touch_root(const std::string& key, std::int64_t now) {
  TRY(statement, db_.prepare("UPDATE roots SET used_at = ? WHERE key = ?"));
  statement.bind(now, key);
  return statement.run();
}

Result<void> ImageRecords::remove_root(const std::string& key) {
  TRY(statement, db_.prepare("DELETE FROM roots WHERE key = ?"));
  statement.bind(key);
  return statement.run();
}

// All that an image or a user is made of.
static constexpr std::string_view kNeeded =
    "WITH RECURSIVE needed(key) AS (SELECT root FROM images UNION SELECT root FROM uses UNION "
    "SELECT parent FROM roots JOIN needed USING (key)) ";

Result<bool> ImageRecords::remove_unneeded_root(const std::string& key) {
  TRY(statement, db_.prepare(str(kNeeded,
                                 "DELETE FROM roots WHERE key = ? AND key NOT IN "
                                 "(SELECT key FROM needed) RETURNING key")));
  statement.bind(key);
  TRY(removed, statement.step());
  if (removed) TRY_DO(statement.run());
  return removed;
}

Result<void> ImageRecords::end_reuse(const std::string& key) {
  TRY(statement,
      db_.prepare("WITH RECURSIVE parts(key) AS (SELECT ?1 UNION SELECT parent FROM roots JOIN "
                  "parts USING (key)) UPDATE roots SET reuse = 0 WHERE key IN (SELECT key FROM "
                  "parts)"));
  statement.bind(key);
  return statement.run();
}

static Result<std::vector<std::string>> column(store::Statement& statement) {
  std::vector<std::string> out;
  for (;;) {
    TRY(more, statement.step());
    if (!more) return out;
    out.push_back(statement.text(0));
  }
}

Result<std::vector<std::string>> ImageRecords::roots() {
  TRY(statement, db_.prepare("SELECT key FROM roots"));
  return column(statement);
}

Result<std::vector<std::string>> ImageRecords::unused_roots(std::int64_t before) {
  TRY(statement, db_.prepare(str(kNeeded,
                                 "SELECT key FROM roots WHERE (reuse = 0 OR used_at < ?) "
                                 "AND key NOT IN (SELECT key FROM needed)")));
  statement.bind(before);
  return column(statement);
}

Result<void> ImageRecords::put_image(const ImageRecord& image) {
  TRY(statement, db_.prepare("INSERT OR REPLACE INTO images(name, id, root, source, digest, "
                             "config, created_at, bytes, shared, disk_bytes) "
                             "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(image.name, image.id, image.root, image.source, image.digest, encode(image.config),
                 image.created_at, image.bytes, image.shared, image.disk_bytes);
  return statement.run();
}

static constexpr std::string_view kImageColumns =
    "SELECT name, id, root, source, digest, config, created_at, bytes, shared, disk_bytes "
    "FROM images ";

static Result<ImageRecord> read_image(const store::Statement& row) {
  TRY(config, decode_image_config(row.text(5)));
  return ImageRecord{row.text(0),         row.text(1),
                     row.text(2),         row.text(3),
                     row.text(4),         std::move(config),
                     row.integer(6),      static_cast<std::uint64_t>(row.integer(7)),
                     row.integer(8) != 0, row.integer(9)};
}

Result<std::optional<ImageRecord>> ImageRecords::image(const std::string& name_or_id) {
  for (auto where :
       {"WHERE name = ?1", "WHERE name = ?1 || ':latest'", "WHERE id = ?1 ORDER BY name LIMIT 1"}) {
    TRY(statement, db_.prepare(str(kImageColumns, where)));
    statement.bind(name_or_id);
    TRY(found, statement.step());
    if (!found) continue;
    TRY(image, read_image(statement));
    return std::optional(std::move(image));
  }
  return std::optional<ImageRecord>();
}

Result<void> ImageRecords::remove_image(const std::string& name) {
  TRY(statement, db_.prepare("DELETE FROM images WHERE name = ?"));
  statement.bind(name);
  return statement.run();
}

Result<std::vector<ImageRecord>> ImageRecords::list() {
  TRY(statement, db_.prepare(str(kImageColumns, "ORDER BY created_at DESC, name")));
  std::vector<ImageRecord> out;
  for (;;) {
    TRY(more, statement.step());
    if (!more) return out;
    TRY(image, read_image(statement));
    out.push_back(std::move(image));
  }
}

Result<void> ImageRecords::hold(const RootUse& use) {
  TRY(statement, db_.prepare("INSERT OR REPLACE INTO uses(user, root, config) VALUES (?, ?, ?)"));
  statement.bind(use.user, use.root, encode(use.config));
  return statement.run();
}

Result<void> ImageRecords::release(const std::string& user) {
  TRY(statement, db_.prepare("DELETE FROM uses WHERE user = ?"));
  statement.bind(user);
  return statement.run();
}

std::optional<RootUse> ImageRecords::use(const std::string& user) {
  auto statement = db_.prepare("SELECT root, config FROM uses WHERE user = ?");
  if (!statement) return std::nullopt;
  statement->bind(user);
  auto found = statement->step();
  if (!found || !*found) return std::nullopt;
  auto config = decode_image_config(statement->text(1));
  if (!config) return std::nullopt;
  return RootUse{user, statement->text(0), std::move(*config)};
}

Result<std::vector<std::string>> ImageRecords::users() {
  TRY(statement, db_.prepare("SELECT user FROM uses"));
  return column(statement);
}

std::int64_t ImageRecords::users_of(const std::string& root) {
  auto statement = db_.prepare("SELECT count(*) FROM uses WHERE root = ?");
  if (!statement) return 0;
  statement->bind(root);
  auto found = statement->step();
  return found && *found ? statement->integer(0) : 0;
}

}  // namespace glovebox::engine
