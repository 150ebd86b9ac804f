#include "runner/memory_remote.h"

#include <gmock/gmock.h>

#include "net/task.h"

namespace glovebox::runner {
namespace {

using testing::ElementsAre;

const char* const kMemory =
    R"({"id":"mem_1","type":"memory","path":"/a","content_sha256":"aa","content":"text"})";

class MemoryRemoteTest : public ::testing::Test {
 protected:
  net::Loop loop;
  std::vector<std::string> asked;
  std::string answer;
  std::shared_ptr<MemoryRemote> remote =
      service_memories([this](std::string method, std::string target, std::string body) {
        return serve(std::move(method), std::move(target), std::move(body));
      });
  void run(Task<void> test) {
    auto ran = net::run(loop, std::move(test));
    EXPECT_TRUE(ran) << ran.error().what;
  }

 private:
  Task<std::string> serve(std::string method, std::string target, std::string body) {
    asked.push_back(str(method, " ", target, body.empty() ? "" : " ", body));
    co_return answer;
  }
};

Task<void> list_twice(MemoryRemote& remote, MemoryPage& page) {
  CO_TRY(first, co_await remote.list("store/1", MemoryRemote::View::full, ""));
  page = std::move(first);
  CO_TRY_DO(co_await remote.list("store/1", MemoryRemote::View::basic, page.next));
  co_return ok;
}
TEST_F(MemoryRemoteTest, ListsByViewAndCursorAndSkipsWhatIsNoMemory) {
  answer =
      str(R"({"data":[{"type":"memory_prefix","path":"/x/"},)", kMemory, R"(],"next_page":"c&1"})");
  MemoryPage page;
  run(list_twice(*remote, page));
  EXPECT_THAT(
      asked,
      ElementsAre("GET /v1/memory_stores/store%2F1/memories?view=full&limit=20",
                  "GET /v1/memory_stores/store%2F1/memories?view=basic&limit=100&page=c%261"));
  ASSERT_EQ(page.memories.size(), 1u);
  EXPECT_EQ(page.memories[0].path, "/a");
  EXPECT_EQ(page.memories[0].content, "text");
}

Task<void> every_change(MemoryRemote& remote) {
  CO_TRY_DO(co_await remote.get("s", "mem_1"));
  CO_TRY_DO(co_await remote.create("s", "/a", "\"\n"));
  CO_TRY_DO(co_await remote.update("s", "mem_1", "x", "aa"));
  CO_TRY_DO(co_await remote.remove("s", "mem_1", "aa"));
  co_return ok;
}
TEST_F(MemoryRemoteTest, EveryChangeNamesWhatItExpects) {
  answer = kMemory;
  run(every_change(*remote));
  EXPECT_THAT(asked,
              ElementsAre("GET /v1/memory_stores/s/memories/mem_1?view=full",
                          R"(POST /v1/memory_stores/s/memories {"path":"/a","content":"\"\n"})",
                          R"(POST /v1/memory_stores/s/memories/mem_1 {"content":"x",)"
                          R"("precondition":{"type":"content_sha256","content_sha256":"aa"}})",
                          "DELETE /v1/memory_stores/s/memories/mem_1?expected_content_sha256=aa"));
}

TEST(MemoryPage, OfAnotherShapeIsAnError) {
  for (const char* json : {"", "null", "{}", R"({"data":{}})", R"({"data":[{"type":"memory"}]})",
                           R"({"data":[{"type":"memory","id":"m","path":"/a"}]})"})
    EXPECT_FALSE(decode_memory_page(json)) << json;
  EXPECT_TRUE(decode_memory_page(R"({"data":[],"next_page":null})"));
  EXPECT_FALSE(decode_memory(R"({"id":"m","path":"/a"})"));
  EXPECT_EQ(decode_memory(R"({"id":"m","path":"/a","content_sha256":"x","content":null})")->content,
            std::nullopt);
}

}  // namespace
}  // namespace glovebox::runner
