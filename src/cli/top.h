// What `top` shows, apart from the terminal it is shown on.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace boost::json {
class array;
}

namespace glovebox::cli {

struct CpuSample {
  std::int64_t cpu_ms = 0, at_ms = 0;
};
using CpuSamples = std::map<std::string, CpuSample>;  // by id

// One line for each sandbox, those that work most first, at most `rows` of at most `cols`
// characters. What a processor did is known from the second look on: `before` is of the last one,
// and becomes that of this.
std::string top_table(const boost::json::array& sandboxes, CpuSamples& before, std::int64_t now_ms,
                      std::size_t rows, std::size_t cols);

}  // namespace glovebox::cli
