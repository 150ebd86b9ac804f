// Runs glovebox-image (src/image), which does everything that touches the bytes of foreign archives
// and the trees made of them. One process per job; whatever becomes of it is an error here.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/loop.h"

namespace glovebox::engine {

class ImageTool {
 public:
  ImageTool(net::Loop& loop, std::string program) : loop_(loop), program_(std::move(program)) {}

  struct Done {
    std::uint64_t bytes = 0, entries = 0;
    std::string text;
    std::vector<std::string> notes;  // what was left out
  };
  using Source = std::function<Task<std::string>()>;  // the next piece; empty at the end
  using Sink = std::function<Task<void>(std::string piece)>;
  using Progress = std::function<void(std::uint64_t bytes, std::uint64_t entries)>;

  Task<Done> run(std::vector<std::string> words, Progress progress = {});
  Task<Done> run_on_file(std::vector<std::string> words, Fd input, Progress progress = {});
  Task<Done> run_on_stream(std::vector<std::string> words, Source source, Progress progress = {});
  // What the job makes, rather than what it reads.
  Task<Done> run_to_stream(std::vector<std::string> words, Sink sink);

 private:
  struct Job;
  Task<Done> work(std::vector<std::string> words, Fd input, Source source, Sink sink,
                  Progress progress);
  static Task<void> feed(std::shared_ptr<Job> job, Source source);
  static Task<void> drain(std::shared_ptr<Job> job, Sink sink);
  net::Loop& loop_;
  std::string program_;
};

}  // namespace glovebox::engine
