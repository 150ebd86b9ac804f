// Takes a secret out of a stream of bytes, wherever the pieces are cut: what a service echoes of a
// credential must not reach the box it was kept from. Bytes are held back only where they may be
// the secret's beginning.
#pragma once

#include <string>
#include <string_view>

#include "base/secret.h"

namespace glovebox::gateway {

class Redactor {
 public:
  explicit Redactor(const Secret& secret) : secret_(&secret) {}  // which outlives this
  std::string pass(std::string piece);
  std::string rest() { return std::move(held_); }  // at the end

 private:
  const Secret* secret_;
  std::string held_;
};

}  // namespace glovebox::gateway
