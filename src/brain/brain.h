// The brain as a whole: store, queue, sessions, model, and the HTTP API in front of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/secret.h"
#include "brain/model.h"
#include "brain/skill_files.h"
#include "http/server.h"
#include "net/loop.h"

namespace glovebox::brain {

struct BrainKeys {
  Secret api;      // of applications and administrators: everything
  Secret metrics;  // of /metrics beside it
  Secret
      environment;  // of the environment made at the first start: the one of our own orchestrator
  Secret seal;      // 32 bytes: what is kept to be read again lies in the database under it
};

// The members of an archive of untrusted bytes, read by a process of its own; an error refuses it.
using UnpackSkill = std::function<Task<std::vector<SkillFile>>(std::string archive)>;

struct Options {
  UnpackSkill unpack;     // empty: skills are taken as single files only
  std::string state_dir;  // brain.db is in it; "" keeps everything in memory
  std::string instance;
  ModelOptions model;
  std::string default_model = "claude-sonnet-5-5";  // of the agent made at the first start
  std::int64_t lease_ttl_secs = 300;
  std::int64_t keep_events_days = 0;  // 0: for ever
  std::int64_t max_sessions_running = 1000;
  bool webhooks_allow_private = false;  // http, and addresses that are not public
  std::string ingress_domain;           // of this installation's ingress: its ports of sandboxes
  int ingress_port = 0;                 // may be webhook endpoints, wherever they are
  std::string also_trust;               // certificates besides the system's: net::TlsClient
};

class Brain {
 public:
  // `loop` outlives it.
  static Task<std::unique_ptr<Brain>> open(net::Loop& loop, Options options, BrainKeys keys);
  ~Brain();
  void set_keys(BrainKeys keys);  // counts from the next request on
  Result<void> set_model(ModelOptions model);
  std::vector<http::Route> routes();
  http::ServerOptions server_options();  // credentials, error shape, names of a loopback listener
  // Before the server's drain: it ends the streams, which would never end by themselves, and what
  // still arrives afterwards is kept for the next start. The server goes first, then this.
  Task<void> close(Millis limit);

 private:
  struct Impl;
  explicit Brain(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace glovebox::brain
