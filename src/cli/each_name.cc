#include "cli/each_name.h"

#include <boost/json.hpp>

#include "cli/command.h"

namespace glovebox::cli {

int for_each_name(const std::vector<std::string>& names, std::string_view verb,
                  std::string_view done, Output& out,
                  const std::function<Result<void>(const std::string&)>& act) {
  boost::json::array good;
  int code = 0;
  for (const std::string& name : names) {
    auto acted = act(name);
    if (acted) {
      good.emplace_back(name);
      continue;
    }
    out.note(str("glovebox: ", verb, " ", name, ": ", acted.error().what));
    if (code == 0) code = exit_code(acted.error());
  }
  if (!good.empty() || code == 0) out.object({{done, std::move(good)}});
  return code;
}

}  // namespace glovebox::cli
