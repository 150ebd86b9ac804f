#include "runner/equipped_hands.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"
#include "runner/local_files.h"
#include "runner/test_loop.h"

namespace glovebox::runner {
namespace {

namespace fs = std::filesystem;

class EquippedHandsTest : public ServiceTest {
 public:
  Service service{loop, fake.options()};
  net::Pool pool{1};
  std::shared_ptr<FakeHands> hands = std::make_shared<FakeHands>();
  std::string dir;
  bool token = true, of_session = false;
  std::unique_ptr<EquippedHands> equipped;

  void SetUp() override {
    dir = make_temp_dir("glovebox-equipped");
    fs::create_directory(dir + "/work");
    fake.answers["GET /v1/skills/sk/versions/latest"] = R"({"id":"v1","name":"pdf"})";
    fake.answers["GET /v1/skills/sk/versions/v1/content"] = "an archive";
    fake.answers["GET /v1/memory_stores/m1/memories"] =
        str(R"({"data":[{"type":"memory","id":"mem_1","path":"/note","content":"kept",)",
            R"("content_sha256":")", sha256_hex("kept"), R"("}],"next_page":null})");
  }
  void TearDown() override { fs::remove_all(dir); }

  std::string skill() const { return dir + "/work/skills/pdf/SKILL.md"; }
  std::string note() const { return dir + "/mnt/m1/note"; }
  static Task<std::vector<Member>> members(std::string archive) {
    EXPECT_EQ(archive, "an archive");
    co_return std::vector<Member>{{Member::Kind::file, false, "top/SKILL.md", "how to"}};
  }
  void equip() {
    Session session{"sesn_1", "idle",
                    str(R"({"agent":{"skills":[{"skill_id":"sk","version":"latest"}]},)",
                        R"("resources":[{"type":"memory_store","memory_store_id":"m1",)",
                        R"("access":"read_only","mount_path":")", dir, R"(/mnt/m1"}]})")};
    Equipment equipment;
    equipment.files = local_files(pool, dir + "/work");
    equipment.open_memory = [this](std::string root) { return local_memory_folder(pool, root); };
    equipment.work_directory = dir + "/work";
    equipment.unpack = members;
    equipment.memory.of_session = of_session;
    equipped = std::make_unique<EquippedHands>(
        loop, hands, SessionAccess{service, std::move(session), key("the-token"), token},
        std::move(equipment));
  }
  void run(Task<void> (EquippedHandsTest::*test)()) {
    equip();
    ServiceTest::run((this->*test)());
  }

  Task<void> whole() {
    CO_TRY_DO(co_await equipped->open());
    EXPECT_TRUE(fs::exists(skill()));
    EXPECT_TRUE(fs::exists(note()));
    CO_TRY(result, co_await equipped->call({"c1", "bash", "{}"}));
    EXPECT_FALSE(result.is_error);
    EXPECT_EQ(hands->calls.at(0).roots.size(), 1u);
    EXPECT_EQ(hands->calls.at(0).roots.at(0).path, dir + "/mnt/m1");
    EXPECT_TRUE(hands->calls.at(0).roots.at(0).read_only);
    CO_TRY_DO(co_await equipped->close(Hands::End::clean));
    EXPECT_FALSE(fs::exists(skill()));
    EXPECT_FALSE(fs::exists(dir + "/mnt/m1"));
    EXPECT_EQ(hands->end, Hands::End::clean);
    for (const auto& one : fake.seen) {
      const bool memory = one.verb == "memories";
      EXPECT_EQ(one.bearer, "Bearer the-token");
      EXPECT_EQ(one.headers.get("anthropic-beta").value_or(""),
                memory ? "agent-memory-2026-07-22" : "");
      EXPECT_EQ(one.headers.get("Accept"),
                one.target.ends_with("/content") ? "application/binary" : "application/json");
    }
    co_return ok;
  }
  Task<void> refused() {
    auto opened = co_await equipped->open();
    EXPECT_FALSE(opened);
    EXPECT_TRUE(fake.seen.empty());
    co_return co_await equipped->close(Hands::End::aborted);
  }
  Task<void> replaced() {
    CO_TRY_DO(co_await equipped->open());
    CO_TRY_DO(co_await equipped->call({"c1", "bash", "{}"}));
    fs::remove_all(dir + "/work/skills");
    fs::remove_all(dir + "/mnt");
    hands->at = 2;
    CO_TRY_DO(co_await equipped->call({"c2", "bash", "{}"}));
    EXPECT_TRUE(fs::exists(skill()));
    EXPECT_TRUE(fs::exists(note()));
    co_return co_await equipped->close(Hands::End::clean);
  }
  Task<void> lost() {
    CO_TRY_DO(co_await equipped->open());
    CO_TRY_DO(co_await equipped->close(Hands::End::lost));
    EXPECT_EQ(fs::exists(skill()), of_session);
    EXPECT_EQ(fs::exists(note()), of_session);
    co_return ok;
  }
};

TEST_F(EquippedHandsTest, SkillsAndMemoriesAreThereBetweenOpeningAndClosing) {
  run(&EquippedHandsTest::whole);
}
TEST_F(EquippedHandsTest, MemoryNeedsATokenAndNothingIsTriedWithout) {
  token = false;
  run(&EquippedHandsTest::refused);
}
TEST_F(EquippedHandsTest, APlaceThatWasLostIsFilledAgainBeforeTheNextCall) {
  run(&EquippedHandsTest::replaced);
}
TEST_F(EquippedHandsTest, OnAHostNothingStaysOfALostItem) { run(&EquippedHandsTest::lost); }
TEST_F(EquippedHandsTest, InTheSessionsBoxALostItemIsLeftToWhoeverHasIt) {
  of_session = true;
  run(&EquippedHandsTest::lost);
}

}  // namespace
}  // namespace glovebox::runner
