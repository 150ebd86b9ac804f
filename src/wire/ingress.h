// What ingress and engine say to each other over a SEQPACKET socket that stands in the ingress's
// directory: the engine connects to it. One message is one JSON object; a connected socket may lie
// beside an answer.
//
//   ingress → engine   look, hold, release, dial, token
//   engine → ingress   an answer to each but release, with its number; and, unasked, `changed` and
//                      `keys`
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/secret.h"

namespace glovebox::wire {

inline constexpr std::size_t kIngressMessage = 64 * 1024;

// A port that may be reached from outside.
struct IngressPort {
  int port = 0;
  bool open = false;        // without a token
  std::string verify = {};  // "standard-webhooks": requests must be signed; empty: need not
  std::vector<Secret> secrets = {};  // with one of these
};

// A sandbox as the ingress sees it.
struct IngressBox {
  std::string id = {}, name = {};
  std::uint64_t generation = 0;
  std::vector<IngressPort> ports = {};
  const IngressPort* port(int number) const;
};

struct IngressAsk {
  enum class What {
    look,     // `box`, an id or a name: who is that?
    hold,     // wake it, and keep it awake until `release`, or until this connection ends
    release,  // of one hold
    dial,     // a connection to `port` of its loopback
    token,    // may who shows `token` go to `port`?
  };
  std::uint64_t number = 0;
  What what = What::look;
  std::string box = {};
  std::uint64_t generation = 0;
  int port = 0;
  std::string token = {};
  bool may_wake = true;  // hold: else one that sleeps is EXHAUSTED
};
std::string encode(const IngressAsk& ask);
Result<IngressAsk> decode_ingress_ask(std::string_view json);

struct IngressSay {
  std::uint64_t number = 0;  // of the question; 0: nobody asked
  std::optional<Error> error = {};
  std::optional<IngressBox> box = {};  // look
  bool woke = false;                   // hold: it slept
  std::int64_t expires_ms = 0;         // token
  std::string changed = {};            // unasked: what was said of the box of this id is over
  std::vector<std::string> key_hashes =
      {};  // unasked: SHA-256, in hex, of keys no box may ever see
};
std::string encode(const IngressSay& say);
Result<IngressSay> decode_ingress_say(std::string_view json);

}  // namespace glovebox::wire
