// Files: the API around them.
#include "brain/served.h"
#include "brain/sqlite_store.h"

namespace glovebox::brain {
namespace {

struct Files : Served {
  Answer upload(std::string content, std::string more = "",
                std::string head = R"(name="file"; filename="note.txt")", std::string key = kApi) {
    http::Headers headers;
    headers.set("Content-Type", "multipart/form-data; boundary=B");
    return call("POST", "/v1/files",
                str(more, "--B\r\nContent-Disposition: form-data; ", head,
                    "\r\nContent-Type: text/plain\r\n\r\n", content, "\r\n--B--\r\n"),
                key, headers);
  }
  static std::string expires(std::string seconds) {
    return str("--B\r\nContent-Disposition: form-data; name=\"expires_in_seconds\"\r\n\r\n",
               seconds, "\r\n");
  }
};

}  // namespace

TEST_F(Files, WhatIsUploadedIsGivenBackUntilItIsDeleted) {
  const std::string bytes = std::string("\0\r\n--x\xff", 8);
  auto made = upload(bytes);
  ASSERT_EQ(made.status, 200) << made.error();
  EXPECT_EQ(made.text("/filename"), "note.txt");
  EXPECT_EQ(made.text("/mime_type"), "text/plain");
  EXPECT_EQ(made.text("/size_bytes"), "8");
  EXPECT_EQ(made.text("/expires_at"), "null");
  const std::string target = "/v1/files/" + made.text("/id");
  EXPECT_EQ(get(target).text("/id"), made.text("/id"));
  Result<http::ClientResponse> answer = Error{};
  run(fetch(*client_, "GET", target + "/content", "", {}, kApi, answer));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->body, bytes);
  EXPECT_EQ(answer->headers.get("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(call("DELETE", target).text("/type"), "file_deleted");
  EXPECT_EQ(get(target).status, 404);
  EXPECT_EQ(call("DELETE", target).status, 404);
}

TEST_F(Files, AListHasPagesAndTakesIds) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(upload(str(i)).text("/id"));
  auto page = get("/v1/files?limit=2");
  EXPECT_EQ(page.text("/data/0/id"), ids[2]);
  EXPECT_EQ(page.text("/data/1/id"), ids[1]);
  auto next = get("/v1/files?limit=2&page=" + page.text("/next_page"));
  EXPECT_EQ(next.text("/data/0/id"), ids[0]);
  EXPECT_EQ(next.text("/next_page"), "null");
  auto some = get(str("/v1/files?ids[]=", ids[1], "&ids[]=file_none"));
  EXPECT_EQ(some.text("/data/0/id"), ids[1]);
  EXPECT_EQ(some.text("/data/1/id"), "(none)");
  EXPECT_EQ(get("/v1/files?scope_id=sesn_1").text("/data/0"), "(none)");
}

TEST_F(Files, UploadsThatAreNoneAreRefused) {
  EXPECT_EQ(upload("x", "", R"(name="other"; filename="a")").status, 400);
  EXPECT_EQ(upload("x", "", R"(name="file")").status, 400);
  EXPECT_EQ(upload("x", "", R"(name="file"; filename="../a")").status, 400);
  for (auto seconds : {"3599", "7776001", "soon", "99999999999999999999"})
    EXPECT_EQ(upload("x", expires(seconds)).status, 400) << seconds;
  EXPECT_NE(upload("x", expires("3600")).text("/expires_at"), "null");
  EXPECT_EQ(upload("x", "", R"(name="file"; filename="a")", kEnv).status, 403);
}

TEST(FileStore, ExpiredFilesAreSaidToBeThatAndSweptAndTheQuotaHolds) {
  auto store = *SqliteStore::open(":memory:");
  FileRow row{.id = "file_1",
              .filename = "a",
              .mime_type = "b",
              .size_bytes = 3,
              .created_at = 1,
              .expires_at = 100};
  ASSERT_TRUE(store->add_file(row, "abc", 5));
  EXPECT_TRUE(store->file("file_1", 99));
  EXPECT_EQ(store->file("file_1", 100).error().tag, "file_expired");
  EXPECT_TRUE(store->files({.limit = 10}, {}, 100)->empty());
  row.id = "file_2";
  EXPECT_EQ(store->add_file(row, "abc", 5).error().tag, "storage_quota_exceeded");
  ASSERT_TRUE(store->sweep_files(100, 99));
  EXPECT_EQ(store->file("file_1", 100).error().tag, "file_expired");
  EXPECT_FALSE(store->file_content("file_1"));
  EXPECT_TRUE(store->add_file(row, "abc", 5));
  ASSERT_TRUE(store->sweep_files(200, 100));
  EXPECT_EQ(store->file("file_1", 200).error().tag, "");
}

}  // namespace glovebox::brain
