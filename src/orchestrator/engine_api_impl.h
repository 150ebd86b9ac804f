// For the files of EngineApi alone.
#pragma once

#include "orchestrator/engine_api.h"

namespace glovebox::orchestrator {

struct EngineApi::Impl {
  http::Client client;
  std::shared_ptr<const Secret> key;

  Task<http::ClientResponse> request(std::string method, std::string target, std::string body = "",
                                     http::Headers headers = {});
  // The box that the answer to a create or a claim names.
  static Result<Box> made(const http::ClientResponse& answer);
  static Error error_of(const http::ClientResponse& answer);  // of one that is not 2xx
  // The body that starts one; a limit of 0 is none.
  static std::string process_json(const NewProcess& process, std::chrono::seconds limit);
  // Not the path with the name: a box of another generation must not be taken for this one.
  static http::Headers of_box(const std::string& box);
};

}  // namespace glovebox::orchestrator
