// What must be kept and read again (webhook secrets, for one) lies in the database sealed with a
// key that does not: who has a copy of the database alone has nothing.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret.h"

namespace glovebox::brain {

class Seal {
 public:
  static constexpr std::size_t kKeySize = 32;
  // An empty key: one for as long as this lives.
  explicit Seal(Secret key);
  // AES-256-GCM. `purpose` names the place: what was sealed for one opens at no other.
  Result<std::string> close(const Secret& plain, std::string_view purpose) const;
  Result<Secret> reveal(std::string_view sealed, std::string_view purpose) const;

 private:
  Secret key_;
};

}  // namespace glovebox::brain
