#include "cli/archive_import.h"

#include <boost/json.hpp>

#include "cli/engine_client.h"
#include "cli/local_file.h"
#include "cli/meter.h"

namespace glovebox::cli {

Result<int> import_archive(const Context& context, const std::string& path,
                           const std::string& target, Output& out) {
  TRY(file, SourceFile::open({"", path}));
  TRY(engine, EngineClient::open(context));
  const std::optional<std::uint64_t> whole = file.length();
  Meter meter("import", whole.value_or(0));
  auto next = [&]() -> Result<std::string> {
    TRY(piece, file.read());
    meter.add(piece.size());
    return piece;
  };
  auto made = engine->upload("POST", target, next, whole);
  meter.end();
  if (!made) return std::move(made.error()).with(str("import ", path));
  out.object(*made);
  return 0;
}

}  // namespace glovebox::cli
