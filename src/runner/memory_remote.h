// The memories of a store at the service. The bearer must be a sessions token: these endpoints
// refuse an environment's key.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/loop.h"

namespace glovebox::runner {

struct Memory {
  std::string id, path, hash;  // of its content: SHA-256, in lower-case hex
  std::optional<std::string> content;
};
struct MemoryPage {
  std::vector<Memory> memories;
  std::string next;  // the cursor; "" at the end
};
Result<Memory> decode_memory(std::string_view json);
// Without what is no memory: "memory_prefix" rows.
Result<MemoryPage> decode_memory_page(std::string_view json);

// Errors carry the status as those of Service: see status_of().
class MemoryRemote {
 public:
  virtual ~MemoryRemote() = default;
  enum class View { basic, full };  // full: with the contents
  virtual Task<MemoryPage> list(std::string store, View view, std::string cursor) = 0;
  virtual Task<Memory> get(std::string store, std::string memory) = 0;  // with its content
  virtual Task<Memory> create(std::string store, std::string path, std::string content) = 0;
  // 409 unless the content still is the one with that hash.
  virtual Task<Memory> update(std::string store, std::string memory, std::string content,
                              std::string expected_hash) = 0;
  virtual Task<void> remove(std::string store, std::string memory, std::string expected_hash) = 0;
};

// One request, and the body of its 2xx answer. The bearer is its maker's matter.
using MemoryTransport =
    std::function<Task<std::string>(std::string method, std::string target, std::string body)>;
std::shared_ptr<MemoryRemote> service_memories(MemoryTransport transport);

}  // namespace glovebox::runner
