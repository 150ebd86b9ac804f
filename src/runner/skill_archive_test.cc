#include "runner/skill_archive.h"

#include <gmock/gmock.h>

#include "runner/member_frames.h"

namespace glovebox::runner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Kind = Member::Kind;

Member file(std::string name, std::string content = "x", bool executable = false) {
  return {Kind::file, executable, std::move(name), std::move(content)};
}
Member folder(std::string name) { return {Kind::folder, true, std::move(name), ""}; }
Member special(std::string name) { return {Kind::special, false, std::move(name), ""}; }

Result<SkillPlan> plan(std::vector<Member> members, Packing packing = Packing::tar) {
  return plan_skill(std::move(members), packing, {});
}
std::vector<std::string> files(const SkillPlan& plan) {
  std::vector<std::string> paths;
  for (const auto& file : plan.files) paths.push_back(file.path);
  return paths;
}
std::vector<std::string> files_of(std::vector<Member> members) {
  auto planned = plan(std::move(members));
  EXPECT_TRUE(planned) << planned.error().what;
  return planned ? files(*planned) : std::vector<std::string>{};
}
std::string why_not(std::vector<Member> members, Packing packing = Packing::tar) {
  auto planned = plan(std::move(members), packing);
  EXPECT_FALSE(planned);
  return planned ? "" : planned.error().what;
}

TEST(SkillPlan, TheOneFolderAroundEverythingIsStripped) {
  auto planned = plan({folder("pdf/"), file("pdf/SKILL.md"), folder("pdf/scripts/"),
                       file("pdf/scripts/run.sh", "run", true)});
  ASSERT_TRUE(planned) << planned.error().what;
  EXPECT_THAT(planned->folders, ElementsAre("scripts"));
  EXPECT_THAT(files(*planned), ElementsAre("SKILL.md", "scripts/run.sh"));
  EXPECT_EQ(planned->files[1].content, "run");
  EXPECT_TRUE(planned->files[1].executable);
  EXPECT_FALSE(planned->files[0].executable);
}

TEST(SkillPlan, AFlatArchiveStaysAsItIs) {
  EXPECT_THAT(files_of({folder("./"), file("./SKILL.md"), file("./scripts/run.sh")}),
              ElementsAre("SKILL.md", "scripts/run.sh"));
  EXPECT_THAT(files_of({file("SKILL.md")}), ElementsAre("SKILL.md"));
  EXPECT_THAT(files_of({file("a/x"), file("b/x")}), ElementsAre("a/x", "b/x"));
}

TEST(SkillPlan, AWrappedArchiveMayNameItsFolderInAnyWay) {
  EXPECT_THAT(files_of({file("./pdf//SKILL.md"), file("pdf/./a")}), ElementsAre("SKILL.md", "a"));
}

TEST(SkillPlan, AFolderAloneIsNoWrapper) {
  auto planned = plan({folder("pdf/")});
  ASSERT_TRUE(planned);
  EXPECT_THAT(planned->folders, ElementsAre("pdf"));
}

TEST(SkillPlan, ALinkBesideTheWrapperDoesNotUnwrapIt) {
  EXPECT_THAT(files_of({file("pdf/SKILL.md"), special("link")}), ElementsAre("SKILL.md"));
}

TEST(SkillPlan, MissingFoldersAreMadeAndParentsComeFirst) {
  auto planned = plan({file("b/c/d/e"), file("a/x"), folder("a/empty")});
  ASSERT_TRUE(planned);
  EXPECT_THAT(planned->folders, ElementsAre("a", "a/empty", "b", "b/c", "b/c/d"));
}

TEST(SkillPlan, AnAbsoluteNameRefusesTheArchive) {
  for (const char* name : {"/etc/passwd", "//x", " /etc/passwd", "/"}) {
    EXPECT_THAT(why_not({file("SKILL.md"), file(name)}), HasSubstr("absolute")) << name;
    EXPECT_THAT(why_not({folder(name)}), HasSubstr("absolute")) << name;
    EXPECT_THAT(why_not({special(name)}), HasSubstr("absolute")) << name;
  }
}

TEST(SkillPlan, AClimbingNameRefusesTheArchive) {
  for (const char* name : {"../x", "a/../x", "a/..", "..", "a\\..\\x", "..\\x", " ../x", ".. "}) {
    EXPECT_THAT(why_not({file("SKILL.md"), file(name)}), HasSubstr("climbs")) << name;
    EXPECT_THAT(why_not({special(name)}), HasSubstr("climbs")) << name;
  }
  EXPECT_THAT(files_of({file("..a"), file("b.."), file("...")}), ElementsAre("...", "..a", "b.."));
}

TEST(SkillPlan, SpecialMembersAreLeftOut) {
  auto planned = plan({file("pdf/SKILL.md"), special("pdf/link"), special("pdf/fifo")});
  ASSERT_TRUE(planned);
  EXPECT_THAT(files(*planned), ElementsAre("SKILL.md"));
  EXPECT_THAT(planned->left_out, ElementsAre("pdf/link", "pdf/fifo"));
}

TEST(SkillPlan, WhatLiesBelowALinkLandsInAFolder) {
  auto planned = plan({special("pdf/out"), file("pdf/out/passwd"), file("pdf/SKILL.md")});
  ASSERT_TRUE(planned);
  EXPECT_THAT(planned->folders, ElementsAre("out"));
  EXPECT_THAT(files(*planned), ElementsAre("SKILL.md", "out/passwd"));
}

TEST(SkillPlan, ASpecialMemberThatCannotBeNamedExactlyRefusesTheArchive) {
  for (const char* name : {"a\nb", "a\\b", "a^b", "a#b", "\xc3\xbc", "a\x7f", "a\tb", ""})
    EXPECT_THAT(why_not({special(name)}), HasSubstr("cannot be left out")) << name;
  EXPECT_THAT(why_not({special("-rf")}, Packing::zip), HasSubstr("cannot be left out"));
  EXPECT_TRUE(plan({special("-rf")}, Packing::tar));
  EXPECT_TRUE(plan({special("a*b?[c] d")}));
}

TEST(SkillPlan, AFileThatIsThereTwiceRefusesTheArchive) {
  EXPECT_THAT(why_not({file("a"), file("b"), file("a")}), HasSubstr("twice"));
  EXPECT_THAT(why_not({file("a"), file("b"), file("./a")}), HasSubstr("twice"));
  EXPECT_THAT(files_of({folder("a"), folder("a/"), file("a/b"), file("c")}),
              ElementsAre("a/b", "c"));
}

TEST(SkillPlan, AFileThatIsAFolderTooRefusesTheArchive) {
  EXPECT_THAT(why_not({file("a"), file("a/b"), file("c")}), HasSubstr("and a folder"));
  EXPECT_THAT(why_not({file("a/b"), file("a"), file("c")}), HasSubstr("and a folder"));
  EXPECT_THAT(why_not({folder("a"), file("a"), file("c")}), HasSubstr("and a folder"));
  EXPECT_THAT(why_not({file("pdf"), file("pdf/b")}), HasSubstr("folder of all others"));
}

TEST(SkillPlan, NamesThatDifferInCaseAreTwoFiles) {
  EXPECT_THAT(files_of({file("Makefile"), file("makefile")}), ElementsAre("Makefile", "makefile"));
}

TEST(SkillPlan, AFileWithTheNameOfAFolderRefusesTheArchive) {
  for (const char* name : {"a/", "./", ".", ""})
    EXPECT_THAT(why_not({file(name)}), HasSubstr("name of a folder")) << name;
}

TEST(SkillPlan, ANameThatCannotBeCarriedExactlyRefusesTheArchive) {
  EXPECT_THAT(why_not({file("a\nb")}), HasSubstr("control character"));
  EXPECT_THAT(why_not({file(std::string("a\0b", 3))}), HasSubstr("control character"));
  EXPECT_THAT(why_not({file("a\x1b[2J")}), HasSubstr("control character"));
  EXPECT_THAT(why_not({file("a\xff")}), HasSubstr("UTF-8"));
  EXPECT_THAT(files_of({file("\xc3\xbc b\\c#^.md"), file("x")}),
              ElementsAre("x", "\xc3\xbc b\\c#^.md"));
}

TEST(SkillPlan, TooDeepAndTooLongRefuseTheArchive) {
  auto deep = [](int parts) {
    std::string name = "f";
    for (int i = 1; i < parts; ++i) name = "d/" + name;
    return name;
  };
  EXPECT_TRUE(plan({file(deep(32)), file("x")}));
  EXPECT_THAT(why_not({file(deep(33)), file("x")}), HasSubstr("deeper"));
  EXPECT_TRUE(plan({file(std::string(255, 'a'))}));
  EXPECT_THAT(why_not({file(std::string(256, 'a'))}), HasSubstr("too long"));
  std::string long_path = std::string(250, 'a');
  for (int i = 0; i < 4; ++i) long_path += "/" + std::string(250, 'a');
  EXPECT_THAT(why_not({file(long_path)}), HasSubstr("too long"));
}

TEST(SkillPlan, EachLimitHolds) {
  ArchiveLimits limits;
  limits.members = 2;
  EXPECT_TRUE(plan_skill({file("a"), file("b")}, Packing::tar, limits));
  EXPECT_FALSE(plan_skill({file("a"), file("b"), file("c")}, Packing::tar, limits));
  limits = {};
  limits.names = 4;
  EXPECT_TRUE(plan_skill({file("a"), file("b")}, Packing::tar, limits));
  EXPECT_FALSE(plan_skill({file("a"), file("bc")}, Packing::tar, limits));
  limits = {};
  limits.unpacked = 3;
  EXPECT_TRUE(plan_skill({file("a", "12"), file("b", "3")}, Packing::tar, limits));
  EXPECT_FALSE(plan_skill({file("a", "12"), file("b", "34")}, Packing::tar, limits));
}

TEST(ArchiveLimits, ABombIsMeasuredByItsArchiveAndSmallOnesAreLeftAlone) {
  ArchiveLimits limits{.unpacked = 1'000'000, .ratio = 10, .ratio_from = 1000};
  EXPECT_EQ(limits.unpacked_of(0), 1000u);
  EXPECT_EQ(limits.unpacked_of(99), 1000u);
  EXPECT_EQ(limits.unpacked_of(1000), 10'000u);
  EXPECT_EQ(limits.unpacked_of(200'000), 1'000'000u);
  EXPECT_EQ(limits.unpacked_of(SIZE_MAX), 1'000'000u);
}

TEST(Packing, OnlyALocalHeaderAtTheStartMakesAZip) {
  EXPECT_EQ(packing_of("PK\x03\x04…"), Packing::zip);
  EXPECT_EQ(packing_of("PK\x05\x06…"), Packing::tar);
  EXPECT_EQ(packing_of("#!PK\x03\x04"), Packing::tar);
  EXPECT_EQ(packing_of(""), Packing::tar);
}

std::string told() {
  return member_record(file("a", "", true)) + content_record("12") + content_record("345") +
         member_record(special("link")) + member_record(file("b")) + end_record();
}

TEST(MemberFrames, WhatWasWrittenIsReadInAnyPieces) {
  for (std::size_t piece : {1u, 3u, 1000u}) {
    MemberFrames frames({}, 5);
    const std::string bytes = told();
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      ASSERT_TRUE(frames.feed(std::string_view(bytes).substr(at, piece)));
    auto members = frames.finish();
    ASSERT_TRUE(members);
    ASSERT_EQ(members->size(), 3u);
    EXPECT_EQ((*members)[0].content, "12345");
    EXPECT_TRUE((*members)[0].executable);
    EXPECT_EQ((*members)[1].kind, Kind::special);
    EXPECT_EQ((*members)[2].name, "b");
  }
}

TEST(MemberFrames, ALyingReaderIsNotBelieved) {
  auto fails = [](std::string bytes, std::size_t unpacked = 100, ArchiveLimits limits = {}) {
    MemberFrames frames(limits, unpacked);
    return !frames.feed(bytes) || !frames.finish();
  };
  EXPECT_FALSE(fails(told()));
  EXPECT_TRUE(fails(""));
  EXPECT_TRUE(fails(told().substr(0, told().size() - 1)));
  EXPECT_TRUE(fails(told() + end_record()));
  EXPECT_TRUE(fails(told() + "m"));
  EXPECT_TRUE(fails(content_record("before any member") + end_record()));
  EXPECT_TRUE(fails(member_record(folder("a")) + content_record("x") + end_record()));
  EXPECT_TRUE(fails(told(), 4));
  EXPECT_TRUE(fails(refusal_record("no")));
  EXPECT_TRUE(fails(std::string("q\0\0\0\0", 5) + end_record()));
  EXPECT_TRUE(fails("m\xff\xff\xff\xff"));
  EXPECT_TRUE(fails(std::string("m\2\0\0\0\7\0", 7) + end_record()));
  EXPECT_TRUE(fails(told(), 100, {.members = 2}));
  EXPECT_TRUE(fails(told(), 100, {.names = 5}));
}

}  // namespace
}  // namespace glovebox::runner
