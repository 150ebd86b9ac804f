#include "cli/target.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace glovebox::cli {
namespace {

namespace fs = std::filesystem;

class Target : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "glovebox-target-XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(pattern.data()));
    state_ = pattern;
    fs::create_directories(state_ + "/run");
    fs::create_directories(state_ + "/keys");
    std::ofstream(state_ + "/keys/engine") << "the-key-of-this-instance\n";
    std::ofstream(state_ + "/keys/brain") << "gb-api-of-this-instance\n";
  }
  void TearDown() override { fs::remove_all(state_); }
  void up(std::string_view url) {
    std::ofstream(state_ + "/run/endpoints.json")
        << R"({"pid":1,"parts":{"engine":{"url":")" << url << "\"}}}";
  }
  Context context(Environment env = {}) const {
    env.emplace("GLOVEBOX_STATE", state_);
    return Context{.env = std::move(env)};
  }
  std::string state_;
};

TEST_F(Target, IsWhatUpWroteWithTheKeyFile) {
  up("http://127.0.0.1:8410");
  auto found = find_engine(context());
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->url.port, 8410);
  EXPECT_TRUE(found->key.equals("the-key-of-this-instance"));
}

TEST_F(Target, WithoutAnEngineSaysHowToStartOne) {
  auto found = find_engine(context());
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().what.find("glovebox up --detach"), std::string::npos);
}

TEST_F(Target, FlagBeatsVariableBeatsFile) {
  up("http://127.0.0.1:1");
  Context given = context({{"TENSORLAKE_API_URL", "http://127.0.0.1:2/"}});
  EXPECT_EQ(find_engine(given)->url.port, 2);
  EXPECT_EQ(find_engine(given)->text, "http://127.0.0.1:2");
  given.url = "http://127.0.0.1:3";
  EXPECT_EQ(find_engine(given)->url.port, 3);
}

TEST_F(Target, TheKeyFileIsNeverSentToAnotherMachine) {
  EXPECT_TRUE(find_engine(context({{"TENSORLAKE_API_URL", "http://10.0.0.5:1"}}))->key.empty());
  EXPECT_TRUE(
      find_engine(context({{"TENSORLAKE_API_URL", "http://127.evil.example"}}))->key.empty());
  auto named = find_engine(
      context({{"TENSORLAKE_API_URL", "http://10.0.0.5:1"}, {"TENSORLAKE_API_KEY", "given"}}));
  EXPECT_TRUE(named->key.equals("given"));
}

TEST_F(Target, TheBrainIsWhatUpWroteAndNothingElseIsSentThere) {
  std::ofstream(state_ + "/run/endpoints.json")
      << R"({"pid":1,"parts":{"brain":{"url":"http://127.0.0.1:8400"}}})";
  auto found = find_brain(context({{"ANTHROPIC_API_KEY", "sk-ant-of-a-model"}}));
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->url.port, 8400);
  EXPECT_TRUE(found->key.equals("gb-api-of-this-instance"));
}

TEST_F(Target, ABrainElsewhereIsOpenedByTheVariable) {
  Context given = context(
      {{"ANTHROPIC_API_KEY", "sk-ant-x"}, {"GLOVEBOX_BRAIN_URL", "https://api.anthropic.com"}});
  EXPECT_TRUE(find_brain(given)->key.equals("sk-ant-x"));
  given.env["ANTHROPIC_API_KEY"] = "gb-api-ours";  // never to a model's service
  EXPECT_FALSE(find_brain(given));
  given.env.erase("ANTHROPIC_API_KEY");
  EXPECT_TRUE(find_brain(given)->key.empty());
}

TEST_F(Target, ABrainOnThisMachineThatWasNamedTakesAKeyOfOurs) {
  Context given = context({{"GLOVEBOX_BRAIN_URL", "http://127.0.0.1:9"}});
  EXPECT_TRUE(find_brain(given)->key.equals("gb-api-of-this-instance"));
  given.env["ANTHROPIC_API_KEY"] = "gb-api-of-another";
  EXPECT_TRUE(find_brain(given)->key.equals("gb-api-of-another"));
  given.env["ANTHROPIC_API_KEY"] = "sk-ant-of-a-model";
  EXPECT_TRUE(find_brain(given)->key.equals("gb-api-of-this-instance"));
}

TEST_F(Target, WithoutABrainSaysHowToStartOne) {
  up("http://127.0.0.1:8410");  // an engine alone
  EXPECT_NE(find_brain(context()).error().what.find("no brain runs"), std::string::npos);
  fs::remove(state_ + "/run/endpoints.json");
  EXPECT_NE(find_brain(context()).error().what.find("glovebox up --detach"), std::string::npos);
}

TEST_F(Target, TheIngressCertificateCountsForItsOwnDomainAlone) {
  EXPECT_EQ(trusted_certificates(context()), "");  // nobody says for which
  std::ofstream(state_ + "/run/endpoints.json")
      << R"({"pid":1,"ingress_domain":"boxes.example.org","parts":{}})";
  EXPECT_EQ(trusted_certificates(context()), "boxes.example.org=" + state_ + "/ingress/ca.pem");
  EXPECT_EQ(trusted_certificates(context({{"GLOVEBOX_CA_FILE", "/some/ca.pem"}})), "/some/ca.pem");
}

TEST_F(Target, WhereAPortIsToBeFoundIsKnownWhereTheIngressRunsHere) {
  up("http://127.0.0.1:8410");
  EXPECT_EQ(ingress_url(context(), "8080-web"), "");
  std::ofstream(state_ + "/run/endpoints.json")
      << R"({"pid":1,"ingress_domain":"boxes.example.org","parts":{"ingress":{"url":"http://127.0.0.1:9443"}}})";
  EXPECT_EQ(ingress_url(context(), "8080-web"), "https://8080-web.boxes.example.org:9443");
  EXPECT_EQ(ingress_url(context({{"TENSORLAKE_API_URL", "http://127.0.0.1:1"}}), "8080-web"), "");
}

TEST_F(Target, MalformedUrlIsWrongUsage) {
  Context given = context();
  given.url = "not a url";
  EXPECT_TRUE(is_usage_error(find_engine(given).error()));
}

TEST(LifecycleOrigin, FollowsTheSdk) {
  Origin local = lifecycle_origin(*http::Url::parse("http://127.0.0.1:8410"), "default");
  EXPECT_EQ(local.url.host, "127.0.0.1");
  EXPECT_EQ(local.prefix, "/v1/namespaces/default");
  Origin cloud = lifecycle_origin(*http::Url::parse("https://api.box.example"), "default");
  EXPECT_EQ(cloud.url.host, "sandbox.box.example");
  EXPECT_EQ(cloud.prefix, "");
}

TEST(DataPlane, SaysWhichBoxAsTheSdkDoes) {
  auto local = data_plane("http://127.0.0.1:8410/s", "abc");
  EXPECT_EQ(local->headers.get("Host"), "abc.local");
  EXPECT_EQ(local->url.path_prefix, "/s");
  auto other = data_plane("http://127.0.0.2:8410/s", "abc");
  EXPECT_FALSE(other->headers.get("Host"));
  EXPECT_EQ(other->headers.get("X-Tensorlake-Sandbox-Id"), "abc");
  EXPECT_EQ(other->url.path_prefix, "");
  EXPECT_FALSE(data_plane("", "abc"));
}

}  // namespace
}  // namespace glovebox::cli
