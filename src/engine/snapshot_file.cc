#include "engine/snapshot_file.h"

#include <sys/utsname.h>

#include <boost/json.hpp>

#include "engine/snapshot_records.h"
#include "net/task.h"
#include "wire/decode.h"

namespace glovebox::engine {

namespace json = boost::json;

namespace {

constexpr std::uint32_t kSkipped = 0x184D2A50;  // to …5F: of frames that zstd passes over
constexpr std::size_t kFrameStart = 8;          // the magic number and the length
constexpr std::size_t kMaxHead = 1 << 20;
constexpr std::string_view kDigest = "sha256 ", kCode = "\nmac ", kEnd = "\n";
constexpr std::size_t kTailText = kDigest.size() + 64 + kCode.size() + 43 + kEnd.size();
constexpr std::size_t kTail = kFrameStart + kTailText;
// So that nothing else that is signed with this key can pass for a file.
constexpr std::string_view kPurpose = "glovebox snapshot file 1\n";

std::string frame(std::uint32_t magic, std::string_view content) {
  std::string out;
  for (std::uint32_t word : {magic, static_cast<std::uint32_t>(content.size())})
    for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(word >> shift);
  return out.append(content);
}

// Length of the content of the frame that begins here.
Result<std::size_t> frame_content(std::string_view start) {
  auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value |= static_cast<std::uint32_t>(static_cast<unsigned char>(start[at + i])) << (8 * i);
    return value;
  };
  if (start.size() < kFrameStart || word(0) >> 4 != kSkipped >> 4)
    return Error{Code::invalid, "this is no file of 'snapshot export'", "SNAPSHOT_INVALID"};
  return word(4);
}

Error damaged() {
  return {Code::invalid, "the file is damaged, or not whole: its checksum is not right",
          "SNAPSHOT_INVALID"};
}

}  // namespace

std::string encode_file_head(const wire::SnapshotRecord& record) {
  utsname machine{};
  ::uname(&machine);
  const json::object source = json::parse(wire::encode_record(record.source)).as_object();
  json::object sandbox;
  for (std::string_view member : {"image", "resources", "entrypoint", "network"})
    if (const json::value* value = source.if_contains(member)) sandbox[member] = *value;
  json::object head{{"format", 1},
                    {"kernel", machine.release},
                    {"cpu", machine.machine},
                    {"image_generation", record.image_generation},
                    {"sandbox_id", record.source.id},
                    {"sandbox_name", record.source.name},
                    {"created_at", record.created_at},
                    {"size_bytes", record.size_bytes},
                    {"sandbox", std::move(sandbox)}};
  return frame(kSkipped, json::serialize(head));
}

Result<wire::SnapshotRecord> decode_file_head(std::string_view text) {
  TRY(value, wire::parse_json(text));
  TRY(members, wire::Members::of(value));
  TRY(format, members.integer("format", 0, INT64_MAX));
  if (format != 1)
    return Error{Code::unsupported, "the file is of a format that this version does not know",
                 "SNAPSHOT_FORMAT"};
  TRY(generation, members.text("image_generation", 128));
  TRY(id, members.text("sandbox_id", 64));
  TRY(name, members.text("sandbox_name", 64));
  TRY(created, members.integer("created_at", 0, INT64_MAX));
  const json::value* sandbox = members.take("sandbox");
  TRY(spec, wire::decode_create(sandbox ? json::serialize(*sandbox) : "{}"), "sandbox");
  wire::SnapshotRecord record;
  record.image_generation = generation.value_or("");
  record.created_at = created.value_or(0);
  if (id && wire::valid_id(*id)) record.source.id = *id;
  if (name && wire::valid_name(*name)) record.source.name = *name;
  record.source.image = spec.image;
  record.source.resources = spec.resources;
  record.source.entrypoint = spec.entrypoint;
  record.source.network = spec.network;
  return record;
}

std::string encode_file_tail(const std::string& sha256, const Secret& key) {
  return frame(kSkipped + 1,
               str(kDigest, sha256, kCode, authenticate(kPurpose, sha256, key), kEnd));
}

// Until so much is held, or the source is at its end.
Task<void> SnapshotFileReader::fill(std::size_t bytes) {
  while (!ended_ && held_.size() < bytes) {
    CO_TRY(piece, co_await source_());
    ended_ = piece.empty();
    held_ += piece;
  }
  co_return ok;
}

Task<wire::SnapshotRecord> SnapshotFileReader::head() {
  CO_TRY_DO(co_await fill(kFrameStart));
  CO_TRY(size, frame_content(held_));
  if (size > kMaxHead)
    co_return Error{Code::invalid, "this is no file of 'snapshot export'", "SNAPSHOT_INVALID"};
  const std::size_t whole = kFrameStart + size;
  CO_TRY_DO(co_await fill(whole));
  if (held_.size() < whole) co_return damaged();
  std::string frame = held_.substr(0, whole);
  held_.erase(0, whole);
  hash_.add(frame);
  co_return decode_file_head(std::string_view(frame).substr(kFrameStart));
}

Task<std::string> SnapshotFileReader::archive() {
  CO_TRY_DO(co_await fill(kTail + 1));
  if (held_.size() <= kTail) co_return std::string();
  std::string piece = held_.substr(0, held_.size() - kTail);
  held_.erase(0, piece.size());
  hash_.add(piece);
  co_return piece;
}

Result<bool> SnapshotFileReader::check(const Secret& key) {
  auto size = frame_content(held_);
  if (!ended_ || held_.size() != kTail || !size || *size != kTailText) return damaged();
  const std::string sha256 = hash_.hex();
  std::string_view text = std::string_view(held_).substr(kFrameStart);
  if (!text.starts_with(str(kDigest, sha256, kCode))) return damaged();
  return equal_constant_time(held_, encode_file_tail(sha256, key));
}

}  // namespace glovebox::engine
