// Who calls: a credential is looked up by what it is, never by the header it came in (clients of
// two generations send the same key in different ones).
#pragma once

#include "brain/brain.h"
#include "brain/records.h"
#include "http/message.h"

namespace glovebox::brain {

enum class Who : std::uint8_t { api = 1, environment = 2, session = 4, metrics = 8 };
std::string_view name(Who who);  // "an environment key"

struct Credential {
  Who kind = Who::api;
  std::string id;              // key id, or hash of the token; "api"
  std::string environment_id;  // of environment keys and tokens
  std::string session_id, work_id;
  std::int64_t delivery = 0;  // tokens
};

class Keyring {
 public:
  Keyring(Store& store, BrainKeys keys) : store_(store), keys_(std::move(keys)) {}
  void set(BrainKeys keys) { keys_ = std::move(keys); }
  const BrainKeys& keys() const { return keys_; }
  // Code::unauthenticated for one that is unknown, revoked or expired.
  Result<Credential> credential_of(const http::Request& request) const;

 private:
  Result<std::optional<Credential>> find(std::string_view given) const;

  Store& store_;
  BrainKeys keys_;
};

// "gb-env-ab…yz": enough to tell keys apart, not enough to use one.
std::string hint_of(std::string_view key);

}  // namespace glovebox::brain
