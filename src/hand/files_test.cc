// File operations and agent tools.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "hand/test_box.h"

namespace glovebox::hand {
namespace {

namespace fs = std::filesystem;

std::string content(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Files : public testing::Test {
 protected:
  Box box_;
  Client engine_ = box_.connect();
  std::string path(std::string name) { return box_.dir() + "/" + name; }
};
using Tools = Files;

TEST_F(Files, WhatIsWrittenIsReadBack) {
  std::string data;
  while (data.size() < 3'000'000) data += str(data.size(), ' ');
  auto written = engine_.run(file("write", path("new/deep/file")), data);
  EXPECT_EQ(written.info.exit_code, 0) << written.err;
  EXPECT_TRUE(content(path("new/deep/file")) == data);
  auto read = engine_.run(file("read", path("new/deep/file")));
  EXPECT_EQ(read.info.exit_code, 0);
  EXPECT_TRUE(read.out == data);
}

TEST_F(Files, AFileIsReplacedAtTheEndAndKeepsItsMode) {
  std::ofstream(path("f")) << "old";
  ::chmod(path("f").c_str(), 0750);
  auto spec = file("write", path("f"));
  spec.stdin_mode = StdinMode::pipe;
  auto info = engine_.start(spec);
  ASSERT_TRUE(info);
  std::uint32_t id = engine_.last_id();
  engine_.feed(info->handle, "new");
  EXPECT_EQ(content(path("f")), "old");
  EXPECT_TRUE(engine_.ask(Type::input_end, Writer().u64(info->handle).take()));
  EXPECT_EQ(engine_.collect(id).info.exit_code, 0);
  EXPECT_EQ(content(path("f")), "new");
  EXPECT_EQ(fs::status(path("f")).permissions(), fs::perms(0750));
}

StartSpec place(const std::string& path, const std::string& base, const std::string& mode) {
  StartSpec spec = file("place", path);
  spec.argv.insert(spec.argv.end(), {base, mode});
  return spec;
}

TEST_F(Files, ATreeIsMadeSeenAndTakenAway) {
  EXPECT_EQ(engine_.run(file("folder", path("mnt/m"))).info.exit_code, 0);
  auto placed = engine_.run(place(path("mnt/m/a/b"), path("mnt/m"), "755"), "abc");
  EXPECT_EQ(placed.info.exit_code, 0) << placed.err;
  EXPECT_EQ(engine_.run(place(path("mnt/m/a/b"), path("mnt/m"), "600"), "abcd").info.exit_code, 0);
  struct stat info{};
  ASSERT_EQ(::stat(path("mnt/m/a/b").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  ASSERT_EQ(::stat(path("mnt/m/a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
  fs::create_symlink("/etc/passwd", path("mnt/m/link"));
  ASSERT_EQ(::mkfifo(path("mnt/m/pipe").c_str(), 0600), 0);
  auto seen = engine_.run(file("scan", path("mnt/m")));
  EXPECT_EQ(seen.out, R"({"kind":"folder","files":[{"path":"a/b","size":4,"sha256":)"
                      R"("88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"}]})");
  seen = engine_.run(file("scan", path("mnt/m/a/b")));
  EXPECT_TRUE(seen.out.starts_with(R"({"kind":"file","files":[{"path":"","size":4)")) << seen.out;
  EXPECT_EQ(engine_.run(file("scan", path("mnt/m/link"))).out, R"({"kind":"other","files":[]})");
  EXPECT_EQ(engine_.run(file("scan", path("mnt/none"))).info.exit_code, ENOENT);
  EXPECT_EQ(engine_.run(file("remove", path("mnt/m"))).info.exit_code, 0);
  EXPECT_EQ(engine_.run(file("remove", path("mnt/m"))).info.exit_code, 0);
  EXPECT_FALSE(fs::exists(path("mnt/m")));
}

TEST_F(Files, ATreeMayCountFromTheWorkDirectory) {
  EXPECT_EQ(engine_.run(file("folder", "./skills/pdf")).info.exit_code, 0);
  EXPECT_EQ(engine_.run(place("./skills/pdf/a", "./skills/pdf", "755"), "x").info.exit_code, 0);
  EXPECT_TRUE(fs::exists(path("skills/pdf/a")));
  EXPECT_TRUE(engine_.run(file("scan", "skills")).out.contains(R"("path":"pdf/a")"));
  EXPECT_FALSE(engine_.start(file("scan", "../x")));
  EXPECT_FALSE(engine_.start(file("scan", "")));
  EXPECT_EQ(engine_.run(file("remove", "./skills")).info.exit_code, 0);
  EXPECT_FALSE(fs::exists(path("skills")));
}

TEST_F(Files, AFolderIsGivenToWhoeverCouldNotMakeIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: the folder is for another user";
  ::chmod(box_.dir().c_str(), 0755);
  auto spec = file("folder", path("mnt/memory/m"));
  spec.user = "65534:65534";
  EXPECT_EQ(engine_.run(spec).info.exit_code, 0);
  struct stat info{};
  for (const char* made : {"mnt", "mnt/memory/m"}) {
    ASSERT_EQ(::stat(path(made).c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, 65534u);
    EXPECT_EQ(info.st_mode & 07777, 0700u);
  }
  auto note = place(path("mnt/memory/m/a"), path("mnt/memory/m"), "600");
  note.user = "65534:65534";
  EXPECT_EQ(engine_.run(note, "x").info.exit_code, 0);
}

TEST_F(Files, NothingIsPlacedThroughALinkOrIntoAFolderThatIsGone) {
  fs::create_directories(path("outside"));
  fs::create_directories(path("m"));
  fs::create_directory_symlink(path("outside"), path("m/way"));
  fs::create_directory_symlink(path("m"), path("other"));
  for (const auto& [file, base] :
       {std::pair{"m/way/x", "m"}, {"other/x", "other"}, {"gone/x", "gone"}})
    EXPECT_NE(engine_.run(place(path(file), path(base), "600"), "x").info.exit_code, 0) << file;
  EXPECT_TRUE(fs::is_empty(path("outside")));
  EXPECT_FALSE(fs::exists(path("m/x")));
  EXPECT_FALSE(engine_.start(place("/etc/x", path("m") + "/..", "600")));
  for (const char* mode : {"8", "1777", "", "x"})
    EXPECT_EQ(engine_.run(place(path("m/x"), path("m"), mode), "x").info.exit_code, EINVAL) << mode;
}

TEST_F(Files, ALinkStaysALink) {
  std::ofstream(path("target")) << "old";
  fs::create_symlink("target", path("link"));
  EXPECT_EQ(engine_.run(file("write", path("link")), "new").info.exit_code, 0);
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(content(path("target")), "new");
}

TEST_F(Files, AnUploadThatIsKilledLeavesNothing) {
  for (int number : {SIGTERM, SIGKILL}) {
    auto spec = file("write", path("partial"));
    spec.stdin_mode = StdinMode::pipe;
    auto info = engine_.start(spec);
    ASSERT_TRUE(info);
    std::uint32_t id = engine_.last_id();
    engine_.feed(info->handle, std::string(200'000, 'x'));
    EXPECT_TRUE(engine_.ask(Type::signal, Writer().u64(info->handle).u32(number).u8(1).take()));
    EXPECT_NE(engine_.collect(id).info.status, Status::running);
    EXPECT_TRUE(fs::is_empty(box_.dir()));
  }
}

TEST_F(Files, AnUploadWhoseEngineIsGoneIsNotTakenForTheWhole) {
  std::ofstream(path("f")) << "old";
  std::uint64_t handle = 0;
  {
    Client dying = box_.connect();
    auto spec = file("write", path("f"));
    spec.stdin_mode = StdinMode::pipe;
    auto info = dying.start(spec);
    ASSERT_TRUE(info);
    handle = info->handle;
    dying.feed(handle, "half of the");
  }
  EXPECT_TRUE(eventually([&] { return engine_.get(handle).status == Status::signaled; }));
  EXPECT_EQ(content(path("f")), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(box_.dir()), {}), 1);
}

TEST_F(Files, AFailureIsItsErrnoWithWords) {
  fs::create_directory(path("dir"));
  ::mkfifo(path("fifo").c_str(), 0600);
  std::ofstream(path("plain")) << "x";
  struct {
    const char *verb, *name;
    int number;
  } cases[] = {{"read", "missing", ENOENT},   {"read", "dir", EISDIR},
               {"read", "fifo", EINVAL},      {"read", "plain/below", ENOTDIR},
               {"write", "dir", EISDIR},      {"write", "fifo", EINVAL},
               {"write", "plain/x", ENOTDIR}, {"delete", "missing", ENOENT},
               {"list", "missing", ENOENT},   {"list", "plain", ENOTDIR}};
  for (auto& [verb, name, number] : cases) {
    auto outcome = engine_.run(file(verb, path(name)), "data");
    EXPECT_EQ(outcome.info.exit_code, number) << verb << ' ' << name;
    EXPECT_NE(outcome.err.find(path(name)), std::string::npos) << outcome.err;
  }
}

TEST_F(Files, PathsThatClimbOrAreRelativeAreRefused) {
  EXPECT_EQ(engine_.start(file("read", "/tmp/../etc/passwd")).error().tag, "PATH_TRAVERSAL");
  EXPECT_EQ(engine_.start(file("read", "/..")).error().tag, "PATH_TRAVERSAL");
  EXPECT_EQ(engine_.start(file("read", "etc/passwd")).error().tag, "PATH_NOT_ABSOLUTE");
  EXPECT_EQ(engine_.start(file("chmod", "/etc")).error().code, Code::invalid);
  EXPECT_TRUE(engine_.start(file("read", path("..data"))));  // only a part that is ".." climbs
}

TEST_F(Files, DeleteTakesFilesAndEmptyDirectories) {
  std::ofstream(path("f")) << "x";
  fs::create_directories(path("d/e"));
  EXPECT_EQ(engine_.run(file("delete", path("f"))).info.exit_code, 0);
  EXPECT_EQ(engine_.run(file("delete", path("d/e"))).info.exit_code, 0);
  EXPECT_FALSE(fs::exists(path("f")));
  std::ofstream(path("d/x")) << "x";
  EXPECT_EQ(engine_.run(file("delete", path("d"))).info.exit_code, ENOTEMPTY);
}

TEST_F(Files, AListHasDirectoriesFirst) {
  fs::create_directory(path("zdir"));
  std::ofstream(path("b")) << "12345";
  std::ofstream(path("a\"q")) << "";
  fs::create_symlink("nowhere", path("c"));
  auto outcome = engine_.run(file("list", box_.dir()));
  ASSERT_EQ(outcome.info.exit_code, 0) << outcome.err;
  const std::string& json = outcome.out;
  EXPECT_TRUE(json.starts_with(
      str("{\"path\":\"", box_.dir(),
          "\",\"entries\":[{\"name\":\"zdir\",\"is_dir\":true,\"size\":null,\"modified_at\":")))
      << json;
  auto a = json.find("{\"name\":\"a\\\"q\",\"is_dir\":false,\"size\":0,");
  auto b = json.find("{\"name\":\"b\",\"is_dir\":false,\"size\":5,");
  auto c = json.find("{\"name\":\"c\",");
  EXPECT_TRUE(a < b && b < c && c != json.npos) << json;
  EXPECT_EQ(engine_.run(file("list", path("zdir"))).out,
            str("{\"path\":\"", path("zdir"), "\",\"entries\":[]}"));
}

TEST_F(Files, TheUserTheyAreForIsAsked) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ::chmod(box_.dir().c_str(), 0755);
  std::ofstream(path("secret")) << "x";
  ::chmod(path("secret").c_str(), 0600);
  auto spec = file("read", path("secret"));
  spec.user = "65534:65534";
  EXPECT_EQ(engine_.run(spec).info.exit_code, EACCES);
  auto who = shell("id -u; id -g; id -G");
  who.user = "65534:65533";
  EXPECT_EQ(engine_.run(who).out, "65534\n65533\n65533\n");
  who = shell("echo $USER $HOME");
  who.user = "nobody";
  EXPECT_EQ(engine_.run(who).out, "nobody /nonexistent\n");
  who.user = "nobody-of-that-name";
  EXPECT_EQ(engine_.start(who).error().tag, "USER_NOT_FOUND");
  who.user = "1:x";
  EXPECT_EQ(engine_.start(who).error().tag, "USER_NOT_FOUND");
}

TEST_F(Tools, WriteReadEditGlobAndGrepWork) {
  auto call = [&](const char* name, std::string json) { return engine_.run(tool(name), json).out; };
  std::string file_path = path("t.txt");
  EXPECT_NE(
      call("write", str("{\"file_path\":\"", file_path, "\",\"content\":\"alpha\\nbeta\\n\"}"))
          .find("\"is_error\":false"),
      std::string::npos);
  EXPECT_EQ(content(file_path), "alpha\nbeta\n");
  EXPECT_NE(call("read", str("{\"file_path\":\"", file_path, "\"}")).find("beta"),
            std::string::npos);
  EXPECT_NE(call("edit", str("{\"file_path\":\"", file_path,
                             "\",\"old_string\":\"beta\",\"new_string\":\"gamma\"}"))
                .find("\"is_error\":false"),
            std::string::npos);
  EXPECT_NE(call("glob", "{\"pattern\":\"*.txt\"}").find("t.txt"), std::string::npos);
  EXPECT_NE(call("grep", "{\"pattern\":\"gam+a\"}").find("gamma"), std::string::npos);
  EXPECT_NE(call("read", "not json").find("\"is_error\":true"), std::string::npos);
}

TEST_F(Tools, UnknownOnesAreRefused) {
  EXPECT_EQ(engine_.start(tool("rm")).error().code, Code::invalid);
}

std::string bash(Client& engine, std::string json) { return engine.run(tool("bash"), json).out; }
const std::string kFine = "\",\"is_error\":false}";

TEST_F(Tools, BashRemembersBetweenCallsAndEngines) {
  EXPECT_EQ(bash(engine_, R"({"command":"cd /; X=5; echo hi"})"), "{\"content\":\"hi" + kFine);
  Client other = box_.connect();
  EXPECT_EQ(bash(other, R"({"command":"pwd; echo $X"})"), "{\"content\":\"/\\n5" + kFine);
}

TEST_F(Tools, BashBackgroundJobsOutliveTheCall) {
  EXPECT_EQ(bash(engine_, R"({"command":"sleep 1000 & echo $!"})").find("error\":true"),
            std::string::npos);
  EXPECT_EQ(bash(engine_, R"({"command":"kill -0 %1 && echo alive"})"),
            "{\"content\":\"alive" + kFine);
}

TEST_F(Tools, BashThatTakesTooLongIsKilledAndTheNextIsNew) {
  bash(engine_, R"({"command":"X=5; sleep 1000 & echo $! > job"})");
  auto late = bash(engine_, R"({"command":"sleep 1000","timeout_ms":100})");
  EXPECT_NE(late.find("timed out after 100ms"), std::string::npos) << late;
  EXPECT_EQ(bash(engine_, R"({"command":"echo new $X"})"), "{\"content\":\"new" + kFine);
}

TEST_F(Tools, BashRestartBeginsAnew) {
  bash(engine_, R"({"command":"X=5"})");
  EXPECT_EQ(bash(engine_, R"({"restart":true})"), "{\"content\":\"bash session restarted" + kFine);
  EXPECT_EQ(bash(engine_, R"({"command":"echo x$X"})"), "{\"content\":\"x" + kFine);
}

TEST_F(Tools, ANewShellWaitsUntilTheLastOneHasLetGo) {
  for (int i = 0; i < 20; ++i) {
    bash(engine_, R"({"command":"exec 8>lock; flock -n 8; sleep 1000 & sleep 1000 &"})");
    EXPECT_EQ(bash(engine_, R"({"command":"flock -n lock echo free","restart":true})"),
              "{\"content\":\"free" + kFine);
  }
}

TEST_F(Tools, BashThatExitsIsReplaced) {
  auto gone = bash(engine_, R"({"command":"exit 3"})");
  EXPECT_NE(gone.find("bash session terminated"), std::string::npos) << gone;
  EXPECT_EQ(bash(engine_, R"({"command":"echo back"})"), "{\"content\":\"back" + kFine);
}

TEST_F(Tools, BashCallsTakeTurns) {
  std::vector<std::uint32_t> ids;
  std::vector<std::uint64_t> handles;
  for (int i = 0; i < 8; ++i) {
    auto spec = tool("bash");
    auto info = engine_.start(spec);
    ASSERT_TRUE(info);
    ids.push_back(engine_.last_id());
    handles.push_back(info->handle);
  }
  for (auto handle : handles) {
    engine_.feed(handle, R"({"command":"N=$((N+1)); sleep 0.01; echo $N"})");
    EXPECT_TRUE(engine_.ask(Type::input_end, Writer().u64(handle).take()));
  }
  std::vector<std::string> said;
  for (auto id : ids) said.push_back(engine_.collect(id).out);
  std::ranges::sort(said);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(said[i], str("{\"content\":\"", i + 1) + kFine);
}

TEST_F(Tools, ABashCallThatIsKilledTakesItsShellAlong) {
  auto info = engine_.start(tool("bash"));
  ASSERT_TRUE(info);
  std::uint32_t id = engine_.last_id();
  engine_.feed(info->handle, R"({"command":"X=5; touch running; sleep 1000"})");
  EXPECT_TRUE(engine_.ask(Type::input_end, Writer().u64(info->handle).take()));
  ASSERT_TRUE(eventually([&] { return fs::exists(path("running")); }));
  EXPECT_TRUE(engine_.ask(Type::signal, Writer().u64(info->handle).u32(SIGKILL).u8(1).take()));
  EXPECT_EQ(engine_.collect(id).info.status, Status::signaled);
  EXPECT_EQ(bash(engine_, R"({"command":"echo new$X"})"), "{\"content\":\"new" + kFine);
}

TEST_F(Tools, ABashCallHasATimeLimitOfItsOwn) {
  auto spec = tool("bash");
  spec.timeout_ms = 200;
  auto outcome = engine_.run(spec, R"({"command":"sleep 1000"})");
  EXPECT_TRUE(outcome.info.timed_out);
  EXPECT_EQ(bash(engine_, R"({"command":"echo next"})"), "{\"content\":\"next" + kFine);
}

TEST_F(Tools, ATooLargeInputIsRefused) {
  auto outcome = engine_.run(tool("write"), std::string(9 << 20, ' '));
  EXPECT_NE(outcome.out.find("\"is_error\":true"), std::string::npos);
}

}  // namespace

TEST_F(Files, OneProcessDoesToolCallAfterToolCall) {
  std::ofstream(path("f")) << "text";
  fs::create_directory(path("sub"));
  std::ofstream(path("sub/inner")) << "x";
  auto call = [&](std::string name, std::string input, std::string cwd = "") {
    auto spec = tool(std::move(name));
    spec.cwd = std::move(cwd);
    return engine_.run(spec, std::move(input));
  };
  auto has = [](const Outcome& outcome, std::string_view text) {
    return outcome.out.find(text) != std::string::npos;
  };
  auto first = call("read", R"({"file_path":"f"})");
  EXPECT_TRUE(has(first, "text"));
  auto second = call("glob", R"({"pattern":"*"})");
  EXPECT_EQ(second.info.pid, first.info.pid);
  EXPECT_NE(second.info.handle, first.info.handle);
  EXPECT_EQ(second.info.exit_code, 0);
  // Nothing of a call is left for the next: not its directory, and not its shell.
  EXPECT_TRUE(has(call("glob", R"({"pattern":"*"})", path("sub")), "inner"));
  EXPECT_FALSE(has(call("glob", R"({"pattern":"*"})"), "inner"));
  EXPECT_TRUE(has(call("bash", R"x({"command":"echo $((6*7))"})x"), "42"));
  EXPECT_EQ(call("read", R"({"file_path":"f"})").out, first.out);
}

TEST_F(Files, AToolProcessThatIsKilledBetweenCallsIsReplaced) {
  std::ofstream(path("f")) << "text";
  auto first = engine_.run(tool("read"), R"({"file_path":"f"})");
  ASSERT_EQ(::kill(static_cast<pid_t>(first.info.pid), SIGKILL), 0);
  auto second = engine_.run(tool("read"), R"({"file_path":"f"})");
  EXPECT_EQ(second.out, first.out);
  // Of the call that is over nobody can kill its process any more: it may be another call's by now.
  Result<Frame> late =
      engine_.ask(Type::signal, Writer().u64(second.info.handle).u32(SIGKILL).u8(1).take());
  EXPECT_EQ(late.error().tag, "PROCESS_NOT_RUNNING");
  EXPECT_EQ(engine_.run(tool("read"), R"({"file_path":"f"})").out, first.out);
}

TEST_F(Files, AToolCallWithALargeAnswerTakesItsProcessAlong) {
  std::ofstream(path("big")) << std::string(3'000'000, 'x');
  auto small = engine_.run(tool("glob"), R"({"pattern":"*"})");
  auto large = engine_.run(
      tool("write"), str(R"({"file_path":"f","content":")", std::string(400'000, 'y'), "\"}"));
  EXPECT_EQ(large.info.pid, small.info.pid);
  auto next = engine_.run(tool("glob"), R"({"pattern":"*"})");
  EXPECT_NE(next.info.pid, small.info.pid);
  EXPECT_EQ(next.info.exit_code, 0);
}

}  // namespace glovebox::hand
