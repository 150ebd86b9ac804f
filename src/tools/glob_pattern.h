// Glob patterns with the syntax of Node's fs.glob: `*` `?` `[…]` within a name, `**` across
// folders, `{a,b}` `{1..9}`, and the extended groups `?(a|b)` `*(…)` `+(…)` `@(…)` `!(…)`. A
// backslash is a separator there, not an escape.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::tools {

inline constexpr std::size_t kMaxPattern = 4096;       // bytes
inline constexpr std::size_t kMaxAlternatives = 1000;  // patterns that braces may expand to

struct GlobNode;  // one element of a name's pattern

// The pattern of one path component.
class GlobName {
 public:
  explicit GlobName(std::string_view text);
  GlobName(GlobName&&) noexcept;
  GlobName& operator=(GlobName&&) noexcept;
  ~GlobName();

  bool any_depth() const { return any_depth_; }  // `**`
  bool literal() const { return literal_; }      // matches one name only
  // Cost grows with the product of both lengths, whatever the pattern: no nesting makes it explode.
  bool matches(std::string_view name) const;

 private:
  bool any_depth_ = false, literal_ = true;
  std::vector<GlobNode> nodes_;
};

using GlobPath = std::vector<GlobName>;

Result<std::vector<std::string>> expand_braces(std::string_view pattern);
// All alternatives of a pattern. Those that cannot match a file below the root (absolute, or ending
// in "/") are left out.
Result<std::vector<GlobPath>> parse_glob(std::string_view pattern);

}  // namespace glovebox::tools
