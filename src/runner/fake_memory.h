// For tests: a service, folders and a clock whose every word the test decides.
#pragma once

#include <gmock/gmock.h>

#include <deque>

#include "net/task.h"
#include "runner/memory_sync.h"

namespace glovebox::runner {

using MemoryFiles = std::map<std::string, std::string>;
inline const std::string kMarker(kMemoryMarker);

struct StandingClock : Clock {
  std::int64_t unix_ms() const override { return 0; }
  std::chrono::steady_clock::time_point monotonic() const override { return now; }
  std::chrono::steady_clock::time_point now{};
};

struct FakeMemories : MemoryRemote {
  struct Fault {
    int status = 0;      // 0: no answer
    bool after = false;  // it is done all the same
  };
  std::map<std::string, MemoryFiles> stores;        // by path with its "/"
  std::vector<std::string> asked;                   // but for lists
  std::map<std::string, std::deque<Fault>> faults;  // by verb
  std::size_t page = 2, lists = 0, at_once = 0, most_at_once = 0;
  std::function<void(const std::string& verb)> before;
  bool stuck = false, endless = false;
  net::Event released;

  static Error error(int status) {
    return {status ? Code::invalid : Code::unavailable, str("status ", status),
            status ? str(status) : ""};
  }
  Task<std::optional<Fault>> enter(std::string verb) {
    if (before) before(verb);
    most_at_once = std::max(most_at_once, ++at_once);
    auto waited = stuck ? co_await released.wait(net::kForever) : co_await net::yield();
    --at_once;
    if (!waited) co_return waited.error();
    auto& queue = faults[verb];
    if (queue.empty()) co_return std::nullopt;
    Fault fault = queue.front();
    queue.pop_front();
    co_return fault;
  }
  Memory memory(const std::string& path, const std::string& content, bool full) {
    return {"id:" + path, path, sha256_hex(content), full ? std::optional(content) : std::nullopt};
  }
  Task<MemoryPage> list(std::string store, View view, std::string cursor) override {
    ++lists;
    CO_TRY(fault, co_await enter("list"));
    if (fault) co_return error(fault->status);
    MemoryPage result;
    std::size_t from = parse_int<std::size_t>(cursor).value_or(0), at = 0;
    for (const auto& [path, content] : stores[store]) {
      if (at >= from && at < from + page)
        result.memories.push_back(memory(path, content, view == View::full));
      ++at;
    }
    if (from + page < at || endless) result.next = str(from + page);
    co_return result;
  }
  Task<Memory> get(std::string store, std::string id) override {
    asked.push_back("get " + id.substr(3));
    CO_TRY(fault, co_await enter("get"));
    auto found = stores[store].find(id.substr(3));
    if (fault) co_return error(fault->status);
    if (found == stores[store].end()) co_return error(404);
    co_return memory(found->first, found->second, true);
  }
  Task<Memory> create(std::string store, std::string path, std::string content) override {
    asked.push_back("create " + path);
    CO_TRY(fault, co_await enter("create"));
    if (fault && !fault->after) co_return error(fault->status);
    if (stores[store].contains(path)) co_return error(409);
    stores[store][path] = content;
    if (fault) co_return error(fault->status);
    co_return memory(path, content, false);
  }
  Task<Memory> update(std::string store, std::string id, std::string content,
                      std::string expected) override {
    const std::string path = id.substr(3);
    asked.push_back("update " + path);
    CO_TRY(fault, co_await enter("update"));
    if (fault && !fault->after) co_return error(fault->status);
    if (!stores[store].contains(path)) co_return error(404);
    if (sha256_hex(stores[store][path]) != expected) co_return error(409);
    stores[store][path] = content;
    if (fault) co_return error(fault->status);
    co_return memory(path, content, false);
  }
  Task<void> remove(std::string store, std::string id, std::string expected) override {
    const std::string path = id.substr(3);
    asked.push_back("delete " + path);
    CO_TRY(fault, co_await enter("remove"));
    if (fault) co_return error(fault->status);
    if (!stores[store].contains(path)) co_return error(404);
    if (sha256_hex(stores[store][path]) != expected) co_return error(409);
    stores[store].erase(path);
    co_return ok;
  }
};

struct FakeMemoryFolder : MemoryFolder {
  std::optional<MemoryFiles> files;  // nullopt: it is not there
  std::function<void(const std::string& doing)> before;
  std::string failing;  // a path that cannot be written or removed
  int created = 0;

  void tell(const std::string& doing) {
    if (before) before(doing);
  }
  Task<bool> exists() override { co_return files.has_value(); }
  bool claimable = true;
  Task<bool> claim() override { co_return claimable; }
  Task<void> create() override {
    ++created;
    if (failing == "create") co_return Error{Code::forbidden, "not allowed"};
    if (!files) files.emplace();
    co_return ok;
  }
  Task<Hashes> scan() override {
    tell("scan");
    Hashes hashes;
    if (files)
      for (const auto& [path, content] : *files) hashes[path] = sha256_hex(content);
    co_return hashes;
  }
  Task<std::optional<std::string>> hash(std::string path) override {
    tell("hash " + path);
    if (!files || !files->contains(path)) co_return std::nullopt;
    co_return sha256_hex(files->at(path));
  }
  Task<std::optional<std::string>> read(std::string path, std::size_t limit) override {
    tell("read " + path);
    if (!files || !files->contains(path)) co_return std::nullopt;
    if (files->at(path).size() > limit) co_return Error{Code::too_large, "too large"};
    co_return files->at(path);
  }
  Task<void> write(std::string path, std::string content) override {
    tell("write " + path);
    if (!files || failing == path) co_return Error{Code::not_found, "cannot be written"};
    (*files)[path] = content;
    co_return ok;
  }
  Task<void> remove(std::string path) override {
    tell("remove " + path);
    if (failing == path) co_return Error{Code::forbidden, "cannot be removed"};
    if (files) files->erase(path);
    co_return ok;
  }
  Task<void> remove_all() override {
    files.reset();
    co_return ok;
  }
};

class MemorySyncTest : public ::testing::Test {
 protected:
  net::Loop loop;
  StandingClock clock;
  std::shared_ptr<FakeMemories> remote = std::make_shared<FakeMemories>();
  std::map<std::string, std::shared_ptr<FakeMemoryFolder>> folders;  // by root
  MemoryOptions options;
  std::unique_ptr<MemorySync> memories;
  std::string session = str(R"({"resources":[)", store("m1"), "]}");

  static std::string store(const std::string& id, const std::string& access = "read_write") {
    return str(R"({"type":"memory_store","memory_store_id":")", id, R"(","mount_path":"/mnt/)", id,
               R"(","access":")", access, R"("})");
  }
  std::shared_ptr<FakeMemoryFolder> at(const std::string& root) {
    auto& folder = folders[root];
    if (!folder) folder = std::make_shared<FakeMemoryFolder>();
    return folder;
  }
  FakeMemoryFolder& folder() { return *at("/mnt/m1"); }
  MemoryFiles& local() { return *folder().files; }
  MemoryFiles& there() { return remote->stores["m1"]; }
  // Without the marker.
  MemoryFiles here() {
    MemoryFiles files = folder().files.value_or(MemoryFiles{{"the folder", "is gone"}});
    files.erase(kMarker);
    return files;
  }

  Result<void> run(Task<void> task) { return net::run(loop, std::move(task)); }
  Result<void> download() {
    memories = std::make_unique<MemorySync>(
        loop, clock, remote, [this](std::string root) { return at(root); }, "/w", options);
    return run(memories->download(session));
  }
  void start() {
    auto started = download();
    ASSERT_TRUE(started) << started.error().what;
    remote->asked.clear();
  }
  void sync() {
    clock.now += options.interval;
    EXPECT_TRUE(run(memories->sync_if_due()));
  }
  void finish(MemorySync::End end = MemorySync::End::clean) {
    EXPECT_TRUE(run(memories->finish(end)));
  }
  void read_only() { session = str(R"({"resources":[)", store("m1", "read_only"), "]}"); }
};

}  // namespace glovebox::runner
