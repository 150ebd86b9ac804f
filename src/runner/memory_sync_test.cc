#include "runner/memory_sync.h"

#include "runner/fake_memory.h"

namespace glovebox::runner {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;
using testing::UnorderedElementsAre;

using Files = MemoryFiles;

TEST_F(MemorySyncTest, DownloadsAllPagesBesideAMarker) {
  there() = {{"/a", "1"}, {"/b/c", "2"}, {"/d", "3"}, {"/e", ""}, {"/f", "5"}};
  start();
  EXPECT_EQ(local(), (Files{{kMarker, "version 1\nm1"},
                            {"a", "1"},
                            {"b/c", "2"},
                            {"d", "3"},
                            {"e", ""},
                            {"f", "5"}}));
  EXPECT_THAT(memories->roots(), ElementsAre("/mnt/m1"));
  EXPECT_THAT(memories->read_only_roots(), IsEmpty());
}

TEST_F(MemorySyncTest, ASessionWithoutStoresAsksForNothing) {
  session = R"({"resources":[]})";
  EXPECT_FALSE(has_memory(session));
  start();
  sync();
  EXPECT_TRUE(run(memories->keep_synced()));
  finish();
  EXPECT_EQ(remote->lists, 0u);
}

TEST_F(MemorySyncTest, AFolderThatIsThereFailsTheItemAndStays) {
  folder().files = Files{{kMarker, "version 1\nm1"}, {"a", "kept"}};
  folder().claimable = false;
  ASSERT_FALSE(download());
  finish(MemorySync::End::aborted);
  EXPECT_EQ(here(), (Files{{"a", "kept"}}));
  EXPECT_THAT(remote->asked, IsEmpty());
}

TEST_F(MemorySyncTest, WhatAWorkerOfOursHadNotPutAwayIsTakenOver) {
  folder().files = Files{{kMarker, "version 1\nm1"}, {"new", "work"}, {"same", "1"}, {"old", "x"}};
  there() = {{"/same", "1"}, {"/old", "y"}, {"/other", "2"}};
  start();
  EXPECT_EQ(here(), (Files{{"new", "work"}, {"same", "1"}, {"old", "y"}, {"other", "2"}}));
  EXPECT_EQ(there()["/new"], "work");
  finish();
  EXPECT_FALSE(folder().files);
}

TEST_F(MemorySyncTest, AnothersFolderIsNotTakenOver) {
  for (const char* marker : {"version 1\nm2", "", "version 1\nm1\n"}) {
    folder().files = Files{{kMarker, marker}, {"a", "x"}};
    EXPECT_FALSE(download()) << marker;
  }
}

TEST_F(MemorySyncTest, WhatCannotBeDownloadedFailsTheItemAndIsPutAway) {
  there() = {{"/a", "1"}};
  remote->faults["list"] = {{500}};
  EXPECT_FALSE(download());
  finish(MemorySync::End::aborted);
  EXPECT_FALSE(folder().files);

  folder().failing = "create";
  EXPECT_FALSE(download());
}

TEST_F(MemorySyncTest, AListThatDoesNotEndFailsTheItem) {
  remote->endless = true;
  EXPECT_FALSE(download());
}

TEST_F(MemorySyncTest, FoldersInsideOneAnotherFailTheItem) {
  session = R"({"resources":[
      {"type":"memory_store","memory_store_id":"m1","mount_path":"/mnt/m"},
      {"type":"memory_store","memory_store_id":"m2","mount_path":"/mnt/m/x"}]})";
  EXPECT_FALSE(download());
}

TEST_F(MemorySyncTest, NothingIsAskedBeforeItIsDue) {
  start();
  remote->lists = 0;
  clock.now += options.interval - Millis(1);
  EXPECT_TRUE(run(memories->sync_if_due()));
  EXPECT_EQ(remote->lists, 0u);
  clock.now += Millis(1);
  EXPECT_TRUE(run(memories->sync_if_due()));
  EXPECT_TRUE(run(memories->sync_if_due()));
  EXPECT_EQ(remote->lists, 1u);
}

TEST_F(MemorySyncTest, AnAbortedEndDeletesNothing) {
  there() = {{"/a", "1"}, {"/b", "1"}};
  start();
  local().erase("a");
  local()["b"] = "2";
  finish(MemorySync::End::aborted);
  EXPECT_TRUE(there().contains("/a"));
  EXPECT_EQ(there()["/b"], "2");
  EXPECT_FALSE(folder().files);
}

TEST_F(MemorySyncTest, TwoThousandMemoriesGoBothWays) {
  remote->page = 100;
  for (int i = 0; i < 1000; ++i) there()[str("/", i)] = str(i);
  start();
  EXPECT_THAT(here(), SizeIs(1000));
  for (int i = 1000; i < 2000; ++i) local()[str(i)] = str(i);
  finish();
  EXPECT_THAT(there(), SizeIs(2000));
  EXPECT_LE(remote->most_at_once, options.uploads);
  EXPECT_GT(remote->most_at_once, 1u);
}

TEST_F(MemorySyncTest, TheFlushLeavesWhatTheServiceHasChanged) {
  there() = {{"/a", "1"}, {"/b", "1"}, {"/c", "1"}};
  start();
  local()["a"] = local()["b"] = local()["c"] = local()["new"] = "mine";
  there()["/a"] = "theirs";
  there()["/b"] = "mine";
  there().erase("/c");
  finish(MemorySync::End::aborted);
  EXPECT_EQ(there(), (Files{{"/a", "theirs"}, {"/b", "mine"}, {"/c", "mine"}, {"/new", "mine"}}));
  EXPECT_THAT(remote->asked, UnorderedElementsAre("create /c", "create /new"));
}

TEST_F(MemorySyncTest, AFlushAfterAWholeSyncAsksForNothing) {
  there() = {{"/a", "1"}};
  start();
  local()["a"] = "2";
  remote->lists = 0;
  finish();
  EXPECT_EQ(remote->lists, 1u);
  EXPECT_FALSE(folder().files);
}

TEST_F(MemorySyncTest, AServiceThatDoesNotAnswerDelaysTheEndByItsLimits) {
  options.final_limit = options.flush_limit = Millis(50);
  start();
  local()["a"] = "1";
  remote->stuck = true;
  finish();
  EXPECT_FALSE(folder().files);
  EXPECT_EQ(remote->at_once, 0u);
}

TEST_F(MemorySyncTest, TheFlushSavesWhatTheLastSyncCouldNot) {
  start();
  local()["a"] = "1";
  remote->faults["list"] = {{500}};
  finish();
  EXPECT_EQ(there()["/a"], "1");
}

TEST_F(MemorySyncTest, EachStoreIsSyncedWhateverBecomesOfTheOthers) {
  session = str(R"({"resources":[)", store("m1"), ",", store("m2"), "]}");
  start();
  (*at("/mnt/m1")->files)[kMarker] = "another's";
  (*at("/mnt/m1")->files)["a"] = "x";
  (*at("/mnt/m2")->files)["a"] = "x";
  sync();
  EXPECT_THAT(remote->stores["m1"], IsEmpty());
  EXPECT_THAT(remote->stores["m2"], Contains(Pair("/a", "x")));
  finish();
  EXPECT_TRUE(at("/mnt/m1")->files);
  EXPECT_FALSE(at("/mnt/m2")->files);
}

Task<void> until_uploaded(FakeMemories& remote) {
  while (!remote.stores["m1"].contains("/a")) CO_TRY_DO(co_await net::sleep(Millis(1)));
  co_return ok;
}
TEST_F(MemorySyncTest, ALongCallIsSyncedWhileItRuns) {
  options.interval = Millis(0);
  start();
  local()["a"] = "1";
  EXPECT_TRUE(run(net::first_of(memories->keep_synced(), until_uploaded(*remote))));
  EXPECT_EQ(there()["/a"], "1");
  finish();
}

TEST_F(MemorySyncTest, CancellingASyncLosesNothing) {
  there() = {{"/b", "1"}};
  start();
  local()["a"] = "1";
  remote->stuck = true;
  clock.now += options.interval;
  EXPECT_TRUE(run(net::first_of(net::sleep(Millis(20)), memories->sync_if_due())));
  remote->stuck = false;
  finish();
  EXPECT_EQ(there(), (Files{{"/a", "1"}, {"/b", "1"}}));
}

}  // namespace
}  // namespace glovebox::runner
