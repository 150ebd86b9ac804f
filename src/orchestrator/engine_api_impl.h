// For the files of EngineApi alone.
#pragma once

#include "orchestrator/engine_api.h"

namespace glovebox::orchestrator {

struct EngineApi::Impl {
  http::Client client;
  std::shared_ptr<const Secret> key;

  Task<http::ClientResponse> request(std::string method, std::string target, std::string body = "",
                                     http::Headers headers = {});
  // Not the path with the name: a box of another generation must not be taken for this one.
  static http::Headers of_box(const std::string& box);
};

}  // namespace glovebox::orchestrator
