// The JSON of sandbox pools: boxes made ahead, which a claim turns into sandboxes.
#pragma once

#include "wire/sandbox.h"

namespace glovebox::wire {

struct PoolSpec {
  std::string image;
  Resources resources{.cpus = 1.0, .memory_mb = 1024, .disk_mb = 1024};
  std::int64_t timeout_secs = 0;  // 0: the longest there is
  std::vector<std::string> entrypoint;
  std::optional<std::int64_t> max_containers;   // warm ones and sandboxes together; none: no limit
  std::optional<std::int64_t> warm_containers;  // kept ready
  std::optional<Network> network;
  bool keep_network = true;  // of an update: it says nothing about the network
};
Result<PoolSpec> decode_pool_spec(std::string_view json);

struct ClaimSandbox {  // what it is to have beyond what the pool's have; mostly nothing
  std::vector<FileSystem> file_systems;
  std::string name;                          // ours
  std::optional<std::int64_t> timeout_secs;  // ours; none: the pool's
};
Result<ClaimSandbox> decode_claim(std::string_view json);

struct Pool {
  std::string id, space = "default";
  PoolSpec spec;
  std::int64_t created_at = 0, updated_at = 0;  // unix ms
};

struct PoolContainer {
  std::string id;
  std::string sandbox_id;  // empty: it waits to be claimed
};

std::string encode_pool(const Pool& pool);
std::string encode_pool(const Pool& pool, const std::vector<PoolContainer>& containers);
std::string encode_pool_created(const Pool& pool);
std::string encode_pools(const std::vector<Pool>& pools);
Result<Pool> decode_pool(std::string_view json);  // of a row, and for the CLI

}  // namespace glovebox::wire
