#include "wire/pool.h"

#include <gtest/gtest.h>

namespace glovebox::wire {

TEST(Pool, DefaultsAreTheApis) {
  auto spec = decode_pool_spec(R"({"image":"host"})");
  ASSERT_TRUE(spec) << spec.error().what;
  EXPECT_EQ(spec->image, "host");
  EXPECT_EQ(spec->resources.cpus, 1.0);
  EXPECT_EQ(spec->resources.memory_mb, 1024);
  EXPECT_EQ(spec->resources.disk_mb, 1024);
  EXPECT_EQ(spec->timeout_secs, 0);
  EXPECT_FALSE(spec->max_containers);
  EXPECT_FALSE(spec->warm_containers);
  EXPECT_TRUE(spec->keep_network);
}

TEST(Pool, ImageIsRequired) {
  EXPECT_FALSE(decode_pool_spec("{}"));
  EXPECT_FALSE(decode_pool_spec(R"({"image":""})"));
  EXPECT_FALSE(decode_pool_spec(R"({"image":"a b"})"));
}

TEST(Pool, NumbersHaveBounds) {
  EXPECT_FALSE(decode_pool_spec(R"({"image":"x","warm_containers":-1})"));
  EXPECT_FALSE(decode_pool_spec(R"({"image":"x","max_containers":1.5})"));
  EXPECT_FALSE(decode_pool_spec(R"({"image":"x","max_containers":1000000})"));
  EXPECT_FALSE(decode_pool_spec(R"({"image":"x","timeout_secs":-1})"));
  EXPECT_FALSE(decode_pool_spec(R"({"image":"x","resources":{"memory_mb":1}})"));
}

TEST(Pool, NetworkIsKeptClearedOrReplaced) {
  auto kept = decode_pool_spec(R"({"image":"x"})");
  auto cleared = decode_pool_spec(R"({"image":"x","network":null})");
  auto replaced = decode_pool_spec(R"({"image":"x","network":{"allow_internet_access":false}})");
  ASSERT_TRUE(kept && cleared && replaced);
  EXPECT_TRUE(kept->keep_network);
  EXPECT_FALSE(cleared->keep_network);
  EXPECT_FALSE(cleared->network);
  ASSERT_TRUE(replaced->network);
  EXPECT_FALSE(replaced->network->allow_internet_access);
}

TEST(Pool, RowReadsBackWhatWasWritten) {
  auto spec = decode_pool_spec(
      R"({"image":"tensorlake/ubuntu-minimal","resources":{"cpus":0.5,"memory_mb":256,"ephemeral_disk_mb":2048},
          "timeout_secs":30,"entrypoint":["sleep","300"],"max_containers":3,"warm_containers":2,
          "network":{"allow_out":["10.0.0.1"]}})");
  ASSERT_TRUE(spec) << spec.error().what;
  Pool pool{.id = "p", .spec = *spec, .created_at = 5, .updated_at = 6};
  auto back = decode_pool(encode_pool(pool));
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(encode_pool(*back), encode_pool(pool));
  EXPECT_EQ(back->spec.resources.disk_mb, 2048);
  EXPECT_EQ(back->spec.max_containers, 3);
}

TEST(Pool, AClaimMayBringAName) {
  auto
      nothing = decode_claim(""),
      some = decode_claim(
          R"({"file_systems":[{"file_system_id":"v","mount_path":"/d"}],"name":"mine","timeout_secs":9})");
  ASSERT_TRUE(nothing && some);
  EXPECT_TRUE(nothing->name.empty() && nothing->file_systems.empty() && !nothing->timeout_secs);
  EXPECT_EQ(some->name, "mine");
  EXPECT_EQ(some->timeout_secs, 9);
  EXPECT_EQ(some->file_systems, (std::vector<FileSystem>{{"v", "/d", false}}));
  for (auto bad : {R"({"name":"No Name"})", R"({"file_systems":[{}]})", R"({"timeout_secs":-1})"})
    EXPECT_FALSE(decode_claim(bad)) << bad;
}

TEST(Pool, WarmContainersHaveNoSandbox) {
  Pool pool{.id = "p", .spec = {.image = "x"}};
  std::string text = encode_pool(pool, {{"a", ""}, {"b", "b"}});
  EXPECT_NE(text.find(R"({"id":"a","state":"Idle","sandbox_id":null,"executor_id":"local"})"),
            text.npos)
      << text;
  EXPECT_NE(text.find(R"({"id":"b","state":"Running","sandbox_id":"b","executor_id":"local"})"),
            text.npos)
      << text;
}

}  // namespace glovebox::wire
