#include "runner/memory_remote.h"

#include <boost/json.hpp>

#include "http/client.h"
#include "net/task.h"
#include "runner/json.h"

namespace glovebox::runner {

namespace json = boost::json;

namespace {

// The most the service gives in one page, by view.
constexpr int kBasicPage = 100, kFullPage = 20;

Result<Memory> memory_of(const json::value& value) {
  Memory memory{text(value, "id"), text(value, "path"), text(value, "content_sha256"), {}};
  if (memory.id.empty() || memory.path.empty() || memory.hash.empty())
    return Error{Code::invalid, "a memory without id, path or hash"};
  const json::value* content = member(value, "content");
  if (content && content->is_string()) memory.content = std::string(content->get_string());
  return memory;
}

class ServiceMemories : public MemoryRemote {
 public:
  explicit ServiceMemories(MemoryTransport transport) : transport_(std::move(transport)) {}

  Task<MemoryPage> list(std::string store, View view, std::string cursor) override {
    std::string target = str(memories(store), "?view=", view == View::full ? "full" : "basic",
                             "&limit=", view == View::full ? kFullPage : kBasicPage);
    if (!cursor.empty()) target += "&page=" + http::encode_query(cursor);
    CO_TRY(answer, co_await transport_("GET", std::move(target), ""), "list memories");
    co_return decode_memory_page(answer);
  }

  Task<Memory> get(std::string store, std::string memory) override {
    CO_TRY(answer, co_await transport_("GET", one(store, memory) + "?view=full", ""), "get memory ",
           memory);
    co_return decode_memory(answer);
  }

  Task<Memory> create(std::string store, std::string path, std::string content) override {
    std::string body = json::serialize(json::object{{"path", path}, {"content", content}});
    CO_TRY(answer, co_await transport_("POST", memories(store), std::move(body)), "create memory");
    co_return decode_memory(answer);
  }

  Task<Memory> update(std::string store, std::string memory, std::string content,
                      std::string expected_hash) override {
    json::object precondition{{"type", "content_sha256"}, {"content_sha256", expected_hash}};
    std::string body = json::serialize(
        json::object{{"content", content}, {"precondition", std::move(precondition)}});
    CO_TRY(answer, co_await transport_("POST", one(store, memory), std::move(body)),
           "update memory ", memory);
    co_return decode_memory(answer);
  }

  Task<void> remove(std::string store, std::string memory, std::string expected_hash) override {
    std::string target =
        str(one(store, memory), "?expected_content_sha256=", http::encode_query(expected_hash));
    CO_TRY_DO(co_await transport_("DELETE", std::move(target), ""), "delete memory ", memory);
    co_return ok;
  }

 private:
  static std::string memories(std::string_view store) {
    return str("/v1/memory_stores/", http::encode_path(store), "/memories");
  }
  static std::string one(std::string_view store, std::string_view memory) {
    return str(memories(store), "/", http::encode_path(memory));
  }
  const MemoryTransport transport_;
};

}  // namespace

Result<Memory> decode_memory(std::string_view json) {
  TRY(value, parse_json(json), "memory");
  return memory_of(value);
}

Result<MemoryPage> decode_memory_page(std::string_view json) {
  TRY(value, parse_json(json), "memories");
  const json::value* data = member(value, "data");
  if (!data || !data->is_array()) return Error{Code::invalid, "memories: no list"};
  MemoryPage page;
  page.next = text(value, "next_page");
  for (const json::value& row : data->get_array()) {
    if (text(row, "type") != "memory") continue;
    TRY(memory, memory_of(row), "memories");
    page.memories.push_back(std::move(memory));
  }
  return page;
}

std::shared_ptr<MemoryRemote> service_memories(MemoryTransport transport) {
  return std::make_shared<ServiceMemories>(std::move(transport));
}

}  // namespace glovebox::runner
