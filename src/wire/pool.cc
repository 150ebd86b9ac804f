#include "wire/pool.h"

#include "wire/sandbox_parts.h"
#include "wire/to_json.h"

namespace glovebox::wire {

namespace json = boost::json;

namespace {

constexpr std::int64_t kMostContainers = 100'000;
constexpr std::int64_t kLongestTimeout = 366 * 86400;
constexpr std::size_t kImageBytes = 255;

Result<PoolSpec> spec_of(Members& members) {
  PoolSpec spec;
  TRY(image, members.text("image", kImageBytes));
  if (!image || image->empty()) return members.wrong("image", "is missing");
  if (std::ranges::any_of(*image, [](unsigned char c) { return c <= ' ' || c == 0x7f; }))
    return members.wrong("image", "must be the name of an image");
  CreateSandbox create;
  create.resources = spec.resources;
  TRY_DO(decode_resources(members, create));
  if (create.has_gpus) return members.wrong("resources", "gpus: not to be had here");
  TRY(timeout, members.integer("timeout_secs", 0, kLongestTimeout));
  TRY(entrypoint, members.texts("entrypoint", 256, 128 * 1024));
  if (entrypoint && !entrypoint->empty() && entrypoint->front().empty())
    return members.wrong("entrypoint", "starts with an empty word");
  TRY(most, members.integer("max_containers", 0, kMostContainers));
  TRY(warm, members.integer("warm_containers", 0, kMostContainers));
  spec.keep_network = !members.raw().contains("network");
  TRY(network, decode_network(members));
  spec.image = std::move(*image);
  spec.resources = create.resources;
  spec.timeout_secs = timeout.value_or(0);
  spec.entrypoint = std::move(entrypoint).value_or(std::vector<std::string>{});
  spec.max_containers = most;
  spec.warm_containers = warm;
  spec.network = std::move(network);
  return spec;
}

json::object pool_json(const Pool& pool, std::string_view id_key) {
  const PoolSpec& spec = pool.spec;
  json::object out{{id_key, pool.id},
                   {"namespace", pool.space},
                   {"image", spec.image},
                   {"resources", resources_json(spec.resources)},
                   {"timeout_secs", spec.timeout_secs},
                   {"created_at", pool.created_at},
                   {"updated_at", pool.updated_at}};
  if (!spec.entrypoint.empty()) out["entrypoint"] = texts_json(spec.entrypoint);
  if (spec.max_containers) out["max_containers"] = *spec.max_containers;
  if (spec.warm_containers) out["warm_containers"] = *spec.warm_containers;
  if (spec.network) out["network"] = out["network_policy"] = network_json(*spec.network);
  return out;
}

}  // namespace

Result<PoolSpec> decode_pool_spec(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  TRY(spec, spec_of(members));
  members.done();
  return spec;
}

Result<ClaimSandbox> decode_claim(std::string_view text) {
  if (trim(text).empty()) return ClaimSandbox();
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  TRY(file_systems, decode_file_systems(members));
  TRY(name, decode_name(members));
  TRY(timeout, members.integer("timeout_secs", 0, kLongestTimeout));
  members.done();
  return ClaimSandbox{std::move(file_systems), name.value_or(""), timeout};
}

std::string encode_pool(const Pool& pool) { return to_json(pool_json(pool, "id")); }

std::string encode_pool(const Pool& pool, const std::vector<PoolContainer>& containers) {
  json::object out = pool_json(pool, "id");
  json::array list;
  for (const PoolContainer& container : containers) {
    bool idle = container.sandbox_id.empty();
    json::object item{{"id", container.id},
                      {"state", idle ? "Idle" : "Running"},
                      {"sandbox_id", nullptr},
                      {"executor_id", "local"}};
    if (!idle) item["sandbox_id"] = container.sandbox_id;
    list.push_back(std::move(item));
  }
  out["containers"] = std::move(list);
  return to_json(out);
}

std::string encode_pool_created(const Pool& pool) {
  return to_json(json::object{{"pool_id", pool.id}, {"namespace", pool.space}});
}

std::string encode_pools(const std::vector<Pool>& pools) {
  json::array list;
  for (const Pool& pool : pools) list.push_back(pool_json(pool, "id"));
  return to_json(json::object{{"pools", std::move(list)}});
}

Result<Pool> decode_pool(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value, "pool"));
  Pool pool;
  TRY(id, members.text("id", 64));
  TRY(spec, spec_of(members));
  TRY(created, members.integer("created_at", 0, INT64_MAX));
  TRY(updated, members.integer("updated_at", 0, INT64_MAX));
  pool.id = id.value_or("");
  pool.spec = std::move(spec);
  pool.created_at = created.value_or(0);
  pool.updated_at = updated.value_or(0);
  return pool;
}

}  // namespace glovebox::wire
