// A value that has no way to be printed, logged or compared in variable time.
#pragma once

#include <string>
#include <string_view>

#include "base/str.h"

namespace glovebox {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  Secret(const Secret&) = default;
  Secret(Secret&&) = default;
  Secret& operator=(const Secret&) = default;
  Secret& operator=(Secret&&) = default;
  ~Secret() {  // volatile: the compiler may not drop a write to memory that is about to go
    for (volatile char* p = value_.data(); p != value_.data() + value_.size(); ++p) *p = 0;
  }
  bool empty() const { return value_.empty(); }
  bool equals(std::string_view other) const { return equal_constant_time(value_, other); }
  std::string_view reveal() const { return value_; }  // The one way out: grep for it.

 private:
  std::string value_;
};

}  // namespace glovebox
