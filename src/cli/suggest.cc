#include "cli/suggest.h"

#include <algorithm>
#include <vector>

#include "base/str.h"

namespace glovebox::cli {

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

std::string nearest(std::string_view wrong, std::span<const std::string> names) {
  std::string best;
  std::size_t least = 1 + std::max<std::size_t>(1, wrong.size() / 3);
  for (const std::string& name : names) {
    // A long text is no slip of the fingers, and the table would be as long.
    if (wrong.size() > 100) continue;
    if (std::size_t far = distance(lower(wrong), lower(name)); far < least) {
      least = far;
      best = name;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view wrong, std::span<const std::string> names) {
  std::string name = nearest(wrong, names);
  return name.empty() ? "" : str("; did you mean '", name, "'?");
}

}  // namespace glovebox::cli
