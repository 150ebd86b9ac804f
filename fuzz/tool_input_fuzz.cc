// What a model may send as a tool's input: the first byte picks the tool, the rest is its JSON.
// Whatever it is, there is an answer that is not empty and is UTF-8, and nothing outside the work
// directory changes.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "tools/glob_pattern.h"
#include "tools/tools.h"

using namespace glovebox;
namespace fs = std::filesystem;

static void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

// A small tree with the things that tools trip over.
class Tree {
 public:
  Tree() {
    char name[] = "/tmp/glovebox-fuzz-XXXXXX";
    top_ = ::mkdtemp(name);
    fs::create_directories(top_ / "work/sub");
    std::ofstream(top_ / "secret") << "untouched";
    std::ofstream(top_ / "work/a.txt") << "one\ntwo\nthree\n";
    std::ofstream(top_ / "work/sub/b") << "two";
    fs::create_symlink("../secret", top_ / "work/out");
    fs::create_symlink("loop", top_ / "work/loop");
    fs::create_symlink("sub", top_ / "work/link");
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  ~Tree() { fs::remove_all(top_); }
  std::string work() const { return (top_ / "work").string(); }
  bool outside_untouched() const {
    std::string text;
    std::ifstream(top_ / "secret") >> text;
    return text == "untouched" &&
           std::distance(fs::directory_iterator(top_), fs::directory_iterator()) == 2;
  }

 private:
  fs::path top_;
};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr const char* kTools[] = {"bash", "read", "write", "edit", "glob", "grep"};
  std::string_view tool = kTools[data[0] % std::size(kTools)];
  std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);

  const bool writes = tool == "write" || tool == "edit";
  static Tree shared;
  std::optional<Tree> own;  // anew for each input that may change it
  Tree& tree = writes ? own.emplace() : shared;
  tools::Context context{.workdir = tree.work()};
  context.grep_timeout = 1s;
  if (tool == "bash") {
    auto input = tools::parse_bash(json, context);
    require(input || !input.error().what.empty(), "an error says why");
    require(!input || input->has_command || input->restart, "there is something to do");
    return 0;
  }
  tools::ToolResult result = tools::run_tool(tool, json, context);
  require(!result.content.empty(), "a result is never empty");
  require(result.content == valid_utf8(result.content), "a result is UTF-8");
  require(tree.outside_untouched(), "nothing outside the work directory changes");

  // Patterns by themselves, without the JSON around them.
  if (tool == "glob" && json.size() < 64)
    if (auto paths = tools::parse_glob(json))
      for (const auto& path : *paths)
        for (const auto& name : path) name.matches("some.name");
  return 0;
}
