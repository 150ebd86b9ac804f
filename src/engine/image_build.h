// One build: the stages of a Dockerfile, carried out from the first line to the last.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/core.h"
#include "engine/dockerfile.h"
#include "engine/images.h"

namespace glovebox::engine {

class Builder {
 public:
  Builder(Images& images, Images::Build request, std::optional<Images::Draft> context,
          Images::Progress progress)
      : images_(images),
        request_(std::move(request)),
        context_(std::move(context)),
        progress_(std::move(progress)) {}
  Task<ImageRecord> run();

 private:
  struct Stage {
    std::string name;
    std::string root;  // the files so far
    ImageConfig config;
    Variables args;
  };
  Task<void> carry_out(Instruction step);
  Task<void> from(Instruction step);
  Task<void> run_step(Instruction step);
  Task<void> execute(std::string id, std::vector<std::string> argv, std::vector<std::string> env);
  Task<void> copy(Instruction step);
  Task<void> workdir(Instruction step);
  Task<void> place(std::string source, std::vector<std::string> plan);
  Task<void> configure(Instruction step);
  Task<std::string> empty_root(std::string kind);
  void stand_on(const std::string& root);  // the stage's files are now these
  Result<bool> cached(const std::string& key);
  Task<void> keep(Images::Draft draft, std::string key, std::uint64_t bytes, std::uint64_t entries);
  Result<std::string> source_of(const Instruction& step);
  Variables variables() const;  // what $NAME means now

  Images& images_;
  Images::Build request_;
  std::optional<Images::Draft> context_;
  Images::Progress progress_;
  std::vector<Images::Pin> pins_;  // of all roots it goes on from
  std::vector<Stage> stages_;      // those before
  Stage stage_;
  bool in_stage_ = false;
  Variables global_args_;
  std::set<std::string> used_args_, made_;
};

}  // namespace glovebox::engine
