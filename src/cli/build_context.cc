#include "cli/build_context.h"

#include <boost/json.hpp>

#include "cli/folder_tar.h"
#include "cli/meter.h"

namespace glovebox::cli {

namespace json = boost::json;

Result<std::string> send_context(EngineClient& engine, const std::string& folder) {
  TRY(tar, FolderTar::open(folder));
  Meter meter("send " + folder, 0);
  auto next = [&]() -> Result<std::string> {
    TRY(piece, tar.read());
    meter.add(piece.size());
    return piece;
  };
  auto uploaded = engine.upload("POST", "/images/contexts", next, std::nullopt);
  meter.end();
  if (!uploaded) return std::move(uploaded.error()).with("send " + folder);
  const json::value* name = uploaded->if_contains("context");
  if (!name || !name->is_string())
    return Error{Code::internal, "the engine's answer names no context"};
  return std::string(name->as_string());
}

}  // namespace glovebox::cli
