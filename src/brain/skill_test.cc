// Skills: what is taken, how it is packed, and the API around them.
#include "brain/agent_skills.h"
#include "brain/served.h"
#include "brain/skill_files.h"

namespace glovebox::brain {
namespace {

const std::string kHead = "---\nname: pdf-forms\ndescription: Fills forms.\n---\n# How\n";

std::string refused(std::vector<SkillFile> files) {
  auto package = package_skill(std::move(files));
  return package ? "" : package.error().what;
}

struct Skills : Served {
  Answer upload(std::string target, std::vector<SkillFile> files, std::string more = "",
                std::string key = kApi) {
    std::string body;
    for (const auto& file : files)
      body += str("--B\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"", file.path,
                  "\"\r\nContent-Type: application/octet-stream\r\n\r\n", file.content, "\r\n");
    http::Headers headers;
    headers.set("Content-Type", "multipart/form-data; boundary=B");
    return call("POST", target, str(body, more, "--B--\r\n"), key, headers);
  }
  std::string agent_with(std::string skill, std::string more = "") {
    return str(R"({"name":"a","model":"m","tools":[{"type":"agent_toolset_20260401"}],)",
               R"("skills":[{"type":"custom","skill_id":")", skill, '"', more, "}]}");
  }
  std::string content(std::string target, std::string key = kApi) {
    Result<http::ClientResponse> answer = Error{};
    run(fetch(*client_, "GET", target, "", {}, key, answer));
    EXPECT_TRUE(answer && answer->status == 200);
    return answer ? answer->body : "";
  }
};

}  // namespace

TEST(SkillHead, FormsOfYaml) {
  const std::pair<std::string, std::string> table[] = {
      {"description: plain: with a colon", "plain: with a colon"},
      {"description: goes\n  on here\n  and here", "goes on here and here"},
      {"description: >\n  folded\n  lines\n\n  more", "folded lines more"},
      {"description: |-\n  kept\n  lines", "kept\nlines"},
      {R"(description: "quoted \"so\" # and so")", "quoted \"so\" # and so"},
      {"description: 'it''s'", "it's"},
      {"description: text # a comment", "text"},
      {"other:\n  description: inner\ndescription: outer", "outer"},
  };
  for (const auto& [lines, description] : table) {
    auto head = skill_head(str("---\r\nname: n\r\n", lines, "\r\n---\r\nname: no\r\n"));
    ASSERT_TRUE(head) << lines;
    EXPECT_EQ(head->name, "n");
    EXPECT_EQ(head->description, description) << lines;
  }
  for (std::string bad : {"", "# text", "---\nname: n\n", "---\nname: \xff\n---\n"})
    EXPECT_FALSE(skill_head(bad)) << bad;
}

TEST(SkillFiles, OneFolderWithASkillMd) {
  auto package = package_skill({{"any/run.sh", "#!/bin/sh\n"}, {"any/SKILL.md", kHead}});
  ASSERT_TRUE(package);
  EXPECT_EQ(package->name, "pdf-forms");
  EXPECT_EQ(package->description, "Fills forms.");
  EXPECT_EQ(package->bytes, kHead.size() + 10);
  EXPECT_NE(refused({}), "");
  EXPECT_NE(refused({{"SKILL.md", kHead}}), "");
  EXPECT_NE(refused({{"a/SKILL.md", kHead}, {"b/x", ""}}), "");
  EXPECT_NE(refused({{"a/skill.md", kHead}}), "");
  EXPECT_NE(refused({{"a/b/SKILL.md", kHead}}), "");
}

TEST(SkillFiles, NamesThatWouldLeaveTheFolderAreRefused) {
  for (std::string path : {"a/../x", "/a/x", "a//x", "a/./x", "a/x/", "a/\\x", "a/\n", "a/ä",
                           "a/\"", "a/SKILL.md", "a/SKILL.md/x"})
    EXPECT_NE(refused({{"a/SKILL.md", kHead}, {path, ""}}), "") << path;
  EXPECT_EQ(refused({{"a/SKILL.md", kHead}, {"a/.b/c d", ""}}), "");
}

TEST(SkillFiles, NameAndDescriptionHaveRules) {
  auto with = [](std::string name, std::string description) {
    return refused(
        {{"a/SKILL.md", str("---\nname: ", name, "\ndescription: ", description, "\n---\n")}});
  };
  EXPECT_EQ(with(std::string(64, 'x'), std::string(1024, 'x')), "");
  for (std::string name : {std::string(65, 'x'), std::string("A"), std::string("a_b"),
                           std::string(""), std::string("my-claude"), std::string("anthropic")})
    EXPECT_NE(with(name, "d"), "") << name;
  EXPECT_NE(with("n", ""), "");
  EXPECT_NE(with("n", std::string(1025, 'x')), "");
}

TEST(SkillFiles, LimitsOfFilesAndBytes) {
  const SkillLimits limits{.files = 2, .bytes = kHead.size() + 1};
  EXPECT_TRUE(package_skill({{"a/SKILL.md", kHead}, {"a/b", "x"}}, limits));
  EXPECT_FALSE(package_skill({{"a/SKILL.md", kHead}, {"a/b", "xy"}}, limits));
  EXPECT_FALSE(package_skill({{"a/SKILL.md", kHead}, {"a/b", ""}, {"a/c", ""}}, limits));
}

TEST(SkillZip, BytesOfAnEmptyAndOfAFile) {
  EXPECT_EQ(zip_of({}), std::string("PK\5\6", 4) + std::string(18, '\0'));
  const std::string zip = zip_of({{"n/a", "123456789"}});
  EXPECT_TRUE(zip.starts_with("PK\3\4"));
  EXPECT_EQ(zip.substr(14, 4), "\x26\x39\xf4\xcb") << "the CRC-32 that everybody checks with";
  EXPECT_EQ(zip.substr(30, 12), "n/a123456789");
  EXPECT_EQ(zip.size(), 30u + 12 + 46 + 3 + 22);
}

TEST_F(Skills, VersionsComeAndGo) {
  auto made = upload("/v1/skills", {{"x/SKILL.md", kHead}});
  ASSERT_EQ(made.status, 200) << json::serialize(made.body);
  EXPECT_EQ(made.text("/display_name"), "pdf-forms");
  EXPECT_EQ(made.text("/source/type"), "custom");
  const std::string skill = "/v1/skills/" + made.text("/id");
  const std::string first = made.text("/latest_version_id");
  auto second = upload(skill + "/versions", {{"x/SKILL.md", kHead}, {"x/more", "m"}});
  EXPECT_EQ(second.text("/name"), "pdf-forms");
  EXPECT_EQ(second.text("/description"), "Fills forms.");
  EXPECT_EQ(get(skill).text("/latest_version_id"), second.text("/id"));
  EXPECT_EQ(get(skill + "/versions/latest").text("/id"), second.text("/id"));
  EXPECT_EQ(get(str(skill, "/versions/", second.text("/version"))).text("/id"), second.text("/id"));
  EXPECT_EQ(get(str(skill, "/versions/", first)).text("/id"), first);
  auto list = get(skill + "/versions?limit=1");
  EXPECT_EQ(list.text("/data/0/id"), second.text("/id"));
  EXPECT_EQ(get(skill + "/versions?limit=1&page=" + list.text("/next_page")).text("/data/0/id"),
            first);
  EXPECT_EQ(call("DELETE", str(skill, "/versions/", second.text("/id"))).text("/type"),
            "skill_version_deleted");
  EXPECT_EQ(get(skill).text("/latest_version_id"), first);
  EXPECT_EQ(get("/v1/skills").text("/data/0/latest_version_id"), first);
  EXPECT_EQ(get("/v1/skills?source=anthropic").text("/data"), "[]");
  EXPECT_EQ(call("DELETE", skill).text("/type"), "skill_deleted");
  EXPECT_EQ(get(str(skill, "/versions/", first)).status, 404);
  EXPECT_EQ(get(skill).status, 404);
}

TEST_F(Skills, ContentIsAZipForWorkersOfAllKinds) {
  auto made = upload("/v1/skills", {{"x/run", "#!/bin/sh\nexit 0\n"}, {"x/SKILL.md", kHead}});
  const std::string latest = str("/v1/skills/", made.text("/id"), "/versions/latest");
  const std::string zip = content(latest + "/content");
  EXPECT_EQ(zip, zip_of({{"pdf-forms/SKILL.md", kHead}, {"pdf-forms/run", "#!/bin/sh\nexit 0\n"}}));
  EXPECT_EQ(content(latest + "/content", kEnv), zip);
  EXPECT_EQ(content(latest + "/content", claim().token), zip);
  EXPECT_EQ(get(latest, kEnv).text("/name"), "pdf-forms");
  EXPECT_EQ(get("/v1/skills", kEnv).status, 403);
}

TEST_F(Skills, WhatCannotBeTakenIsSaid) {
  upload("/v1/skills", {{"x/SKILL.md", kHead}});
  auto taken = upload("/v1/skills", {{"x/SKILL.md", kHead}});
  EXPECT_EQ(taken.status, 409);
  EXPECT_EQ(taken.text("/error/details/error_code"), "skill_name_taken");
  EXPECT_EQ(get("/v1/skills").body.at("data").as_array().size(), 1u);
  const std::string other = "---\nname: other\ndescription: d\n---\n";
  const std::string skill = "/v1/skills/" + get("/v1/skills").text("/data/0/id");
  EXPECT_EQ(upload(skill + "/versions", {{"x/SKILL.md", other}}).status, 400);
  EXPECT_EQ(upload("/v1/skills", {}).text("/error/message"), "files: are required");
  EXPECT_EQ(upload("/v1/skills", {{"x.zip", "PK\x03\x04 and so on"}}).status, 400);
  EXPECT_EQ(post("/v1/skills", "{}").text("/error/message"),
            "the body: must be multipart/form-data");
  EXPECT_EQ(upload("/v1/skills", {{"x/SKILL.md", other}}, "", kEnv).status, 403);
  auto named =
      upload("/v1/skills", {{"x/SKILL.md", other}},
             "--B\r\nContent-Disposition: form-data; name=\"display_name\"\r\n\r\nÖther\r\n");
  EXPECT_EQ(named.text("/display_name"), "Öther");
}

TEST_F(Skills, AgentsNameThemAndSessionsPinThem) {
  auto made = upload("/v1/skills", {{"x/SKILL.md", kHead}});
  const std::string id = made.text("/id"), first = made.text("/latest_version_id");
  EXPECT_EQ(post("/v1/agents", agent_with("skill_none")).status, 404);
  EXPECT_EQ(post("/v1/agents", agent_with(id, R"(,"version":"skver_none")")).status, 404);
  auto agent = post("/v1/agents", agent_with(id));
  EXPECT_EQ(agent.text("/skills/0/version"), "latest");
  const std::string session = make(
      "/v1/sessions",
      str(R"({"agent":")", agent.text("/id"), R"(","environment_id":")", environment_, R"("})"));
  upload(str("/v1/skills/", id, "/versions"), {{"x/SKILL.md", kHead}});
  auto row = get("/v1/sessions/" + session);
  EXPECT_EQ(row.text("/agent/skills/0/skill_id"), id);
  EXPECT_EQ(row.text("/agent/skills/0/version"), first);
  const std::string prompt = skill_prompt(json::serialize(row.body.at("agent")));
  EXPECT_TRUE(prompt.contains("\n- skills/pdf-forms/SKILL.md: Fills forms.\n")) << prompt;
  EXPECT_EQ(post("/v1/agents/" + agent.text("/id"), R"({"tools":[]})").text("/error/message"),
            "skills: need tools to read them with");
  call("DELETE", "/v1/skills/" + id);
  EXPECT_EQ(post("/v1/sessions", str(R"({"agent":")", agent.text("/id"), R"(","environment_id":")",
                                     environment_, R"("})"))
                .status,
            404);
  EXPECT_EQ(post("/v1/agents/" + agent.text("/id"), R"({"name":"b"})").status, 200);
  EXPECT_EQ(post("/v1/agents/" + agent.text("/id"), R"({"skills":null})").text("/skills"), "[]");
}

}  // namespace glovebox::brain
