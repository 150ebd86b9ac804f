// Arbitrary bytes as a stream of the hand protocol, in both directions. The first byte chooses who
// speaks, the second how the stream is cut. What must hold: the cuts change nothing, an error is
// final, and what a decoder accepts encodes to the same bytes.
#include <cassert>
#include <cstdint>

#include "wire/bytes.h"
#include "wire/hand.h"

using namespace glovebox;
using wire::FrameReader;

namespace {

template <class Decode>
void comes_back(std::string_view payload, Decode decode) {
  if (auto value = decode(payload)) assert(wire::encode(*value) == payload);
}

void decode_payload(std::string_view payload) {
  comes_back(payload, wire::decode_start);
  comes_back(payload, wire::decode_process);
  comes_back(payload, wire::decode_welcome);
  comes_back(payload, wire::decode_output);
  if (auto error = wire::decode_error(payload)) assert(wire::encode_error(*error) == payload);
}

std::string outcome(std::string_view bytes, FrameReader::From from, std::size_t piece) {
  FrameReader reader(from);
  std::string log;
  while (!bytes.empty()) {
    reader.feed(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    for (;;) {
      auto frame = reader.next();
      if (!frame) {
        assert(!reader.next());
        return log + "error " + frame.error().what;
      }
      if (!*frame) break;
      assert((*frame)->payload.size() <= wire::kMaxPayload);
      log += wire::encode_frame((*frame)->type, (*frame)->id, (*frame)->payload);
    }
  }
  return log;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  auto from = data[0] & 1 ? FrameReader::From::hand : FrameReader::From::engine;
  std::size_t piece = data[1] + 1u;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  std::string whole = outcome(bytes, from, bytes.size() + 1);
  assert(whole == outcome(bytes, from, piece));

  // The frames that came are a prefix of the stream; their payloads, and the stream itself, meet
  // every decoder.
  FrameReader reader(from);
  reader.feed(bytes);
  for (auto frame = reader.next(); frame && *frame; frame = reader.next())
    decode_payload((*frame)->payload);
  decode_payload(bytes);
  return 0;
}
