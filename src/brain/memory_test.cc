// Memory stores, through the HTTP API: shapes, conflicts, pages, versions, and what a session may.
#include "brain/memory_path.h"
#include "brain/served.h"
#include "brain/session_memory.h"
#include "brain/sqlite_store.h"

namespace glovebox::brain {
namespace {

struct Memories : Served {
  std::string store = make("/v1/memory_stores", R"({"name":"Pers. notes","description":"d"})");
  std::string at(std::string rest = "") {
    return str("/v1/memory_stores/", store, "/memories", rest);
  }
  Answer put(std::string path, std::string content) {
    return post(at(), str(R"({"path":")", path, R"(","content":")", content, R"("})"));
  }
  std::string attached(std::string more = "") {
    return str(R"(,"resources":[{"type":"memory_store","memory_store_id":")", store, '"', more,
               "}]");
  }
  std::vector<std::string> paths(std::string query) {
    auto page = get(at(query));
    std::vector<std::string> paths;
    for (auto& one : page.body.at("data").as_array())
      paths.emplace_back(one.at("path").as_string());
    return paths;
  }
};

using Texts = std::vector<std::string>;

}  // namespace

TEST(MemoryPath, PartsAndCharacters) {
  for (std::string good : {"/a", "/a/b.md", "/ä ö/…", "/a/.hidden", "/..."})
    EXPECT_TRUE(check_memory_path(good)) << good;
  EXPECT_TRUE(check_memory_path("/" + std::string(1023, 'x')));
  for (std::string bad : {"", "a", "/", "/a/", "//a", "/a/./b", "/..", "/a\nb", "/a\x7f", "/\u200b",
                          "/\u2028", "/\u00ad", "/\U000e0041"})
    EXPECT_FALSE(check_memory_path(bad)) << bad;
  EXPECT_FALSE(check_memory_path("/" + std::string(1024, 'x')));
  std::string deep;
  for (int i = 0; i < 20; ++i) deep += "/x";
  EXPECT_TRUE(check_memory_path(deep));
  EXPECT_FALSE(check_memory_path(deep + "/x"));
}

TEST(MemoryPath, SlugOfAName) {
  EXPECT_EQ(memory_slug("Pers. notes"), "pers-notes");
  EXPECT_EQ(memory_slug("a__B"), "a-b");
  EXPECT_EQ(memory_slug("日本"), "-");
  EXPECT_LE(memory_slug(std::string(255, 'x')).size(), 240u);
}

TEST_F(Memories, StoresAreMadeChangedListedArchivedAndDeleted) {
  auto row = get("/v1/memory_stores/" + store);
  EXPECT_EQ(row.text("/type"), "memory_store");
  EXPECT_EQ(row.text("/archived_at"), "null");
  auto changed =
      post("/v1/memory_stores/" + store, R"({"name":null,"description":"","metadata":{"a":"b"}})");
  EXPECT_EQ(changed.text("/name"), "Pers. notes");
  EXPECT_EQ(changed.text("/description"), "");
  EXPECT_EQ(changed.text("/metadata/a"), "b");
  EXPECT_EQ(post("/v1/memory_stores", R"({"name":"a\nb"})").status, 400);
  EXPECT_EQ(post("/v1/memory_stores", R"({"description":"d"})").text("/error/message"),
            "name: is required");
  ASSERT_EQ(put("/a", "x").status, 200);
  EXPECT_NE(post("/v1/memory_stores/" + store + "/archive").text("/archived_at"), "null");
  EXPECT_EQ(get("/v1/memory_stores").text("/data"), "[]");
  EXPECT_EQ(get("/v1/memory_stores?include_archived=true").text("/data/0/id"), store);
  EXPECT_EQ(put("/b", "x").status, 400);
  EXPECT_EQ(post("/v1/memory_stores/" + store, R"({"name":"n"})").status, 400);
  EXPECT_EQ(get(at()).text("/data/0/path"), "/a");
  EXPECT_EQ(post("/v1/sessions", str(R"({"agent":")", agent_, R"(","environment_id":")",
                                     environment_, '"', attached(), '}'))
                .status,
            400);
  auto gone = call("DELETE", "/v1/memory_stores/" + store);
  EXPECT_EQ(gone.text("/type"), "memory_store_deleted");
  EXPECT_EQ(get("/v1/memory_stores/" + store).error(), "not_found_error");
  EXPECT_EQ(get(at()).status, 404);
}

TEST_F(Memories, TextsComeWhereTheyAreAskedFor) {
  auto made = put("/a", "hello");
  EXPECT_EQ(made.text("/content"), "null");
  EXPECT_EQ(made.text("/content_size_bytes"), "5");
  EXPECT_EQ(made.text("/content_sha256"),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
  const std::string one = at("/" + made.text("/id"));
  EXPECT_EQ(get(one).text("/content"), "hello");
  EXPECT_EQ(get(one + "?view=basic").text("/content"), "null");
  EXPECT_EQ(get(at()).text("/data/0/content"), "null");
  EXPECT_EQ(get(at("?view=full")).text("/data/0/content"), "hello");
  EXPECT_EQ(get(at("?view=other")).status, 400);
  EXPECT_EQ(post(at("?view=full"), R"({"path":"/b","content":""})").text("/content"), "");
}

TEST_F(Memories, PathThatIsTakenOrLiesInTheWayIsAConflict) {
  const std::string id = put("/notes/a", "x").text("/id");
  for (std::string path : {"/notes/a", "/notes", "/notes/a/b"}) {
    auto answer = put(path, "y");
    EXPECT_EQ(answer.status, 409) << path;
    EXPECT_EQ(answer.error(), "memory_path_conflict_error");
    EXPECT_EQ(answer.text("/error/conflicting_memory_id"), id);
    EXPECT_EQ(answer.text("/error/conflicting_path"), "/notes/a");
    EXPECT_EQ(answer.headers.get("x-should-retry"), "false");
  }
  EXPECT_EQ(put("/notes-other", "y").status, 200);
  EXPECT_EQ(put("/notes/ab", "y").status, 200);
  // Its own place is not in its way.
  EXPECT_EQ(post(at("/" + id), R"({"path":"/notes/a/deeper"})").text("/path"), "/notes/a/deeper");
  EXPECT_EQ(post(at("/" + id), R"({"path":"/notes/ab"})").error(), "memory_path_conflict_error");
}

TEST_F(Memories, StaleHashChangesNothing) {
  auto made = put("/a", "one");
  const std::string id = made.text("/id"), hash = made.text("/content_sha256");
  auto change = [&](std::string content, std::string expected) {
    return post(at("/" + id), str(R"({"content":")", content,
                                  R"(","precondition":{"type":"content_sha256","content_sha256":")",
                                  expected, R"("}})"));
  };
  EXPECT_EQ(change("two", hash).status, 200);
  auto stale = change("three", hash);
  EXPECT_EQ(stale.status, 409);
  EXPECT_EQ(stale.error(), "memory_precondition_failed_error");
  EXPECT_EQ(change("two", hash).status, 200) << "what it is already may be said again";
  EXPECT_EQ(get(at("/" + id)).text("/content"), "two");
  auto refused = call("DELETE", at(str("/", id, "?expected_content_sha256=", hash)));
  EXPECT_EQ(refused.error(), "memory_precondition_failed_error");
  const std::string now = get(at("/" + id)).text("/content_sha256");
  EXPECT_EQ(call("DELETE", at(str("/", id, "?expected_content_sha256=", now))).text("/type"),
            "memory_deleted");
  EXPECT_EQ(call("DELETE", at("/" + id)).status, 404);
  EXPECT_EQ(put("/a", "again").status, 200);
}

TEST_F(Memories, WhatIsTooLongOrMissingIsSaid) {
  EXPECT_EQ(put("/a", std::string(102'400, 'x')).status, 200);
  EXPECT_EQ(put("/b", std::string(102'401, 'x')).status, 400);
  EXPECT_EQ(put("/b", "a\\u0000b").status, 400);
  EXPECT_EQ(put("b", "x").text("/error/message"), "path: must start with /");
  EXPECT_EQ(post(at(), R"({"path":"/b"})").text("/error/message"), "content: is required");
  EXPECT_EQ(post(at(), R"({"content":"x"})").text("/error/message"), "path: is required");
}

TEST_F(Memories, StoreThatIsFullTakesNoMore) {
  std::string last;
  for (int i = 0; i < 2'000; ++i) last = put(str("/", i), "x").text("/id");
  EXPECT_EQ(put("/more", "x").status, 400);
  EXPECT_EQ(post(at("/" + last), R"({"content":"y"})").status, 200);
  EXPECT_EQ(call("DELETE", at("/" + last)).status, 200);
  EXPECT_EQ(put("/more", "x").status, 200);
}

TEST_F(Memories, ListsGoByPathWhateverThePageIs) {
  for (std::string path : {"/b", "/a/2", "/c/d/e", "/a/1", "/c/f", "/ä", "/a-b"}) put(path, "x");
  const Texts all{"/a-b", "/a/1", "/a/2", "/b", "/c/d/e", "/c/f", "/ä"};
  EXPECT_EQ(paths(""), all);
  EXPECT_EQ(paths("?path_prefix=/a/"), (Texts{"/a/1", "/a/2"}));
  EXPECT_EQ(paths("?path_prefix=/c/&depth=1"), (Texts{"/c/d/", "/c/f"}));
  EXPECT_EQ(paths("?depth=1"), (Texts{"/a-b", "/a/", "/b", "/c/", "/ä"}));
  EXPECT_EQ(get(at("?depth=1")).text("/data/1/type"), "memory_prefix");
  for (std::string depth : {"0", "1"})
    for (int limit : {1, 2, 5, 7}) {
      Texts listed;
      std::string page;
      do {
        auto answer =
            get(at(str("?depth=", depth, "&limit=", limit, page.empty() ? "" : "&page=", page)));
        for (auto& one : answer.body.at("data").as_array())
          listed.emplace_back(one.at("path").as_string());
        page = answer.text("/next_page");
      } while (page != "null");
      EXPECT_EQ(listed, depth == "0" ? all : paths("?depth=1")) << depth << limit;
    }
  EXPECT_EQ(get(at("?path_prefix=a")).status, 400);
  EXPECT_EQ(get(at("?page=zz")).status, 400);
  EXPECT_EQ(get(at("?depth=1&page=" + get(at("?limit=1")).text("/next_page"))).status, 400);
}

TEST_F(Memories, EachChangeLeavesAVersion) {
  auto made = put("/a", "one");
  const std::string id = made.text("/id"), first = made.text("/memory_version_id");
  const std::string versions = str("/v1/memory_stores/", store, "/memory_versions");
  EXPECT_EQ(post(at("/" + id), R"({"content":"one"})").text("/memory_version_id"), first);
  const std::string second = post(at("/" + id), R"({"content":"two"})").text("/memory_version_id");
  EXPECT_EQ(post(str(versions, "/", second, "/redact")).status, 400) << "it is the present one";
  call("DELETE", at("/" + id));
  auto list = get(versions + "?memory_id=" + id);
  ASSERT_EQ(list.body.at("data").as_array().size(), 3u);
  EXPECT_EQ(list.text("/data/0/operation"), "deleted");
  EXPECT_EQ(list.text("/data/0/content_sha256"), "null");
  EXPECT_EQ(list.text("/data/0/path"), "/a");
  EXPECT_EQ(list.text("/data/1/id"), second);
  EXPECT_EQ(list.text("/data/1/operation"), "modified");
  EXPECT_EQ(list.text("/data/1/content"), "null");
  EXPECT_EQ(list.text("/data/2/created_by/type"), "api_actor");
  EXPECT_EQ(get(versions + "?operation=created").text("/data/0/id"), first);
  EXPECT_EQ(get(versions + "?session_id=sesn_1").text("/data"), "[]");
  EXPECT_EQ(get(versions + "?operation=moved").status, 400);
  EXPECT_EQ(get(str(versions, "/", first)).text("/content"), "one");
  auto redacted = post(str(versions, "/", first, "/redact"));
  EXPECT_EQ(redacted.text("/content"), "null");
  EXPECT_EQ(redacted.text("/path"), "null");
  EXPECT_EQ(redacted.text("/redacted_by/type"), "api_actor");
  EXPECT_EQ(post(str(versions, "/", first, "/redact")).text("/redacted_at"),
            redacted.text("/redacted_at"));
  EXPECT_EQ(get(str(versions, "/memver_none")).status, 404);
}

TEST_F(Memories, SessionShowsWhatIsAttached) {
  const std::string other = make("/v1/memory_stores", R"({"name":"pers notes"})");
  auto session = make_session(str(
      R"(,"resources":[{"type":"memory_store","memory_store_id":")", store,
      R"(","access":"read_only","instructions":"look first"},{"type":"memory_store","memory_store_id":")",
      other, R"("}])"));
  post("/v1/memory_stores/" + store, R"({"name":"renamed"})");
  auto row = get("/v1/sessions/" + session);
  EXPECT_EQ(row.text("/resources/0/memory_store_id"), store);
  EXPECT_EQ(row.text("/resources/0/name"), "Pers. notes");
  EXPECT_EQ(row.text("/resources/0/access"), "read_only");
  EXPECT_EQ(row.text("/resources/0/mount_path"), "/mnt/memory/pers-notes");
  EXPECT_EQ(row.text("/resources/1/mount_path"), "/mnt/memory/pers-notes-2");
  EXPECT_EQ(row.text("/resources/1/access"), "read_write");
  EXPECT_EQ(row.text("/resources/1/instructions"), "null");
  EXPECT_EQ(get("/v1/sessions?memory_store_id=" + other).text("/data/0/id"), session);
  EXPECT_EQ(get("/v1/sessions?memory_store_id=memstore_none").text("/data"), "[]");
  EXPECT_EQ(get(str("/v1/sessions/", session, "/resources")).body.at("data"),
            row.body.at("resources"));
}

TEST_F(Memories, WhatCannotBeAttachedIsSaid) {
  auto with = [&](std::string resources) {
    return post("/v1/sessions", str(R"({"agent":")", agent_, R"(","environment_id":")",
                                    environment_, R"(","resources":[)", resources, "]}"));
  };
  auto one = [&](std::string more) {
    return str(R"({"type":"memory_store","memory_store_id":")", store, '"', more, '}');
  };
  EXPECT_EQ(with(str(one(""), ',', one(""))).text("/error/message"),
            "resources[1].memory_store_id: is attached already");
  EXPECT_EQ(with(one(R"(,"access":"all")")).status, 400);
  EXPECT_EQ(with(one(str(R"(,"instructions":")", std::string(4097, 'x'), '"'))).status, 400);
  EXPECT_EQ(with(R"({"type":"memory_store","memory_store_id":"memstore_none"})").status, 404);
  std::string many;
  for (int i = 0; i < 9; ++i)
    many += str(i ? "," : "", R"({"type":"memory_store","memory_store_id":")",
                make("/v1/memory_stores", R"({"name":"n"})"), R"("})");
  EXPECT_EQ(with(many).text("/error/message"), "resources: more than 8 memory stores");
}

TEST_F(Memories, TokenIsForTheStoresOfItsSession) {
  const std::string other = make("/v1/memory_stores", R"({"name":"other"})");
  auto claimed = claim(attached());
  const std::string body = R"({"path":"/from/session","content":"x"})";
  auto made = post(at(), body, claimed.token);
  ASSERT_EQ(made.status, 200);
  EXPECT_EQ(get(at("?view=full&limit=20"), claimed.token).text("/data/0/content"), "x");
  EXPECT_EQ(post(at("/" + made.text("/id")), R"({"content":"y"})", claimed.token).status, 200);
  auto versions =
      get(str("/v1/memory_stores/", store, "/memory_versions?session_id=", claimed.session));
  EXPECT_EQ(versions.text("/data/0/created_by/session_id"), claimed.session);
  EXPECT_EQ(call("DELETE", at("/" + made.text("/id")), "", claimed.token).status, 200);
  EXPECT_EQ(get(str("/v1/memory_stores/", other, "/memories"), claimed.token).status, 404);
  EXPECT_EQ(get(at(), kEnv).status, 403);
  for (std::string path : {"", "/archive"})
    EXPECT_EQ(post(str("/v1/memory_stores/", store, path), "{}", claimed.token).status, 403);
  EXPECT_EQ(get("/v1/memory_stores", claimed.token).status, 403);
  EXPECT_EQ(call("DELETE", "/v1/memory_stores/" + store, "", claimed.token).status, 403);
}

TEST_F(Memories, SessionThatMayOnlyReadWritesNothing) {
  const std::string id = put("/a", "x").text("/id");
  auto claimed = claim(attached(R"(,"access":"read_only")"));
  EXPECT_EQ(get(at("/" + id), claimed.token).text("/content"), "x");
  EXPECT_EQ(post(at(), R"({"path":"/b","content":"x"})", claimed.token).status, 403);
  EXPECT_EQ(post(at("/" + id), R"({"content":"y"})", claimed.token).status, 403);
  EXPECT_EQ(call("DELETE", at("/" + id), "", claimed.token).status, 403);
}

TEST(SessionMemory, ModelIsToldOfTheFolders) {
  EXPECT_EQ(memory_prompt("[]"), "");
  const std::string prompt = memory_prompt(
      R"([{"type":"memory_store","memory_store_id":"m","name":"N","description":"what it is","access":"read_only","instructions":"look first","mount_path":"/mnt/memory/n"}])");
  EXPECT_TRUE(
      prompt.contains("- /mnt/memory/n (\"N\", only to read)\n  description: what it is\n  "
                      "instructions: look first"))
      << prompt;
}

TEST(MemoryVersions, OldOnesGoUnlessAMemoryConsistsOfThem) {
  auto store = std::move(*SqliteStore::open(":memory:"));
  ASSERT_TRUE(store->add_memory_store({.id = "s"}));
  MemoryRow row{.id = "m",
                .store_id = "s",
                .path = "/a",
                .version_id = "v1",
                .sha256 = "1",
                .content = "one",
                .created_at = 1,
                .updated_at = 1};
  ASSERT_TRUE(store->add_memory(row, {"api_actor", "k"}));
  row.version_id = "v2";
  row.content = "two";
  row.updated_at = 2;
  ASSERT_TRUE(store->change_memory(row, {"api_actor", "k"}));
  ASSERT_TRUE(store->sweep_memory_versions(10));
  EXPECT_FALSE(store->memory_version("s", "v1", true));
  auto head = store->memory_version("s", "v2", true);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->content, "two");
  ASSERT_TRUE(store->memory("s", "m", true));
  ASSERT_TRUE(store->remove_memory(row, "v3", {}, 3));
  ASSERT_TRUE(store->sweep_memory_versions(10));
  EXPECT_FALSE(store->memory_version("s", "v2", true));
  EXPECT_FALSE(store->memory_version("s", "v3", true));
}

}  // namespace glovebox::brain
