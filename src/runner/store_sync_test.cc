#include "runner/store_sync.h"

#include "runner/fake_memory.h"

namespace glovebox::runner {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;
using testing::UnorderedElementsAre;

using Files = MemoryFiles;
using StoreSyncTest = MemorySyncTest;

TEST_F(StoreSyncTest, ASyncOfNothingMovesNothing) {
  there() = {{"/a", "1"}};
  start();
  sync();
  EXPECT_THAT(remote->asked, IsEmpty());
}

TEST_F(StoreSyncTest, ChangesHereAreUploaded) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local()["a"] = "2";
  local()["new/file"] = "3";
  sync();
  EXPECT_EQ(there(), (Files{{"/a", "2"}, {"/b", "1"}, {"/new/file", "3"}}));
  EXPECT_THAT(remote->asked, UnorderedElementsAre("update /a", "create /new/file"));
  remote->asked.clear();
  sync();
  EXPECT_THAT(remote->asked, IsEmpty());
}

TEST_F(StoreSyncTest, ChangesThereAreFetched) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  there()["/a"] = "2";
  there()["/new/file"] = "3";
  there().erase("/b");
  sync();
  EXPECT_EQ(here(), (Files{{"a", "2"}, {"new/file", "3"}}));
  EXPECT_THAT(remote->asked, UnorderedElementsAre("get /a", "get /new/file"));
}

TEST_F(StoreSyncTest, ChangedAtBothTheServicesWins) {
  there() = {{"/a", "1"}};
  start();
  local()["a"] = "mine";
  there()["/a"] = "theirs";
  sync();
  EXPECT_EQ(here(), (Files{{"a", "theirs"}}));
  EXPECT_THAT(remote->asked, ElementsAre("get /a"));
}

TEST_F(StoreSyncTest, EqualChangesAtBothNeedNothing) {
  there() = {{"/a", "1"}};
  start();
  local()["a"] = "2";
  there()["/a"] = "2";
  sync();
  EXPECT_THAT(remote->asked, IsEmpty());
}

TEST_F(StoreSyncTest, DeletedThereButEditedHereIsCreatedAgain) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local()["a"] = "2";
  there().erase("/a");
  sync();
  EXPECT_EQ(there()["/a"], "2");
}

TEST_F(StoreSyncTest, AnEditThatComesBetweenScanAndRemovalSurvives) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  there().erase("/a");
  folder().before = [&](const std::string& doing) {
    if (doing == "hash a") local()["a"] = "2";
  };
  sync();
  EXPECT_EQ(local()["a"], "2");
  EXPECT_EQ(there()["/a"], "2");
}

TEST_F(StoreSyncTest, AFileThatCannotBeRemovedIsTriedAgain) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  there().erase("/a");
  folder().failing = "a";
  sync();
  EXPECT_TRUE(local().contains("a"));
  folder().failing = "";
  sync();
  EXPECT_FALSE(local().contains("a"));
  EXPECT_FALSE(there().contains("/a"));
}

TEST_F(StoreSyncTest, ADeletionIsBelievedAfterHalfAMinute) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local().erase("a");
  sync();  // noticed
  sync();  // 15 s
  EXPECT_THAT(remote->asked, IsEmpty());
  EXPECT_TRUE(there().contains("/a"));
  sync();  // 30 s
  EXPECT_THAT(remote->asked, ElementsAre("delete /a"));
  EXPECT_FALSE(there().contains("/a"));
  sync();
  EXPECT_THAT(remote->asked, SizeIs(1));
}

TEST_F(StoreSyncTest, AFileThatCameBackStartsItsDeletionAnew) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local().erase("a");
  sync();
  local()["a"] = "1";
  sync();
  local().erase("a");
  sync();
  sync();
  EXPECT_TRUE(there().contains("/a"));
  sync();
  EXPECT_FALSE(there().contains("/a"));
}

TEST_F(StoreSyncTest, ADeletionIsLookedAtOnceMoreBeforeItIsSent) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local().erase("a");
  sync();
  clock.now += kDeletionWait;
  folder().before = [&](const std::string& doing) {
    if (doing == "hash a") local()["a"] = "1";
  };
  sync();
  EXPECT_TRUE(there().contains("/a"));

  local().erase("a");
  folder().before = nullptr;
  sync();
  clock.now += kDeletionWait;
  folder().before = [&](const std::string& doing) {
    if (doing == "hash " + kMarker) local().erase(kMarker);
  };
  sync();
  EXPECT_TRUE(there().contains("/a"));
}

TEST_F(StoreSyncTest, TheLastSyncBelievesDeletionsAtOnce) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local().erase("a");
  finish();
  EXPECT_FALSE(there().contains("/a"));
}

TEST_F(StoreSyncTest, DeletionsAreCappedPerSync) {
  for (int i = 0; i < 20; ++i) there()[str("/", i)] = "x";
  start();
  for (int i = 0; i < 19; ++i) local().erase(str(i));
  sync();
  clock.now += kDeletionWait;
  sync();
  EXPECT_EQ(there().size(), 12u);
  sync();
  EXPECT_EQ(there().size(), 4u);
  sync();
  EXPECT_EQ(there().size(), 1u);
}

TEST_F(StoreSyncTest, DeletedHereButChangedThereIsRestored) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local().erase("a");
  sync();
  there()["/a"] = "2";
  clock.now += kDeletionWait;
  sync();
  EXPECT_EQ(local()["a"], "2");
  EXPECT_EQ(there()["/a"], "2");
}

TEST_F(StoreSyncTest, ADeletionThatIsOvertakenKeepsTheServices) {
  for (int status : {409, 412}) {
    there() = {{"/a", "1"}, {"/b", "1"}};
    folder().files.reset();
    start();
    local().erase("a");
    sync();
    remote->faults["remove"] = {{status}};
    clock.now += kDeletionWait;
    sync();
    EXPECT_TRUE(there().contains("/a"));
    there()["/a"] = "2";
    sync();
    EXPECT_EQ(local()["a"], "2");
  }
}

TEST_F(StoreSyncTest, DeletingWhatIsGoneIsDone) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local().erase("a");
  sync();
  remote->faults["remove"] = {{404}};
  clock.now += kDeletionWait;
  sync();
  EXPECT_THAT(remote->asked, ElementsAre("delete /a"));
}

TEST_F(StoreSyncTest, DeletionsCanBeTurnedOff) {
  using Deletions = MemoryOptions::Deletions;
  for (auto how : {Deletions::never, Deletions::only_log}) {
    options.deletions = how;
    folder().files.reset();
    there() = {{"/a", "1"}, {"/b", "1"}};
    start();
    local().erase("a");
    sync();
    clock.now += kDeletionWait;
    sync();
    finish();
    EXPECT_THAT(remote->asked, IsEmpty());
    EXPECT_TRUE(there().contains("/a"));
  }
}

TEST_F(StoreSyncTest, ALoneFileMayBeDeleted) {
  there() = {{"/a", "1"}};
  start();
  local().erase("a");
  sync();
  clock.now += kDeletionWait;
  sync();
  EXPECT_THAT(there(), IsEmpty());
}

TEST_F(StoreSyncTest, SeveralFilesGoneAtOnceComeBack) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local() = {{kMarker, "version 1\nm1"}};
  finish();
  EXPECT_THAT(there(), SizeIs(2));

  folder().files.reset();
  start();
  local() = {{kMarker, "version 1\nm1"}};
  sync();
  EXPECT_THAT(here(), SizeIs(2));
}

TEST_F(StoreSyncTest, AFolderThatIsGoneOrEmptyIsMadeAnew) {
  there() = {{"/a", "1"}};
  start();
  folder().files.reset();
  sync();
  EXPECT_EQ(local(), (Files{{kMarker, "version 1\nm1"}, {"a", "1"}}));
  local().clear();
  sync();
  EXPECT_EQ(local(), (Files{{kMarker, "version 1\nm1"}, {"a", "1"}}));
  EXPECT_THAT(remote->asked, IsEmpty());
  EXPECT_THAT(there(), SizeIs(1));
}

TEST_F(StoreSyncTest, AFolderThatIsNotOursAnyMoreIsLeftAsItIs) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  for (const char* marker : {"", "version 1\nm2"}) {
    folder().files.reset();
    start();
    local() = {{"mine", "x"}};
    if (*marker) local()[kMarker] = marker;
    const Files before = local();
    there()["/new"] = "1";
    sync();
    finish();
    EXPECT_EQ(local(), before);
    EXPECT_THAT(remote->asked, IsEmpty());
  }
}

TEST_F(StoreSyncTest, AReadOnlyStoreOnlyPulls) {
  read_only();
  there() = {{"/a", "1"}, {"/b", "1"}, {"/c", "1"}, {"/d", "1"}};
  start();
  EXPECT_THAT(memories->read_only_roots(), ElementsAre("/mnt/m1"));
  local()["a"] = "mine";
  local()["new"] = "mine";
  local().erase("b");
  there()["/c"] = "2";
  there().erase("/d");
  sync();
  clock.now += kDeletionWait;
  sync();
  EXPECT_EQ(here(), (Files{{"a", "mine"}, {"c", "2"}, {"new", "mine"}}));
  there()["/a"] = "2";
  sync();
  EXPECT_EQ(local()["a"], "2");
  local()["a"] = "mine again";
  finish();
  EXPECT_EQ(there(), (Files{{"/a", "2"}, {"/b", "1"}, {"/c", "2"}}));
  EXPECT_THAT(remote->asked, Each(StartsWith("get ")));
}

TEST_F(StoreSyncTest, ARefusedFileIsRememberedUntilItChanges) {
  for (int status : {400, 413}) {
    there().clear();
    folder().files.reset();
    start();
    local()["a"] = "bad";
    remote->faults["create"] = {{status}};
    sync();
    sync();
    EXPECT_THAT(remote->asked, ElementsAre("create /a"));
    local()["a"] = "good";
    sync();
    EXPECT_EQ(there()["/a"], "good");
    remote->faults["update"] = {{status}};
    local()["a"] = "bad";
    sync();
    sync();
    finish();
    EXPECT_EQ(there()["/a"], "good");
    EXPECT_THAT(remote->asked, ElementsAre("create /a", "create /a", "update /a"));
  }
}

TEST_F(StoreSyncTest, WhatCannotBeAMemoryIsNotSent) {
  options.content = 10;
  start();
  local()["binary"] = "\xff\xfe";
  local()["big"] = std::string(11, 'x');
  local()["name\xff"] = "x";
  local()["a\nb"] = "x";
  local()["good"] = std::string(10, 'x');
  sync();
  EXPECT_THAT(remote->asked, ElementsAre("create /good"));
  std::vector<std::string> read;
  folder().before = [&](const std::string& doing) {
    if (doing.starts_with("read")) read.push_back(doing);
  };
  sync();
  EXPECT_THAT(read, IsEmpty());
  local()["binary"] = "text";
  sync();
  EXPECT_EQ(there()["/binary"], "text");
}

TEST_F(StoreSyncTest, MarkersAndUnfinishedWritesAreNotUploaded) {
  start();
  local()[".fs-0123456789abcdef.tmp"] = "x";
  local()["a/.fs-0123456789abcdef.tmp"] = "x";
  sync();
  finish();
  EXPECT_THAT(remote->asked, IsEmpty());
}

TEST_F(StoreSyncTest, WhatTheServiceMayNotNameIsNotWritten) {
  there() = {{"/../out", "x"}, {"/" + kMarker, "x"}, {"/a//b", "x"}, {"/good", "x"}};
  start();
  there()["/new/../../out"] = "x";
  sync();
  EXPECT_EQ(local(), (Files{{kMarker, "version 1\nm1"}, {"good", "x"}}));
  EXPECT_THAT(there(), SizeIs(5));
}

TEST_F(StoreSyncTest, AnUploadThatIsOvertakenLoses) {
  there() = {{"/a", "1"}};
  start();
  local()["a"] = "mine";
  remote->before = [&](const std::string& verb) {
    if (verb == "update") there()["/a"] = "theirs";
  };
  sync();
  EXPECT_EQ(there()["/a"], "theirs");
  remote->before = nullptr;
  sync();
  EXPECT_EQ(local()["a"], "theirs");
}

TEST_F(StoreSyncTest, AnUpdateOfWhatIsGoneCreatesIt) {
  there() = {{"/a", "1"}};
  start();
  local()["a"] = "mine";
  remote->before = [&](const std::string& verb) {
    if (verb == "update") there().erase("/a");
  };
  sync();
  EXPECT_EQ(there()["/a"], "mine");
}

TEST_F(StoreSyncTest, AFailedUploadIsTriedAgain) {
  there() = {{"/a", "1"}};
  start();
  local()["a"] = "2";
  local()["b"] = "2";
  remote->faults["update"] = {{500}};
  remote->faults["create"] = {{0}};
  sync();
  EXPECT_EQ(there(), (Files{{"/a", "1"}}));
  sync();
  EXPECT_EQ(there(), (Files{{"/a", "2"}, {"/b", "2"}}));
}

TEST_F(StoreSyncTest, AnUploadThatNobodyAnsweredIsOurs) {
  there() = {{"/a", "1"}};
  start();
  local()["a"] = "2";
  remote->faults["update"] = {{0, true}};
  sync();
  EXPECT_EQ(there()["/a"], "2");
  local()["a"] = "3";  // over what arrived: no conflict
  sync();
  EXPECT_EQ(there()["/a"], "3");
  EXPECT_EQ(local()["a"], "3");
}

TEST_F(StoreSyncTest, ADeletionAfterAnUnansweredUploadIsADeletion) {
  there() = {{"/b", "1"}};
  start();
  local()["a"] = "1";
  remote->faults["create"] = {{0, true}};
  sync();
  local().erase("a");
  sync();
  clock.now += kDeletionWait;
  sync();
  EXPECT_FALSE(there().contains("/a"));
}

TEST_F(StoreSyncTest, AnUploadThatNeverArrivedClaimsNobodysMemory) {
  start();
  local()["a"] = "1";
  remote->faults["create"] = {{0}};
  sync();
  local().erase("a");
  sync();
  there()["/a"] = "1";
  sync();
  EXPECT_EQ(local()["a"], "1");
}

TEST_F(StoreSyncTest, AFailedFetchIsTriedAgainAndIsNoDeletion) {
  start();
  there()["/a"] = "1";
  there()["/b"] = "1";
  remote->faults["get"] = {{500}};
  folder().failing = "b";
  sync();
  EXPECT_THAT(here(), IsEmpty());
  folder().failing = "";
  sync();
  EXPECT_EQ(here(), (Files{{"a", "1"}, {"b", "1"}}));
  EXPECT_THAT(there(), SizeIs(2));
}

TEST_F(StoreSyncTest, AFailedListChangesNothing) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local()["a"] = "2";
  remote->faults["list"] = {{500}};
  sync();
  EXPECT_THAT(remote->asked, IsEmpty());
  sync();
  EXPECT_EQ(there()["/a"], "2");
}

TEST_F(StoreSyncTest, NoMoreMemoriesThanTheServiceTakes) {
  options.memories = 3;
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local()["c"] = local()["d"] = local()["e"] = "1";
  sync();
  EXPECT_THAT(there(), SizeIs(3));
  local()["a"] = "2";
  sync();
  EXPECT_EQ(there()["/a"], "2");
  EXPECT_THAT(there(), SizeIs(3));
}

TEST_F(StoreSyncTest, AFolderOfTooManyFilesIsNotSynced) {
  options.files = 3;
  start();
  for (int i = 0; i < 3; ++i) local()[str(i)] = "x";
  sync();
  EXPECT_THAT(remote->asked, IsEmpty());
  local().erase("2");
  sync();
  EXPECT_THAT(remote->asked, SizeIs(2));
}

}  // namespace
}  // namespace glovebox::runner
