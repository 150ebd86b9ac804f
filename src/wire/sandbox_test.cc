#include "wire/sandbox.h"

#include <gtest/gtest.h>

namespace glovebox::wire {
namespace {

TEST(Names, AreTheApisNames) {
  for (auto good : {"a", "a-b", "agent-1", "tl-integ-named-sbx", "a2345678901234567890123", "a--b"})
    EXPECT_TRUE(valid_name(good)) << good;
  for (auto bad : {"", "A", "1a", "-a", "a-", "a_b", "a.b", "a b", "ä", "5gm9wex8dm6ko1ed441ym",
                   "agm9wex8dm6ko1ed441ym"})
    EXPECT_FALSE(valid_name(bad)) << bad;
  EXPECT_TRUE(valid_name(std::string(63, 'a')));
  EXPECT_FALSE(valid_name(std::string(64, 'a')));
}

TEST(Create, TheDefaultsAreTheApis) {
  for (auto body :
       {"", "{}", " {} ", R"({"image":null,"resources":null,"name":null,"network":null})"}) {
    auto create = decode_create(body);
    ASSERT_TRUE(create) << create.error().what;
    EXPECT_EQ(create->image, "");
    EXPECT_EQ(create->resources.cpus, 1.0);
    EXPECT_EQ(create->resources.memory_mb, 1024);
    EXPECT_EQ(create->resources.disk_mb, 10240);
    EXPECT_FALSE(create->timeout_secs);
    EXPECT_FALSE(create->network);
  }
}

TEST(Create, EveryMemberArrives) {
  auto create = decode_create(R"({"image":"tensorlake/ubuntu-minimal",
    "resources":{"cpus":0.5,"memory_mb":512.0,"disk_mb":2048,"gpus":[{"count":1,"model":"T4"}]},
    "timeout_secs":0,"entrypoint":["sleep","300"],"name":"box-1","exposed_ports":[80,8080],
    "network":{"allow_internet_access":false,"allow_out":["10.0.0.0/8","*.example.com:443"]},
    "allow_unauthenticated_proxy_access":true,"snapshot_id":"s1","secret_names":[],
    "file_systems":[{"file_system_id":"v1","mount_path":"/data","read_only":true,"prefetch":true}],
    "template_id":"t","isolation":"namespace"})");
  ASSERT_TRUE(create) << create.error().what;
  EXPECT_EQ(create->image, "tensorlake/ubuntu-minimal");
  EXPECT_EQ(create->resources.cpus, 0.5);
  EXPECT_EQ(create->resources.memory_mb, 512);
  EXPECT_EQ(create->resources.disk_mb, 2048);
  EXPECT_EQ(create->timeout_secs, 0);
  EXPECT_EQ(create->entrypoint, (std::vector<std::string>{"sleep", "300"}));
  EXPECT_EQ(create->exposed_ports, (std::vector<int>{80, 8080}));
  EXPECT_FALSE(create->network->allow_internet_access);
  EXPECT_EQ(create->network->allow_out.size(), 2u);
  EXPECT_TRUE(create->allow_unauthenticated_access);
  EXPECT_TRUE(create->has_gpus);
  EXPECT_EQ(create->file_systems, (std::vector<FileSystem>{{"v1", "/data", true}}));
  EXPECT_FALSE(create->has_secrets);
  EXPECT_EQ(create->snapshot_id, "s1");
  EXPECT_EQ(create->template_id, "t");
}

TEST(Create, TheErrorNamesTheMember) {
  struct {
    const char *body, *named;
  } cases[] = {
      {"nonsense", "JSON"},
      {"{", "JSON"},
      {"{}{}", "JSON"},
      {"[]", "object"},
      {"\"x\"", "object"},
      {"{\"image\":\"\xff\"}", "JSON"},
      {R"({"image":7})", "image"},
      {R"({"image":"a b"})", "image"},
      {R"({"image":"a\u0000b"})", "image"},
      {R"({"resources":[]})", "resources"},
      {R"({"resources":{"cpus":0}})", "resources.cpus"},
      {R"({"resources":{"cpus":1e308}})", "resources.cpus"},
      {R"({"resources":{"cpus":"1"}})", "resources.cpus"},
      {R"({"resources":{"memory_mb":1.5}})", "resources.memory_mb"},
      {R"({"resources":{"memory_mb":1}})", "resources.memory_mb"},
      {R"({"resources":{"memory_mb":-1}})", "resources.memory_mb"},
      {R"({"resources":{"memory_mb":1e300}})", "resources.memory_mb"},
      {R"({"resources":{"memory_mb":18446744073709551615}})", "resources.memory_mb"},
      {R"({"resources":{"disk_mb":true}})", "resources.disk_mb"},
      {R"({"timeout_secs":-1})", "timeout_secs"},
      {R"({"timeout_secs":"600"})", "timeout_secs"},
      {R"({"entrypoint":"sleep"})", "entrypoint"},
      {R"({"entrypoint":["sleep",3]})", "entrypoint"},
      {R"({"entrypoint":[""]})", "entrypoint"},
      {R"({"name":""})", "name"},
      {R"({"name":"Box"})", "name"},
      {R"({"name":5})", "name"},
      {R"({"exposed_ports":[0]})", "exposed_ports"},
      {R"({"exposed_ports":[65536]})", "exposed_ports"},
      {R"({"exposed_ports":[80,80]})", "exposed_ports"},
      {R"({"exposed_ports":[9501]})", "exposed_ports"},
      {R"({"exposed_ports":80})", "exposed_ports"},
      {R"({"network":{"allow_out":["a b"]}})", "network.allow_out"},
      {R"({"network":{"deny_out":[""]}})", "network.deny_out"},
      {R"({"network":true})", "network"},
      {R"({"file_systems":{}})", "file_systems"},
      {R"({"file_systems":[{"mount_path":"/data"}]})", "file_systems.file_system_id"},
      {R"({"file_systems":[{"file_system_id":"v1","mount_path":"data"}]})",
       "file_systems.mount_path"},
      {R"({"file_systems":[{"file_system_id":"v1","mount_path":"/data","snapshot_id":"s"}]})",
       "file_systems.snapshot_id"},
      {R"({"isolation":"none"})", "isolation"},
      {R"({"allow_unauthenticated_access":1})", "allow_unauthenticated_access"},
  };
  for (auto& [body, named] : cases) {
    auto create = decode_create(body);
    ASSERT_FALSE(create) << body;
    EXPECT_EQ(create.error().code, Code::invalid) << body;
    EXPECT_NE(create.error().what.find(named), std::string::npos)
        << body << ": " << create.error().what;
  }
  EXPECT_FALSE(decode_create(std::string(100'000, '[')));
}

TEST(Create, UnknownMembersAreCountedAndIgnored) {
  auto before = unknown_members();
  ASSERT_TRUE(decode_create(R"({"name":"a","hue":1,"resources":{"cpus":1,"smell":null}})"));
  EXPECT_EQ(unknown_members(), before + 2);
}

TEST(Update, NullClearsTheNetworkAndAbsentKeepsIt) {
  auto keep = decode_update(R"({"name":"a"})"), clear = decode_update(R"({"network":null})"),
       replace = decode_update(R"({"network":{}})"), nothing = decode_update("{}");
  EXPECT_FALSE(keep->clear_network || keep->network);
  EXPECT_TRUE(clear->clear_network && !clear->network);
  EXPECT_TRUE(!replace->clear_network && replace->network->allow_internet_access);
  EXPECT_FALSE(keep->empty() || clear->empty() || replace->empty());
  EXPECT_TRUE(nothing->empty());
}

SandboxRecord full_record() {
  SandboxRecord record;
  record.id = "5gm9wex8dm6ko1ed441ym";
  record.name = "box";
  record.status = State::running;
  record.tier = "active";
  record.image = "host";
  record.resources = {0.5, 512, 2048};
  record.entrypoint = {"sleep", "300"};
  record.network = Network{false, {"a.example"}, {}};
  record.exposed_ports = {80};
  record.created_at = 1'700'000'000'123;
  record.sandbox_url = "http://127.0.0.1:8410";
  record.generation = 4;
  return record;
}

TEST(Record, HasOneIdMemberAndNeverTwo) {
  std::string record = encode_record(full_record()), created = encode_created(full_record());
  EXPECT_NE(record.find("\"id\":"), std::string::npos);
  EXPECT_EQ(record.find("\"sandbox_id\":"), std::string::npos);
  EXPECT_EQ(created.find("\"id\":"), std::string::npos);
  EXPECT_NE(created.find("\"sandbox_id\":"), std::string::npos);
}

TEST(Record, IntegersAreWrittenAsIntegersAndNothingIsNull) {
  SandboxRecord record;
  std::string json = encode_record(record);
  EXPECT_NE(json.find("\"cpus\":1.0,\"memory_mb\":1024,"), std::string::npos) << json;
  EXPECT_NE(json.find("\"allow_unauthenticated_access\":false"), std::string::npos) << json;
  EXPECT_EQ(json.find("null"), std::string::npos) << json;
  for (const auto& text : {encode_created(record), encode_claimed_with_file_systems(record)})
    EXPECT_NE(text.find("\"cpus\":1.0,"), std::string::npos) << text;
}

TEST(Record, ComesBackAsItWent) {
  SandboxRecord sent = full_record();
  for (auto text : {encode_record(sent), encode_created(sent)}) {
    auto seen = decode_record(text);
    ASSERT_TRUE(seen) << seen.error().what;
    EXPECT_EQ(encode_record(*seen), encode_record(sent));
  }
  std::string next;
  auto list = decode_list(encode_list({sent, sent}, "n1", ""), &next);
  ASSERT_TRUE(list) << list.error().what;
  EXPECT_EQ(list->size(), 2u);
  EXPECT_EQ(next, "n1");
}

TEST(Record, AStateWeDoNotKnowIsAnError) {
  EXPECT_FALSE(decode_record(R"({"id":"x","status":"failed"})"));
  EXPECT_FALSE(decode_record(R"({"status":"running"})"));
}

}  // namespace
}  // namespace glovebox::wire
