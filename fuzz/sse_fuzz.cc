// Arbitrary bytes as a stream of events. What must hold: pieces of any size give the same events,
// and an event we read can be written and read again as it was.
#include <cassert>

#include "http/sse.h"

using namespace glovebox;

namespace {

constexpr std::size_t kLimit = 1000;

struct Seen {
  std::vector<http::SseEvent> events;
  bool refused = false;
};

Seen read(std::string_view bytes, std::size_t piece) {
  http::SseParser parser(kLimit);
  Seen seen;
  while (!bytes.empty() && !seen.refused) {
    seen.refused = !parser.feed(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    while (auto event = parser.next()) seen.events.push_back(std::move(*event));
  }
  return seen;
}

bool same(const http::SseEvent& a, const http::SseEvent& b) {
  return a.event == b.event && a.data == b.data && a.id == b.id;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Seen whole = read(bytes, bytes.size()), pieces = read(bytes, data[0] % 16 + 1u);
  assert(whole.refused == pieces.refused);
  assert(std::equal(whole.events.begin(), whole.events.end(), pieces.events.begin(),
                    pieces.events.end(), same));
  for (const http::SseEvent& event : whole.events) {
    if (event.event.contains('\0')) continue;  // dropped when written
    http::SseParser again(16 * kLimit);
    assert(again.feed(http::encode(event)));
    auto back = again.next();
    assert(back && same(*back, event));
  }
  return 0;
}
