#include "orchestrator/session_scripts.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/str.h"
#include "base/temp_dir.h"

namespace glovebox::orchestrator {
namespace {

// A box's directory, with this machine's shell in it.
class SessionScripts : public ::testing::Test {
 protected:
  SessionScripts() { box = make_temp_dir("glovebox-scripts"); }
  ~SessionScripts() override { std::filesystem::remove_all(box); }

  void write(const std::string& path, std::string_view text) {
    std::filesystem::create_directories(std::filesystem::path(box + path).parent_path());
    std::ofstream(box + path) << text;
  }
  std::string read(const std::string& path) {
    std::ifstream file(box + path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bool run(std::string_view script, const std::vector<std::string>& args) {
    write("/script", script);
    std::string command = str("sh ", box, "/script");
    for (const std::string& arg : args)
      command += str(" '", arg.starts_with('/') ? box : "", arg, "'");
    return std::system((command + " >" + box + "/said").c_str()) == 0;
  }
  // The numbers of those that are there, of the two.
  std::string there(const std::string& session = "s") {
    EXPECT_TRUE(run(kThere, {session, "/all", "/v/mark0", "/mark1"}));
    return read("/said");
  }
  bool finish(const std::string& target, const std::string& mark) {
    return run(kFinish, {"/parts/0", target, mark, "s"});
  }

  std::string box;
};

TEST_F(SessionScripts, WhatAnImageHasIsReplacedAndIsNotThereBefore) {
  write("/etc/conf", "the image's");
  EXPECT_EQ(there(), "");
  write("/parts/0/tree", "asked for");
  ASSERT_TRUE(finish("/etc/conf", "/v/mark0"));
  EXPECT_EQ(read("/etc/conf"), "asked for");
  EXPECT_EQ(there(), "0\n");
  EXPECT_FALSE(std::filesystem::exists(box + "/parts"));
}

TEST_F(SessionScripts, ADirectoryIsLaidOverWhatIsThereAndAFileIsNot) {
  write("/work/of-another", "kept");
  write("/work/same", "old");
  ASSERT_EQ(::chmod((box + "/work/same").c_str(), 0400), 0);
  write("/parts/0/tree/same", "new");
  ASSERT_TRUE(finish("/work", "/mark1"));
  EXPECT_EQ(read("/work/of-another") + read("/work/same"), "keptnew");
  EXPECT_EQ(there(), "1\n");
  write("/parts/0/tree", "a file");
  EXPECT_FALSE(finish("/work", "/v/mark0"));
  EXPECT_EQ(there(), "1\n");
}

TEST_F(SessionScripts, AnotherSessionsMarksSayNothing) {
  write("/all", "s");
  EXPECT_EQ(there(), "placed\n");
  EXPECT_EQ(there("other"), "");
  write("/mark1", "s2");
  EXPECT_EQ(there("other"), "");
}

}  // namespace
}  // namespace glovebox::orchestrator
