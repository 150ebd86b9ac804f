#include "runner/skills.h"

#include <gmock/gmock.h>

#include <map>

#include "net/task.h"

namespace glovebox::runner {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct FakeSource : SkillSource {
  Task<SkillVersion> version(std::string skill, std::string version) override {
    asked.push_back(str(skill, "@", version));
    if (!names.contains(skill)) co_return Error{Code::not_found, "no such skill", "404"};
    co_return SkillVersion{"skver_" + skill, names[skill]};
  }
  Task<std::string> content(std::string skill, std::string version) override {
    asked.push_back(str(skill, "@", version, "/content"));
    if (failing.contains(skill)) co_return failing.at(skill);
    co_return skill;
  }
  std::map<std::string, std::string> names;
  std::map<std::string, Error> failing;
  std::vector<std::string> asked;
};

struct FakeFiles : Files {
  Task<void> make_folder(std::string path) override {
    if (failing == path) co_return Error{Code::exhausted, "disk full"};
    tree[path] = "folder";
    co_return ok;
  }
  Task<void> write_file(std::string path, std::string content, int mode) override {
    if (failing == path) co_return Error{Code::exhausted, "disk full"};
    auto parent = path.substr(0, path.rfind('/'));
    EXPECT_EQ(tree[parent], "folder") << path;
    tree[path] = str(mode == 0755 ? "755 " : mode == 0644 ? "644 " : "??? ", content);
    co_return ok;
  }
  Task<void> remove_tree(std::string path) override {
    if (stuck) co_return Error{Code::internal, "stuck"};
    std::erase_if(tree, [&](const auto& one) {
      return one.first == path || one.first.starts_with(path + "/");
    });
    co_return ok;
  }
  std::map<std::string, std::string> tree;
  std::string failing;
  bool stuck = false;
};

class SkillsTest : public ::testing::Test {
 protected:
  net::Loop loop;
  std::shared_ptr<FakeSource> source = std::make_shared<FakeSource>();
  std::shared_ptr<FakeFiles> files = std::make_shared<FakeFiles>();
  std::map<std::string, std::vector<Member>> archives;  // by skill
  Skills skills{source, files, [this](std::string archive) { return unpack(std::move(archive)); }};

  void has(const std::string& id, const std::string& name) {
    source->names[id] = name;
    archives[id] = {{Member::Kind::file, false, "top/SKILL.md", name},
                    {Member::Kind::file, true, "top/bin/run", "run"}};
  }
  static std::string session(const std::vector<std::string>& ids) {
    std::string list;
    for (const std::string& id : ids)
      list += str(list.empty() ? "" : ",", R"({"type":"custom","skill_id":")", id,
                  R"(","version":"latest"})");
    return str(R"({"id":"sesn_1","agent":{"skills":[)", list, "]}}");
  }
  Result<void> place(std::string json) { return net::run(loop, skills.place(std::move(json))); }
  Result<void> remove() { return net::run(loop, skills.remove()); }

 private:
  Task<std::vector<Member>> unpack(std::string archive) {
    auto found = archives.find(archive);
    if (found == archives.end()) co_return Error{Code::invalid, "no archive"};
    co_return found->second;
  }
};

TEST(SkillsOf, TheAgentsOwnListIsRead) {
  auto skills = skills_of(R"({"agent":{"skills":[{"skill_id":"a","version":"v1"},
      {"skill_id":"b"},{"version":"x"},7],"multiagent":{"agents":[{"skills":[{"skill_id":"c"}]}]}}})");
  ASSERT_EQ(skills.size(), 2u);
  EXPECT_EQ(skills[0].version, "v1");
  EXPECT_EQ(skills[1].id, "b");
  EXPECT_EQ(skills[1].version, "latest");
  for (const char* json : {"", "null", "{}", R"({"agent":null})", R"({"agent":{"skills":{}}})"})
    EXPECT_TRUE(skills_of(json).empty()) << json;
}

TEST(SkillFolder, IsTheLastPartOfTheNameElseTheId) {
  EXPECT_EQ(*skill_folder("pdf", "skill_1"), "pdf");
  EXPECT_EQ(*skill_folder(" a/b/pdf// ", "skill_1"), "pdf");
  EXPECT_EQ(*skill_folder("../../etc", "skill_1"), "etc");
  for (const char* name : {"", "  ", ".", "..", "a/..", "/", "./."})
    EXPECT_EQ(*skill_folder(name, "skill_1"), "skill_1") << name;
}

TEST(SkillFolder, NeverLeavesTheFolderOfSkills) {
  for (const char* id : {"", ".", "..", "../x", "a/b", "a\nb", "\xff"})
    EXPECT_FALSE(skill_folder("", id)) << id;
  EXPECT_FALSE(skill_folder("a\nb", "skill_1"));
  EXPECT_FALSE(skill_folder(std::string("a\0b", 3), "skill_1"));
  EXPECT_FALSE(skill_folder(std::string(256, 'a'), "skill_1"));
}

TEST(SkillVersion, NeedsAnId) {
  EXPECT_EQ(decode_skill_version(R"({"id":"skver_1","name":"pdf"})")->name, "pdf");
  EXPECT_EQ(decode_skill_version(R"({"id":"skver_1","name":null})")->name, "");
  for (const char* json : {"", "[]", "{}", R"({"id":7,"name":"pdf"})"})
    EXPECT_FALSE(decode_skill_version(json)) << json;
}

TEST_F(SkillsTest, ArePlacedUnderTheirNamesWithTheirModes) {
  has("skill_1", "pdf");
  ASSERT_TRUE(place(session({"skill_1"})));
  EXPECT_EQ(files->tree, (std::map<std::string, std::string>{{"skills/pdf", "folder"},
                                                             {"skills/pdf/SKILL.md", "644 pdf"},
                                                             {"skills/pdf/bin", "folder"},
                                                             {"skills/pdf/bin/run", "755 run"}}));
  EXPECT_THAT(source->asked, ElementsAre("skill_1@latest", "skill_1@skver_skill_1/content"));
}

TEST_F(SkillsTest, WhatWasThereByThatNameGoesAndTheRestStays) {
  has("skill_1", "pdf");
  files->tree = {{"skills/pdf", "folder"}, {"skills/pdf/old", "x"}, {"skills/other", "folder"}};
  ASSERT_TRUE(place(session({"skill_1"})));
  EXPECT_FALSE(files->tree.contains("skills/pdf/old"));
  EXPECT_TRUE(files->tree.contains("skills/other"));
}

TEST_F(SkillsTest, ABadOneDoesNotStopTheOthers) {
  has("unpackable", "a");
  archives.erase("unpackable");
  has("lost", "b");
  source->failing.emplace("lost", Error{Code::unavailable, "away"});
  has("climbing", "c");
  archives["climbing"] = {{Member::Kind::file, false, "../x", ""}};
  has("last", "d");
  ASSERT_TRUE(place(session({"unknown", "unpackable", "lost", "climbing", "last"})));
  EXPECT_EQ(files->tree.size(), 4u);
  EXPECT_TRUE(files->tree.contains("skills/d/SKILL.md"));
}

TEST_F(SkillsTest, HalfASkillIsNone) {
  has("skill_1", "pdf");
  files->failing = "skills/pdf/bin/run";
  ASSERT_TRUE(place(session({"skill_1"})));
  EXPECT_THAT(files->tree, IsEmpty());
}

TEST_F(SkillsTest, OfTwoWithOneNameTheLaterStays) {
  has("skill_1", "pdf");
  has("skill_2", "x/pdf");
  ASSERT_TRUE(place(session({"skill_1", "skill_2"})));
  EXPECT_EQ(files->tree["skills/pdf/SKILL.md"], "644 x/pdf");
  EXPECT_THAT(skills.folders(), ElementsAre("skills/pdf"));
}

TEST_F(SkillsTest, AllThatWerePlacedAreRemovedAndNothingElse) {
  has("skill_1", "pdf");
  has("skill_2", "docx");
  files->tree = {{"skills/mine", "folder"}, {"notes", "x"}};
  ASSERT_TRUE(place(session({"skill_1", "skill_2"})));
  files->tree["skills/pdf/made by the agent"] = "x";
  ASSERT_TRUE(remove());
  EXPECT_EQ(files->tree,
            (std::map<std::string, std::string>{{"skills/mine", "folder"}, {"notes", "x"}}));
  EXPECT_THAT(skills.folders(), IsEmpty());
}

TEST_F(SkillsTest, WhatCannotBeRemovedIsNoError) {
  has("skill_1", "pdf");
  ASSERT_TRUE(place(session({"skill_1"})));
  files->stuck = true;
  EXPECT_TRUE(remove());
}

TEST_F(SkillsTest, CancellingEndsThePlacingAndLeavesWhatToRemove) {
  has("skill_1", "pdf");
  has("skill_2", "docx");
  source->failing.emplace("skill_2", Error{Code::cancelled, "cancelled"});
  auto placed = place(session({"skill_1", "skill_2"}));
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().code, Code::cancelled);
  ASSERT_TRUE(remove());
  EXPECT_THAT(files->tree, IsEmpty());
}

}  // namespace
}  // namespace glovebox::runner
