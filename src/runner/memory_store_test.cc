#include "runner/memory_store.h"

#include <gmock/gmock.h>

namespace glovebox::runner {
namespace {

using enum MemoryAction;
using Hash = std::optional<std::string>;
const Hash kNone, kA = "a", kB = "b", kC = "c";

struct Row {
  const char* what;
  Hash local, base, remote;
  MemoryAction action;
  Hash then;  // the baseline
  bool noticed = false;
};

void check(const std::vector<Row>& rows, bool read_only, const Hash& refused = {}) {
  for (const Row& row : rows) {
    auto decision = decide({row.local, row.base, row.remote, refused, read_only});
    EXPECT_EQ(decision.action, row.action) << row.what;
    EXPECT_EQ(decision.base, row.then) << row.what;
    EXPECT_EQ(!decision.notice.empty(), row.noticed) << row.what;
  }
}

// Every way in which three places can agree and differ.
TEST(MemoryDecision, OfAStoreThatIsWritten) {
  check({{"nowhere", kNone, kNone, kNone, none, kNone},
         {"gone at both", kNone, kA, kNone, none, kNone},
         {"new here", kA, kNone, kNone, create, kNone},
         {"same, gone there", kA, kA, kNone, remove_local, kA},
         {"changed, gone there", kB, kA, kNone, create, kNone, true},
         {"new there", kNone, kNone, kA, fetch, kNone},
         {"gone here, same there", kNone, kA, kA, remove_remote, kA},
         {"gone here, changed there", kNone, kA, kB, fetch, kA, true},
         {"new at both, equal", kA, kNone, kA, none, kA},
         {"new at both, different", kA, kNone, kB, fetch, kNone, true},
         {"same everywhere", kA, kA, kA, none, kA},
         {"same here, changed there", kA, kA, kB, fetch, kA},
         {"changed here, same there", kB, kA, kA, update, kA},
         {"changed at both, equal", kB, kA, kB, none, kB},
         {"changed at both, different", kB, kA, kC, fetch, kA, true}},
        false);
}

TEST(MemoryDecision, OfAStoreThatIsOnlyRead) {
  check({{"nowhere", kNone, kNone, kNone, none, kNone},
         {"gone at both", kNone, kA, kNone, none, kNone},
         {"new here", kA, kNone, kNone, none, kNone},
         {"same, gone there", kA, kA, kNone, remove_local, kA},
         {"changed, gone there", kB, kA, kNone, none, kNone, true},
         {"new there", kNone, kNone, kA, fetch, kNone},
         {"gone here, same there", kNone, kA, kA, none, kA},
         {"gone here, changed there", kNone, kA, kB, fetch, kA, true},
         {"new at both, equal", kA, kNone, kA, none, kA},
         {"new at both, different", kA, kNone, kB, fetch, kNone, true},
         {"same everywhere", kA, kA, kA, none, kA},
         {"same here, changed there", kA, kA, kB, fetch, kA},
         {"changed here, same there", kB, kA, kA, none, kA},
         {"changed at both, equal", kB, kA, kB, none, kB},
         {"changed at both, different", kB, kA, kC, fetch, kA, true}},
        true);
}

TEST(MemoryDecision, WhatWasRefusedIsNotSentAgainUntilItChanges) {
  check({{"new", kB, kNone, kNone, none, kNone},
         {"changed, gone there", kB, kA, kNone, none, kNone},
         {"changed", kB, kA, kA, none, kA},
         {"changed again", kC, kA, kA, update, kA},
         {"new and changed again", kC, kNone, kNone, create, kNone},
         {"changed there too", kB, kA, kC, fetch, kA, true},
         {"gone here", kNone, kA, kA, remove_remote, kA}},
        false, kB);
}

TEST(Memory, DeletionsAreCapped) {
  EXPECT_EQ(deletion_cap(0), 8u);
  EXPECT_EQ(deletion_cap(35), 8u);
  EXPECT_EQ(deletion_cap(36), 9u);
  EXPECT_EQ(deletion_cap(100), 25u);
  EXPECT_EQ(deletion_cap(203), 50u);
  EXPECT_EQ(deletion_cap(2000), 50u);
}

TEST(Memory, AnswersToUploads) {
  for (bool update : {false, true}) {
    EXPECT_EQ(upload_end(update, 400), UploadEnd::refused);
    EXPECT_EQ(upload_end(update, 413), UploadEnd::refused);
    for (int status : {0, 401, 403, 408, 412, 429, 500, 529})
      EXPECT_EQ(upload_end(update, status), UploadEnd::later) << status;
  }
  EXPECT_EQ(upload_end(true, 409), UploadEnd::overtaken);
  EXPECT_EQ(upload_end(false, 409), UploadEnd::later);
  EXPECT_EQ(upload_end(true, 404), UploadEnd::gone);
  EXPECT_EQ(upload_end(false, 404), UploadEnd::later);
}

TEST(Memory, StoresAreReadFromTheSession) {
  auto stores = memory_stores_of(R"({"resources":[
      {"type":"memory_store","memory_store_id":"m1","name":"Notes","access":"read_only",
       "mount_path":"/mnt/memory/notes"},
      {"type":"file","file_id":"f"},
      {"type":"memory_store","memory_store_id":"m2"}]})");
  ASSERT_EQ(stores.size(), 2u);
  EXPECT_TRUE(stores[0].read_only);
  EXPECT_EQ(stores[0].mount_path, "/mnt/memory/notes");
  EXPECT_EQ(stores[1].id, "m2");
  EXPECT_FALSE(stores[1].read_only);
  for (const char* json : {"", "null", "{}", R"({"resources":{}})", R"({"resources":[7,null]})"})
    EXPECT_TRUE(memory_stores_of(json).empty()) << json;
}

TEST(Memory, TheRootIsWhereTheAgentIsTold) {
  auto at = [](const char* path) { return memory_root({.id = "m1", .mount_path = path}, "/w"); };
  EXPECT_EQ(*at("/mnt/memory/notes"), "/mnt/memory/notes");
  EXPECT_EQ(*at("/mnt//memory/./notes/"), "/mnt/memory/notes");
  for (const char* path : {"mnt/memory", "/mnt/../etc", "/..", "/", "//", "~/notes", "/mnt/a\nb"})
    EXPECT_FALSE(at(path)) << path;
}

TEST(Memory, TheRootOfAStoreWithoutAPlaceIsBelowTheWorkDirectory) {
  EXPECT_EQ(*memory_root({.id = "m1", .name = "Notes"}, "/w"), "/w/memory/Notes");
  EXPECT_EQ(*memory_root({.id = "m1"}, "/w"), "/w/memory/m1");
  EXPECT_EQ(*memory_root({.id = "m1", .name = "../../etc"}, "/w"), "/w/memory/m1");
  EXPECT_EQ(*memory_root({.id = "m1", .name = ".."}, "/w"), "/w/memory/m1");
  EXPECT_FALSE(memory_root({.id = "../x", .name = ".."}, "/w"));
}

TEST(Memory, RootsOverlapWhereOneIsInsideTheOther) {
  EXPECT_TRUE(overlap("/a/b", "/a/b"));
  EXPECT_TRUE(overlap("/a/b", "/a"));
  EXPECT_TRUE(overlap("/a", "/a/b/c"));
  EXPECT_FALSE(overlap("/a/b", "/a/bc"));
}

TEST(Memory, PathsThatNoFileCanHaveAreNone) {
  EXPECT_EQ(memory_file("/a/b.md"), "a/b.md");
  EXPECT_EQ(memory_file("//a"), "a");
  EXPECT_EQ(memory_file("/a/.anthropic-memory-store"), "a/.anthropic-memory-store");
  for (const char* path : {"", "/", "/../x", "/a/../b", "/a//b", "/a/", "/./a", "/a\nb", "/\xff",
                           "/.anthropic-memory-store"})
    EXPECT_FALSE(memory_file(path)) << path;
  EXPECT_FALSE(memory_file(std::string("/a\0b", 4)));
}

TEST(Memory, UnfinishedWritesAreKnownByTheirName) {
  EXPECT_TRUE(unfinished_write("a/.fs-0123456789abcdef.tmp"));
  EXPECT_TRUE(unfinished_write(".fs-0.tmp"));
  for (const char* path : {".fs-.tmp", ".fs-xyz.tmp", "a.fs-00.tmp", ".fs-00.tmp/a", ".tmp"})
    EXPECT_FALSE(unfinished_write(path)) << path;
}

TEST(Memory, AFolderIsKnownByItsMarker) {
  const std::string marker(kMemoryMarker);
  const std::string ours = sha256_hex("version 1\nm1");
  EXPECT_EQ(folder_state({{marker, ours}}, "m1"), FolderState::ours);
  EXPECT_EQ(folder_state({{marker, ours}, {"a", "x"}}, "m1"), FolderState::ours);
  EXPECT_EQ(folder_state({}, "m1"), FolderState::empty);
  EXPECT_EQ(folder_state({{marker, "another's"}}, "m1"), FolderState::empty);
  EXPECT_EQ(folder_state({{"a", "x"}}, "m1"), FolderState::foreign);
  EXPECT_EQ(folder_state({{marker, ours}, {"a", "x"}}, "m2"), FolderState::foreign);
}

TEST(Memory, HashesAreThoseOfTheService) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace glovebox::runner
