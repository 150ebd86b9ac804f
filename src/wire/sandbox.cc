#include "wire/sandbox.h"

#include <algorithm>

#include "wire/sandbox_parts.h"
#include "wire/to_json.h"

namespace glovebox::wire {

namespace json = boost::json;

namespace {

constexpr std::size_t kNameBytes = 63, kIdBytes = 21;
constexpr std::size_t kImageBytes = 255;
constexpr std::size_t kRules = 256;      // of one list of a network policy
constexpr std::size_t kRuleBytes = 300;  // a host name is at most 253, and a port may follow
constexpr std::size_t kPorts = 64;
constexpr std::size_t kFileSystems = 16;
constexpr std::int64_t kManagementPort = 9501;
constexpr double kMinCpus = 0.1, kMaxCpus = 64;
constexpr std::int64_t kMinMemoryMb = 64, kMaxMemoryMb = 1 << 20;
constexpr std::int64_t kMinDiskMb = 64, kMaxDiskMb = 16 << 20;
constexpr std::int64_t kMaxTimeoutSecs =
    366 * 86400;  // the engine has its own, lower limit; this one keeps sums in range

bool lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

}  // namespace

bool valid_id(std::string_view text) {
  return text.size() == kIdBytes && std::ranges::all_of(text, lower_or_digit);
}

bool valid_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameBytes && text.front() >= 'a' && text.front() <= 'z' &&
         text.back() != '-' && !valid_id(text) &&
         std::ranges::all_of(text, [](char c) { return lower_or_digit(c) || c == '-'; });
}

std::string_view name(State state) {
  switch (state) {
    case State::pending: return "pending";
    case State::running: return "running";
    case State::snapshotting: return "snapshotting";
    case State::suspending: return "suspending";
    case State::suspended: return "suspended";
    case State::terminated: return "terminated";
  }
  return "pending";
}

std::optional<State> state_of(std::string_view text) {
  for (State state : {State::pending, State::running, State::snapshotting, State::suspending,
                      State::suspended, State::terminated})
    if (name(state) == text) return state;
  return std::nullopt;
}

Result<std::optional<std::string>> decode_name(Members& members) {
  TRY(text, members.text("name", 1024));
  if (text && !valid_name(*text))
    return members.wrong(
        "name",
        "must start with a lower-case letter, hold only lower-case letters, digits and "
        "hyphens, not end with a hyphen, have at most 63 characters and not look like an id");
  return text;
}

static Result<std::optional<std::vector<int>>> decode_ports(Members& members) {
  TRY(numbers, members.integers("exposed_ports", kPorts, 1, 65535));
  if (!numbers) return std::nullopt;
  std::vector<int> ports(numbers->begin(), numbers->end());
  std::ranges::sort(ports);
  if (std::ranges::adjacent_find(ports) != ports.end())
    return members.wrong("exposed_ports", "names a port twice");
  if (std::ranges::binary_search(ports, kManagementPort))
    return members.wrong("exposed_ports", "9501 is the management port and is not to be exposed");
  return std::vector<int>(numbers->begin(), numbers->end());
}

static Result<std::vector<std::string>> decode_rules(Members& members, std::string_view key) {
  TRY(rules, members.texts(key, kRules, kRuleBytes));
  if (!rules) return std::vector<std::string>{};
  for (const std::string& rule : *rules) {
    // Addresses, CIDR blocks, host names with an optional wildcard or port. What they mean is
    // egress's to say.
    constexpr std::string_view kSigns = ".:/-_*[]";
    bool plain = !rule.empty() && std::ranges::all_of(rule, [&](unsigned char c) {
      return std::isalnum(c) || kSigns.find(static_cast<char>(c)) != kSigns.npos;
    });
    if (!plain)
      return members.wrong(key,
                           str("`", json_escape(rule), "` is no address, CIDR block or host name"));
  }
  return std::move(*rules);
}

Result<std::optional<Network>> decode_network(Members& parent) {
  TRY(members, parent.object("network"));
  if (!members) return std::nullopt;
  Network network;
  TRY(internet, members->flag("allow_internet_access"));
  network.allow_internet_access = internet.value_or(true);
  TRY(allow, decode_rules(*members, "allow_out"));
  TRY(deny, decode_rules(*members, "deny_out"));
  network.allow_out = std::move(allow);
  network.deny_out = std::move(deny);
  members->done();
  return network;
}

// Two names for one thing, the older last.
static Result<std::optional<bool>> decode_unauthenticated(Members& members) {
  TRY(older, members.flag("allow_unauthenticated_proxy_access"));
  TRY(newer, members.flag("allow_unauthenticated_access"));
  return newer ? newer : older;
}

// True for a list with something in it; an empty one asks for nothing.
static Result<bool> asks(Members& members, std::string_view key) {
  const json::value* value = members.take(key);
  if (!value) return false;
  if (!value->is_array()) return members.wrong(key, "must be an array");
  return !value->get_array().empty();
}

// `prefetch` and `snapshot_id` of a file system are of the cloud's: the first changes nothing here,
// the second is refused.
static Result<FileSystem> file_system_of(Members& members) {
  TRY(id, members.text("file_system_id", 128));
  TRY(path, members.text("mount_path", 4000));
  TRY(read_only, members.flag("read_only"));
  TRY(prefetch, members.flag("prefetch"));
  TRY(snapshot, members.text("snapshot_id", 128));
  members.done();
  (void)prefetch;
  if (!id || id->empty()) return members.wrong("file_system_id", "must name a volume");
  if (!path || !path->starts_with('/')) return members.wrong("mount_path", "must be absolute");
  if (snapshot && !snapshot->empty())
    return members.wrong("snapshot_id", "volumes have no snapshots of their own here");
  return FileSystem{std::move(*id), std::move(*path), read_only.value_or(false)};
}

Result<std::vector<FileSystem>> decode_file_systems(Members& parent) {
  std::vector<FileSystem> out;
  const json::value* list = parent.take("file_systems");
  if (!list) return out;
  if (!list->is_array()) return parent.wrong("file_systems", "must be an array");
  if (list->get_array().size() > kFileSystems)
    return parent.wrong("file_systems", str("has more than ", kFileSystems, " entries"));
  for (const json::value& item : list->get_array()) {
    TRY(members, Members::of(item, "file_systems"));
    TRY(file_system, file_system_of(members));
    out.push_back(std::move(file_system));
  }
  return out;
}

Result<FileSystem> decode_attach(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  return file_system_of(members);
}

Result<std::string> decode_detach(std::string_view text) {
  TRY(value, parse_json(trim(text).empty() ? "{}" : text));
  TRY(members, Members::of(value));
  TRY(path, members.text("mount_path", 4000));
  members.done();
  if (!path || !path->starts_with('/')) return members.wrong("mount_path", "must be absolute");
  return std::move(*path);
}

Result<void> decode_resources(Members& parent, CreateSandbox& create) {
  TRY(members, parent.object("resources"));
  if (!members) return ok;
  TRY(cpus, members->number("cpus", kMinCpus, kMaxCpus));
  TRY(memory, members->integer("memory_mb", kMinMemoryMb, kMaxMemoryMb));
  TRY(disk, members->integer("disk_mb", kMinDiskMb, kMaxDiskMb));
  TRY(ephemeral,
      members->integer("ephemeral_disk_mb", kMinDiskMb, kMaxDiskMb));  // as pools call it
  TRY(gpus, asks(*members, "gpus"));
  members->done();
  Resources& resources = create.resources;
  resources.cpus = cpus.value_or(resources.cpus);
  resources.memory_mb = memory.value_or(resources.memory_mb);
  resources.disk_mb = disk.value_or(ephemeral.value_or(resources.disk_mb));
  create.has_gpus = gpus;
  return ok;
}

Result<CreateSandbox> decode_create(std::string_view text) {
  // A create without a body asks for a box with everything left at its default.
  TRY(value, parse_json(trim(text).empty() ? "{}" : text));
  TRY(members, Members::of(value));
  CreateSandbox create;
  TRY(image, members.text("image", kImageBytes));
  TRY_DO(decode_resources(members, create));
  TRY(timeout, members.integer("timeout_secs", 0, kMaxTimeoutSecs));
  TRY(entrypoint, members.texts("entrypoint", 256, 128 * 1024));
  TRY(network, decode_network(members));
  TRY(snapshot, members.text("snapshot_id", 128));
  TRY(name, decode_name(members));
  TRY(ports, decode_ports(members));
  TRY(unauthenticated, decode_unauthenticated(members));
  TRY(file_systems, decode_file_systems(members));
  TRY(secrets, asks(members, "secret_names"));
  TRY(template_id, members.text("template_id", 128));
  TRY(isolation, members.text("isolation", 32));
  if (isolation && *isolation != "auto" && *isolation != "namespace" && *isolation != "gvisor" &&
      *isolation != "microvm")
    return members.wrong("isolation", "must be auto, namespace, gvisor or microvm");
  if (image && std::ranges::any_of(*image, [](unsigned char c) { return c <= ' ' || c == 0x7f; }))
    return members.wrong("image", "must be the name of an image");
  if (entrypoint && !entrypoint->empty() && entrypoint->front().empty())
    return members.wrong("entrypoint", "starts with an empty word");
  members.done();
  create.image = image.value_or("");
  create.timeout_secs = timeout;
  create.entrypoint = std::move(entrypoint).value_or(std::vector<std::string>{});
  create.network = std::move(network);
  create.snapshot_id = snapshot.value_or("");
  create.name = name.value_or("");
  create.exposed_ports = std::move(ports).value_or(std::vector<int>{});
  create.allow_unauthenticated_access = unauthenticated.value_or(false);
  create.file_systems = std::move(file_systems);
  create.has_secrets = secrets;
  create.template_id = template_id.value_or("");
  create.isolation = isolation.value_or("");
  return create;
}

bool UpdateSandbox::empty() const {
  return !name && !allow_unauthenticated_access && !exposed_ports && !clear_network && !network;
}

Result<UpdateSandbox> decode_update(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  UpdateSandbox update;
  TRY(name, decode_name(members));
  TRY(unauthenticated, decode_unauthenticated(members));
  TRY(ports, decode_ports(members));
  update.clear_network = members.is_null("network");
  TRY(network, decode_network(members));
  members.done();
  update.name = std::move(name);
  update.allow_unauthenticated_access = unauthenticated;
  update.exposed_ports = std::move(ports);
  update.network = std::move(network);
  return update;
}

json::array texts_json(const std::vector<std::string>& items) {
  json::array array;
  for (const std::string& item : items) array.emplace_back(valid_utf8(item));
  return array;
}

json::object network_json(const Network& network) {
  return {{"allow_internet_access", network.allow_internet_access},
          {"allow_out", texts_json(network.allow_out)},
          {"deny_out", texts_json(network.deny_out)}};
}

json::object resources_json(const Resources& resources) {
  return {{"cpus", resources.cpus},
          {"memory_mb", resources.memory_mb},
          {"disk_mb", resources.disk_mb},
          {"ephemeral_disk_mb", resources.disk_mb}};
}

namespace {

void set_if(json::object& object, std::string_view key, const std::string& text) {
  if (!text.empty()) object[key] = valid_utf8(text);
}

json::object record_json(const SandboxRecord& record, std::string_view id_key) {
  json::object out{
      {id_key, record.id},
      {"namespace", record.space},
      {"status", name(record.status)},
      {"resources", resources_json(record.resources)},
      {"timeout_secs", record.timeout_secs},
      {"created_at", record.created_at},
      {"exposed_ports", json::array(record.exposed_ports.begin(), record.exposed_ports.end())},
      {"allow_unauthenticated_access", record.allow_unauthenticated_access},
      {"isolation", record.isolation},
      {"generation", record.generation}};
  set_if(out, "name", record.name);
  set_if(out, "image", record.image);
  set_if(out, "tier", record.tier);
  set_if(out, "pool_id", record.pool_id);
  set_if(out, "reason", record.reason);
  set_if(out, "sandbox_url", record.sandbox_url);
  set_if(out, "snapshot_id", record.snapshot_id);
  set_if(out, "rollback_to", record.rollback_to);
  set_if(out, "host_generation", record.host_generation);
  set_if(out, "inside_version", record.inside_version);
  set_if(out, "outcome", record.outcome);
  set_if(out, "termination_reason", record.termination_reason);
  set_if(out, "error_details", record.error_details);
  if (!record.entrypoint.empty()) out["entrypoint"] = texts_json(record.entrypoint);
  if (record.network) out["network"] = network_json(*record.network);
  if (!record.file_systems.empty()) {
    json::array& list = out["file_systems"].emplace_array();
    for (const FileSystem& fs : record.file_systems)
      list.push_back(
          {{"file_system_id", fs.id}, {"mount_path", fs.mount_path}, {"read_only", fs.read_only}});
  }
  if (record.terminated_at) out["terminated_at"] = record.terminated_at;
  if (record.oom_kills) out["oom_kills"] = record.oom_kills;
  if (record.last_oom_kill_at) out["last_oom_kill_at"] = record.last_oom_kill_at;
  if (record.last_activity_at) out["last_activity_at"] = record.last_activity_at;
  return out;
}

}  // namespace

std::string encode_record(const SandboxRecord& record) {
  return to_json(record_json(record, "id"));
}
std::string encode_created(const SandboxRecord& record) {
  return to_json(record_json(record, "sandbox_id"));
}
std::string encode_claimed_with_file_systems(const SandboxRecord& record) {
  json::object out = record_json(record, "sandbox_id");
  out["claim_configuration_applied"] = true;
  return to_json(out);
}

static std::string list_text(json::array list, const std::string& next,
                             const std::string& previous) {
  json::object out{{"sandboxes", std::move(list)}};
  set_if(out, "next_cursor", next);
  set_if(out, "prev_cursor", previous);
  return to_json(out);
}

std::string encode_list(const std::vector<SandboxRecord>& records, const std::string& next,
                        const std::string& previous) {
  json::array list;
  for (const SandboxRecord& record : records) list.push_back(record_json(record, "id"));
  return list_text(std::move(list), next, previous);
}

static json::object archived_json(const SandboxRecord& record) {
  json::object out = record_json(record, "id");
  out["archived_at"] = record.terminated_at;
  return out;
}

std::string encode_archived(const SandboxRecord& record) { return to_json(archived_json(record)); }

std::string encode_archived_list(const std::vector<SandboxRecord>& records, const std::string& next,
                                 const std::string& previous) {
  json::array list;
  for (const SandboxRecord& record : records) list.push_back(archived_json(record));
  return list_text(std::move(list), next, previous);
}

// Reading a record is for our own clients: only what they cannot do without is demanded.
static Result<SandboxRecord> record_of(const json::value& value) {
  constexpr std::size_t kAny = 1 << 20;
  constexpr std::int64_t kLast = INT64_MAX;
  TRY(members, Members::of(value, "sandbox"));
  SandboxRecord record;
  TRY(id, members.text("id", kAny));
  TRY(sandbox_id, members.text("sandbox_id", kAny));
  if (!id && !sandbox_id) return members.wrong("id", "is missing");
  record.id = id ? *id : *sandbox_id;
  TRY(status, members.text("status", kAny));
  auto state = state_of(status.value_or(""));
  if (!state) return members.wrong("status", "is none that we know");
  record.status = *state;
  struct {
    std::string_view key;
    std::string& into;
  } text_members[] = {{"namespace", record.space},
                      {"name", record.name},
                      {"tier", record.tier},
                      {"pool_id", record.pool_id},
                      {"reason", record.reason},
                      {"isolation", record.isolation},
                      {"image", record.image},
                      {"sandbox_url", record.sandbox_url},
                      {"snapshot_id", record.snapshot_id},
                      {"rollback_to", record.rollback_to},
                      {"host_generation", record.host_generation},
                      {"inside_version", record.inside_version},
                      {"outcome", record.outcome},
                      {"termination_reason", record.termination_reason},
                      {"error_details", record.error_details}};
  for (auto& member : text_members) {
    TRY(text, members.text(member.key, kAny));
    if (text) member.into = std::move(*text);
  }
  TRY(resources, members.object("resources"));
  if (resources) {
    TRY(cpus, resources->number("cpus", 0, 1e9));
    TRY(memory, resources->integer("memory_mb", 0, kLast));
    TRY(disk, resources->integer("disk_mb", 0, kLast));
    TRY(ephemeral, resources->integer("ephemeral_disk_mb", 0, kLast));
    record.resources = {cpus.value_or(0), memory.value_or(0), disk.value_or(ephemeral.value_or(0))};
  }
  TRY(created, members.integer("created_at", 0, kLast));
  TRY(terminated, members.integer("terminated_at", 0, kLast));
  TRY(timeout, members.integer("timeout_secs", 0, kLast));
  TRY(oom_kills, members.integer("oom_kills", 0, kLast));
  TRY(last_oom_kill, members.integer("last_oom_kill_at", 0, kLast));
  TRY(last_activity, members.integer("last_activity_at", 0, kLast));
  record.oom_kills = oom_kills.value_or(0);
  record.last_oom_kill_at = last_oom_kill.value_or(0);
  record.last_activity_at = last_activity.value_or(0);
  TRY(generation, members.integer("generation", 0, kLast));
  TRY(entrypoint, members.texts("entrypoint", kAny, kAny));
  TRY(ports, members.integers("exposed_ports", kPorts, 1, 65535));
  TRY(unauthenticated, members.flag("allow_unauthenticated_access"));
  TRY(network, decode_network(members));
  TRY(file_systems, decode_file_systems(members));
  record.file_systems = std::move(file_systems);
  record.created_at = created.value_or(0);
  record.terminated_at = terminated.value_or(0);
  record.timeout_secs = timeout.value_or(0);
  record.generation = static_cast<std::uint64_t>(generation.value_or(0));
  if (entrypoint) record.entrypoint = std::move(*entrypoint);
  if (ports) record.exposed_ports.assign(ports->begin(), ports->end());
  record.allow_unauthenticated_access = unauthenticated.value_or(false);
  record.network = std::move(network);
  return record;
}

Result<SandboxRecord> decode_record(std::string_view text) {
  TRY(value, parse_json(text));
  return record_of(value);
}

Result<std::vector<SandboxRecord>> decode_list(std::string_view text, std::string* next) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  const json::value* list = members.take("sandboxes");
  if (!list || !list->is_array()) return members.wrong("sandboxes", "must be an array");
  std::vector<SandboxRecord> records;
  for (const json::value& item : list->get_array()) {
    TRY(record, record_of(item));
    records.push_back(std::move(record));
  }
  TRY(cursor, members.text("next_cursor", 1024));
  if (next) *next = cursor.value_or("");
  return records;
}

std::string encode_error_body(std::string_view what, std::string_view code,
                              std::string_view request_id) {
  json::object out{{"error", valid_utf8(what)}, {"code", valid_utf8(code)}};
  if (!request_id.empty()) out["request_id"] = valid_utf8(request_id);
  return to_json(out);
}

}  // namespace glovebox::wire
