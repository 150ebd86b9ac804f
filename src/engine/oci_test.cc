#include "engine/oci.h"

#include <gmock/gmock.h>

#include "engine/image_records.h"
#include "engine/registry.h"

namespace glovebox::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(Oci, ADigestIsNothingButADigest) {
  EXPECT_TRUE(check_digest(kDigest));
  for (auto wrong : {"", "sha256:", "sha256:../../etc/passwd", "md5:aaaa"})
    EXPECT_FALSE(check_digest(wrong)) << wrong;
  EXPECT_FALSE(check_digest("sha256:" + std::string(64, 'A')));
  EXPECT_FALSE(check_digest(kDigest + "a"));
}

TEST(Oci, ChoosesTheManifestOfThisMachineOrSaysWhichThereAre) {
  auto entry = [](std::string_view os, std::string_view machine) {
    return str(R"({"mediaType":"m","digest":")", kDigest, R"(","platform":{"os":")", os,
               R"(","architecture":")", machine, "\"}}");
  };
  auto chosen = choose_manifest(str("{\"manifests\":[", entry("unknown", "unknown"), ",",
                                    entry("linux", "amd64"), ",", entry("linux", "arm64"), "]}"));
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->digest, kDigest);
  auto none = choose_manifest(str("{\"manifests\":[", entry("linux", "m68k"), "]}"));
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().what, HasSubstr("m68k"));
  EXPECT_FALSE(choose_manifest("{}"));
  EXPECT_FALSE(choose_manifest("[1"));
}

TEST(Oci, AManifestWithALayerThatIsNoTarIsRefused) {
  auto manifest = [](std::string_view type) {
    return str(R"({"config":{"digest":")", kDigest, R"("},"layers":[{"digest":")", kDigest,
               R"(","size":5,"mediaType":")", type, "\"}]}");
  };
  auto good = decode_manifest(manifest("application/vnd.oci.image.layer.v1.tar+zstd"));
  ASSERT_TRUE(good);
  EXPECT_THAT(good->layers, ElementsAre(kDigest));
  EXPECT_THAT(good->sizes, ElementsAre(5));
  EXPECT_FALSE(decode_manifest(manifest("application/vnd.oci.image.layer.v1.tar+encrypted")));
  EXPECT_FALSE(decode_manifest(manifest("text/html")));
  EXPECT_FALSE(decode_manifest("{\"schemaVersion\":1}"));
}

TEST(Oci, AConfigurationOfWrongTypesIsAnEmptyOne) {
  auto config = decode_oci_config(R"({"config":{"Env":["A=1",5],"Cmd":null,"User":7}})");
  ASSERT_TRUE(config);
  EXPECT_THAT(config->env, ElementsAre("A=1"));
  EXPECT_EQ(config->user, "");
  EXPECT_FALSE(decode_oci_config(R"({"os":"windows","config":{}})"));
  auto again = decode_image_config(encode(*config));
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *config);
}

TEST(ImageConfig, WhatNoLauncherTakesIsRefused) {
  EXPECT_TRUE(check(ImageConfig{.env = {"A=" + std::string(30'000, 'x')}, .cwd = "/", .user = ""}));
  for (const ImageConfig& wrong :
       {ImageConfig{.env = std::vector<std::string>(1001, "A=1")},
        ImageConfig{.env = {std::string(40'000, 'x')}},
        ImageConfig{.env = std::vector<std::string>(3, std::string(30'000, 'x'))},
        ImageConfig{.cwd = std::string(5000, '/')}, ImageConfig{.user = std::string(65, 'u')}}) {
    auto refused = check(wrong);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::invalid);
  }
}

TEST(Reference, HasAHostARepositoryAndATag) {
  auto short_one = parse_reference("debian");
  ASSERT_TRUE(short_one);
  EXPECT_EQ(short_one->host, "registry-1.docker.io");
  EXPECT_EQ(short_one->repository, "library/debian");
  EXPECT_EQ(short_one->text, "docker.io/library/debian:latest");
  EXPECT_FALSE(short_one->plain);
  auto local = parse_reference("127.0.0.1:5000/a/b:1");
  ASSERT_TRUE(local);
  EXPECT_EQ(local->host, "127.0.0.1:5000");
  EXPECT_EQ(local->repository, "a/b");
  EXPECT_EQ(local->tag, "1");
  EXPECT_TRUE(local->plain);
  EXPECT_TRUE(parse_reference("localhost:5000/a/b")->plain);
  EXPECT_TRUE(parse_reference("[::1]:5000/a/b")->plain);
  for (auto foreign : {"127.example.org/a/b", "127.0.0.1.example.org:5000/a/b", "10.0.0.1/a/b"})
    EXPECT_FALSE(parse_reference(foreign)->plain) << foreign;
  auto pinned = parse_reference("ghcr.io/o/n:tag@" + kDigest);
  ASSERT_TRUE(pinned);
  EXPECT_EQ(pinned->tag, kDigest);
  for (auto wrong : {"", "UPPER/x", "a b", "x@sha256:1", "../x", "a//b", "http://x/y"})
    EXPECT_FALSE(parse_reference(wrong)) << wrong;
}

TEST(Challenge, IsTakenApartWithCommasInQuotes) {
  auto challenge = parse_challenge(
      R"(Bearer realm="https://auth/token",service="a, b",scope="repository:x:pull")");
  EXPECT_EQ(challenge.scheme, "bearer");
  EXPECT_EQ(challenge.realm, "https://auth/token");
  EXPECT_EQ(challenge.service, "a, b");
  EXPECT_EQ(challenge.scope, "repository:x:pull");
  EXPECT_EQ(parse_challenge("Basic").scheme, "basic");
  EXPECT_EQ(parse_challenge("Bearer realm=\"open").realm, "");
}

TEST(ImageRecords, ARootStaysWhileSomebodyNeedsIt) {
  auto records = ImageRecords::open(":memory:");
  ASSERT_TRUE(records);
  for (auto [key, parent] : {std::pair{"base", ""}, {"top", "base"}, {"other", "base"}})
    ASSERT_TRUE(records->put_root({.key = key, .parent = parent, .reuse = false}, 1));
  ASSERT_TRUE(records->put_image({.name = "a", .id = "i", .root = "top"}));
  EXPECT_THAT(*records->unused_roots(100), ElementsAre("other"));
  ASSERT_TRUE(records->hold({"box", "other", {}}));
  EXPECT_TRUE(records->unused_roots(100)->empty());
  ASSERT_TRUE(records->remove_image("a"));
  EXPECT_THAT(*records->unused_roots(100), ElementsAre("top"));
  ASSERT_TRUE(records->release("box"));
  EXPECT_EQ(records->unused_roots(100)->size(), 3u);
}

TEST(ImageRecords, ARootThatSomebodyTookMeanwhileIsNotRemoved) {
  auto records = ImageRecords::open(":memory:");
  ASSERT_TRUE(records);
  ASSERT_TRUE(records->put_root({.key = "base", .reuse = false}, 1));
  ASSERT_TRUE(records->put_root({.key = "top", .parent = "base", .reuse = false}, 1));
  ASSERT_EQ(records->unused_roots(100)->size(), 2u);
  ASSERT_TRUE(records->hold({"box", "top", {}}));
  EXPECT_FALSE(*records->remove_unneeded_root("top"));
  EXPECT_FALSE(*records->remove_unneeded_root("base"));
  EXPECT_TRUE(records->root("base"));
  ASSERT_TRUE(records->release("box"));
  EXPECT_TRUE(*records->remove_unneeded_root("top"));
  EXPECT_FALSE(records->root("top"));
  EXPECT_FALSE(*records->remove_unneeded_root("top"));
}

TEST(ImageRecords, WhatIsForReuseStaysForItsTime) {
  auto records = ImageRecords::open(":memory:");
  ASSERT_TRUE(records);
  ASSERT_TRUE(records->put_root({.key = "step"}, 50));
  EXPECT_TRUE(records->unused_roots(50)->empty());
  EXPECT_THAT(*records->unused_roots(51), ElementsAre("step"));
  ASSERT_TRUE(records->end_reuse("step"));
  EXPECT_THAT(*records->unused_roots(0), ElementsAre("step"));
}

TEST(ImageRecords, ANameIsFoundWithoutLatest) {
  auto records = ImageRecords::open(":memory:");
  ASSERT_TRUE(records);
  ASSERT_TRUE(records->put_image({.name = "x:latest", .id = "sha256:1", .root = "r"}));
  EXPECT_EQ((*records->image("x"))->name, "x:latest");
  EXPECT_EQ((*records->image("sha256:1"))->name, "x:latest");
  EXPECT_FALSE(*records->image("x:1"));
}

}  // namespace
}  // namespace glovebox::engine
