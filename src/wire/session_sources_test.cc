#include "wire/session_sources.h"

#include <gtest/gtest.h>

namespace glovebox::wire {
namespace {

using Kind = SessionSource::Kind;

SessionSources read(std::string_view key, std::string_view value) {
  SessionSources sources;
  auto added = add_sources(sources, key, value);
  EXPECT_TRUE(added) << added.error().what;
  return sources;
}

TEST(SessionSources, EachKindAndWhereItGoes) {
  auto files = read("glovebox.files",
                    " file_01Ab  in/data.csv=https://example.com/x?a=b&c=d\n"
                    "https://example.com/deep/set.tar.gz volume:models/small dir:seeds "
                    "/opt/set/=https://example.com/set.tgz");
  ASSERT_EQ(files.all.size(), 6u);
  EXPECT_EQ(files.all[0].kind, Kind::file);
  EXPECT_EQ(files.all[0].target, "/mnt/session/uploads/file_01Ab");
  EXPECT_EQ(files.all[1].what, "https://example.com/x?a=b&c=d");
  EXPECT_EQ(files.all[1].target, "/workspace/in/data.csv");
  EXPECT_EQ(files.all[2].target, "/workspace/set.tar.gz");
  EXPECT_FALSE(files.all[2].unpack);
  EXPECT_EQ(files.all[3].kind, Kind::volume);
  EXPECT_EQ(files.all[3].what + "|" + files.all[3].below, "models|small");
  EXPECT_EQ(files.all[3].target, "/workspace/small");
  EXPECT_EQ(files.all[4].kind, Kind::directory);
  EXPECT_EQ(files.all[4].target, "/workspace/seeds");
  EXPECT_EQ(files.all[5].target, "/opt/set");
  EXPECT_TRUE(files.all[5].unpack);

  auto git =
      read("glovebox.git.more", "https://example.com/a/tool.git#v1.2 src=https://example.com/b/");
  ASSERT_EQ(git.all.size(), 2u);
  EXPECT_EQ(git.all[0].what, "https://example.com/a/tool.git");
  EXPECT_EQ(git.all[0].ref, "v1.2");
  EXPECT_EQ(git.all[0].target, "/workspace/tool");
  EXPECT_EQ(git.all[1].what, "https://example.com/b");
  EXPECT_EQ(git.all[1].target, "/workspace/src");
  EXPECT_EQ(read("glovebox.git_depth", "0").git_depth, 0);
}

TEST(SessionSources, OtherKeysAreLeftAlone) {
  for (const char* key : {"session.image", "glovebox.filesystem", "glovebox.gitlab", "files"}) {
    EXPECT_FALSE(names_sources(key)) << key;
    EXPECT_TRUE(read(key, "/etc/shadow").all.empty());
  }
  EXPECT_TRUE(names_sources("glovebox.files.2"));
}

TEST(SessionSources, WhatIsNoSourceIsRefusedByName) {
  struct Case {
    const char *key, *value;
  } cases[] = {
      {"glovebox.files", "/etc/passwd"},
      {"glovebox.files", "x=/etc/passwd"},
      {"glovebox.files", "x=file:///etc/passwd"},
      {"glovebox.files", "http://example.com/x"},
      {"glovebox.files", "https://user:pass@example.com/x"},
      {"glovebox.files", "https://example.com/"},
      {"glovebox.files", "https://example.com"},
      {"glovebox.files", "https:///x"},
      {"glovebox.files", "https://example.com/x#part"},
      {"glovebox.files", "../x=file_1"},
      {"glovebox.files", "a/../../x=file_1"},
      {"glovebox.files", "/=file_1"},
      {"glovebox.files", "=file_1"},
      {"glovebox.files", "a//b=file_1"},
      {"glovebox.files", "file_1/../2"},
      {"glovebox.files", "x=volume:/etc"},
      {"glovebox.files", "dir:seeds/../.."},
      {"glovebox.files", "dir:"},
      {"glovebox.files", "dir:seeds/a\x01"},
      {"glovebox.files", "volume:\xff/x"},
      {"glovebox.files", "x=file_1 x=file_2"},
      {"glovebox.git", "ssh://git@example.com/x"},
      {"glovebox.git", "git@example.com:x/y.git"},
      {"glovebox.git", "git://example.com/x"},
      {"glovebox.git", "ext::sh -c touch%20/tmp/x"},
      {"glovebox.git", "file:///srv/x.git"},
      {"glovebox.git", "/srv/x.git"},
      {"glovebox.git", "--upload-pack=touch"},
      {"glovebox.git", "https://example.com/x#--orphan"},
      {"glovebox.git", "https://example.com/x#a..b"},
      {"glovebox.git", "https://example.com/x#"},
      {"glovebox.git", "https://example.com/x?service=y"},
      {"glovebox.git_depth", "-1"},
      {"glovebox.git_depth", "many"},
  };
  for (const auto& [key, value] : cases) {
    SessionSources sources;
    auto added = add_sources(sources, key, value);
    ASSERT_FALSE(added) << value;
    EXPECT_EQ(added.error().code, Code::invalid) << value;
    EXPECT_NE(added.error().what.find(key), std::string::npos) << added.error().what;
  }
}

TEST(SessionSources, AFileIsNamedOnlyByTheKeysOfFiles) {
  EXPECT_TRUE(names_file(R"({"glovebox.files":"file_1 a=file_2"})", "file_2"));
  EXPECT_TRUE(names_file(R"({"glovebox.files.b":"a=file_2"})", "file_2"));
  EXPECT_FALSE(names_file(R"({"note":"file_2","glovebox.git":"file_2"})", "file_2"));
  EXPECT_FALSE(names_file(R"({"glovebox.files":"file_22"})", "file_2"));
  EXPECT_FALSE(names_file("", "file_2"));
}

}  // namespace
}  // namespace glovebox::wire
