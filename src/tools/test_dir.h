// A folder with a work directory in it, gone at the end of the test.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/temp_dir.h"
#include "tools/tools.h"

namespace glovebox::tools {

class ToolTest : public ::testing::Test {
 protected:
  ToolTest() {
    top = std::filesystem::canonical(make_temp_dir("glovebox-tools")).string();
    work = top + "/work";
    std::filesystem::create_directory(work);
    context.workdir = work;
  }
  ~ToolTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(top, ignored);
  }

  // Paths are below the work directory.
  void put(const std::string& path, std::string_view content = "") const {
    std::filesystem::create_directories(std::filesystem::path(work + '/' + path).parent_path());
    std::ofstream(work + '/' + path, std::ios::binary) << content;
  }
  std::string get(const std::string& path) const {
    std::ostringstream content;
    content << std::ifstream(work + '/' + path, std::ios::binary).rdbuf();
    return content.str();
  }
  void link(const std::string& target, const std::string& path) const {
    std::filesystem::create_symlink(target, work + '/' + path);
  }
  mode_t mode(const std::string& path) const {
    struct stat info{};
    return ::stat((work + '/' + path).c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }

  ToolResult run(std::string_view tool, std::string_view json) const {
    return run_tool(tool, json, context);
  }
  // The text, with "E:" in front of an error, and the test's own folder written as TOP.
  std::string say(std::string_view tool, std::string_view json) const {
    ToolResult result = run(tool, json);
    std::string text = result.is_error ? "E:" + result.content : result.content;
    for (std::size_t at; (at = text.find(top)) != text.npos;) text.replace(at, top.size(), "TOP");
    return text;
  }

  std::string top, work;
  Context context;
};

}  // namespace glovebox::tools
