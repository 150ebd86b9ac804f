// Request bodies, records and tool results: whatever the bytes, an answer or an error; and what was
// taken can be written and taken again. The first byte picks the decoder.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wire/sandbox.h"

using namespace glovebox;

static void must(bool holds) {
  if (!holds) std::abort();
}

static void start_is_sound(const Result<wire::StartProcess>& start) {
  if (!start) return;
  must(!start->spec.argv.empty() && !start->spec.argv[0].empty());
  for (const auto& word : start->spec.argv) must(word.find('\0') == word.npos);
  for (const auto& variable : start->spec.env) must(variable.find('=') != 0);
  must(start->timeout == 0 || start->spec.timeout_ms > 0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 10) {
    case 0:
      if (auto create = wire::decode_create(text)) {
        must(create->name.empty() || wire::valid_name(create->name));
        must(create->resources.cpus >= 0.1 && create->resources.memory_mb >= 64);
        for (int port : create->exposed_ports) must(port > 0 && port < 65536 && port != 9501);
      }
      break;
    case 1: (void)wire::decode_update(text); break;
    case 2:
      if (auto record = wire::decode_record(text)) {
        auto again = wire::decode_record(wire::encode_record(*record));
        must(again && wire::encode_created(*again) == wire::encode_created(*record));
      }
      break;
    case 3: (void)wire::decode_list(text, nullptr); break;
    case 4: start_is_sound(wire::decode_process_start(text)); break;
    case 5: start_is_sound(wire::decode_exec(text)); break;
    case 6:
      if (auto pty = wire::decode_pty(text)) must(pty->spec.rows >= 1 && pty->spec.cols <= 1000);
      break;
    case 7:
      if (auto size = wire::decode_resize(text)) must(size->first <= 500 && size->second >= 1);
      break;
    case 8:
      if (auto number = wire::decode_signal(text)) must(*number >= 1 && *number <= 64);
      break;
    case 9: (void)wire::decode_tool_result(text); break;
  }
  return 0;
}
