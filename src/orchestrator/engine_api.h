// The engine's HTTP API, as far as it takes to have a box and to call its tools.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/secret.h"
#include "http/client.h"
#include "net/loop.h"
#include "runner/hands.h"

namespace glovebox::orchestrator {

struct Box {
  std::string id, status;
  std::int64_t last_activity_ms = 0;  // unix time; 0: not said
};

struct BoxVolume {
  std::string name, path;
  bool read_only = false;
  bool own = false;       // of the session: made when it is not there
  bool optional = false;  // the box is as good without it, where the engine cannot make it
};

struct NewBox {
  std::string name, image;
  std::int64_t timeout_secs = 0;
  std::string snapshot = {}, isolation = {};
  bool internet = false;
  std::vector<BoxVolume> volumes = {};
};

struct BoxProcess {
  std::int64_t pid = 0;
  std::string command;
  std::vector<std::string> args;
  bool running = false;
  std::optional<std::int64_t> exit_code;  // none: it runs, or a signal ended it
};

struct NewProcess {
  std::string command;
  std::vector<std::string> args;
  std::vector<std::pair<std::string, std::string>> env;
};

// How a program of a box that was waited for ended.
struct BoxRun {
  bool done = false;  // with exit code 0
  std::string how;    // else: "exit code 3", "signal 9", "out of time", "out of memory"
  std::string said;   // the first of what it wrote, as text
};

struct UplinkPlace {
  std::string url, program;
};

// Errors: `code` follows the status, `tag` is the API's word ("NAME_TAKEN"); Code::unavailable and
// Code::timeout where the engine is not there (now).
class EngineApi {
 public:
  EngineApi(net::Loop& loop, http::Url url, std::shared_ptr<const Secret> key,
            std::string also_trust = {});
  ~EngineApi();

  // By name or id; nullopt where there is none that lives.
  Task<std::optional<Box>> find(std::string box);
  Task<Box> create(NewBox box);
  Task<Box> claim(std::string pool, NewBox box);  // of `box` its name, time-out and volumes count
  Task<void> make_volume(std::string name);       // one that is there is as good
  Task<void> remove_volume(std::string name);     // gone already is success; Code::conflict: in use
  Task<void> remove(std::string box);
  Task<void> resume(std::string box);

  // The same key is the same call, however often it is asked for.
  Task<runner::ToolResult> call(std::string box, runner::ToolCall call);
  Task<void> end_call(std::string box, std::string call);

  // Trees in a box; paths are absolute. nullopt, or nothing done: there is nothing there.
  struct Tree {
    std::string kind;  // "folder", "file", "other"
    struct File {
      std::string path, sha256;
      std::uint64_t size = 0;
    };
    std::vector<File> files;
  };
  Task<std::optional<Tree>> tree(std::string box, std::string path);
  Task<void> make_folder(std::string box, std::string path);  // mode 0700, with those above it
  // `base`, a folder that is there, is above `path`; what is missing between them is made.
  Task<void> place(std::string box, std::string path, std::string base, int mode,
                   std::string content);
  Task<void> remove_tree(std::string box, std::string path);
  Task<std::optional<std::string>> read(std::string box, std::string path);

  // engine_pools.cc. Made, with nothing in it, where `id` is "" or names none any more; gives the
  // id.
  struct Pool {
    std::string image;
    std::int64_t timeout_secs = 0, warm = 0;
  };
  Task<std::string> set_pool(std::string id, Pool pool);
  Task<void> remove_pool(std::string id);  // gone already is success; Code::conflict: in use

  // engine_files.cc: a file of any size, and a program that is waited for. An error of the source
  // is given back as it is, and leaves what was there by that name.
  Task<void> upload(std::string box, std::string path, std::function<Task<std::string>()> source);
  Task<BoxRun> run(std::string box, NewProcess process, std::chrono::seconds limit);

  // engine_processes.cc: for a worker inside of the box
  Task<std::vector<BoxProcess>> processes(std::string box);
  Task<BoxProcess> process(std::string box, std::int64_t pid);
  Task<BoxProcess> start(std::string box, NewProcess process);
  Task<void> signal(std::string box, std::int64_t pid, int number);
  // `line` is told what the process writes, until it ends or the connection does; the box stays
  // awake for as long.
  Task<void> follow(std::string box, std::int64_t pid, std::function<void(std::string)> line);
  Task<UplinkPlace> open_uplink(std::string box, int port);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// Trouble that may pass by itself: the engine restarts, its key is being changed, it is full.
bool may_pass(const Error& error);

}  // namespace glovebox::orchestrator
