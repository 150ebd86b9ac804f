#include "engine/snapshot_file.h"

#include <gtest/gtest.h>

#include "net/loop.h"
#include "net/task.h"

namespace glovebox::engine {
namespace {

const Secret kKey("a key of this installation, 32 b");
const Secret kOther("a key of another one, 32 bytes..");

wire::SnapshotRecord record() {
  wire::SnapshotRecord made;
  made.id = "a2345678901234567890a";
  made.created_at = 5;
  made.image_generation = "g1";
  made.source.id = "b2345678901234567890b";
  made.source.name = "worker";
  made.source.resources.disk_mb = 4096;
  made.source.entrypoint = {"/bin/sh", "-c", "true"};
  made.source.network = wire::Network{};
  made.source.network->allow_internet_access = false;
  return made;
}

std::string file(std::string_view archive, const Secret& key) {
  std::string bytes = encode_file_head(record()) + std::string(archive);
  return bytes + encode_file_tail(Sha256().add(bytes).hex(), key);
}

struct Read {
  wire::SnapshotRecord head;
  std::string archive;
  bool ours = false;
};
struct Pieces {
  std::string bytes;
  std::size_t size, at = 0;
};
Task<std::string> next(std::shared_ptr<Pieces> pieces) {
  std::string piece = pieces->bytes.substr(pieces->at, pieces->size);
  pieces->at += piece.size();
  co_return piece;
}
Task<void> take_apart(std::string bytes, std::size_t piece, Read* into) {
  auto pieces = std::make_shared<Pieces>(std::move(bytes), piece);
  SnapshotFileReader reader([pieces] { return next(pieces); });
  CO_TRY(head, co_await reader.head());
  into->head = std::move(head);
  for (;;) {
    CO_TRY(part, co_await reader.archive());
    if (part.empty()) break;
    into->archive += part;
  }
  CO_TRY(ours, reader.check(kKey));
  into->ours = ours;
  co_return ok;
}
Result<Read> read(std::string bytes, std::size_t piece = 7) {
  net::Loop loop;
  Read into;
  TRY_DO(net::run(loop, take_apart(std::move(bytes), piece, &into)));
  return into;
}

TEST(SnapshotFile, ComesApartAsItWasPutTogetherInPiecesOfAnySize) {
  for (std::size_t piece : {1, 7, 100, 100'000}) {
    auto got = read(file("the archive, whatever it is", kKey), piece);
    ASSERT_TRUE(got) << got.error().what;
    EXPECT_EQ(got->archive, "the archive, whatever it is");
    EXPECT_TRUE(got->ours);
    EXPECT_EQ(got->head.source.id, "b2345678901234567890b");
    EXPECT_EQ(got->head.source.name, "worker");
    EXPECT_EQ(got->head.source.resources.disk_mb, 4096);
    EXPECT_EQ(got->head.source.entrypoint, record().source.entrypoint);
    ASSERT_TRUE(got->head.source.network);
    EXPECT_FALSE(got->head.source.network->allow_internet_access);
  }
}

TEST(SnapshotFile, OfAnotherInstallationIsReadAndNotTakenForOurs) {
  auto got = read(file("archive", kOther));
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_FALSE(got->ours);
}

TEST(SnapshotFile, AnyChangedOrMissingByteIsNoticed) {
  const std::string whole = file("archive", kKey);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    auto got = read(changed);
    EXPECT_TRUE(!got || !got->ours) << at;
    auto cut = read(whole.substr(0, at));
    EXPECT_FALSE(cut) << at;
  }
  EXPECT_FALSE(read(whole + "x"));
}

TEST(SnapshotFile, WhatIsNoneIsRefusedByName) {
  for (std::string bytes :
       {std::string(), std::string("PK\3\4 something else"),
        std::string("\x50\x2a\x4d\x18\xff\xff\xff\xff", 8) + "{}",
        std::string("\x50\x2a\x4d\x18\x02\x00\x00\x00", 8) + "{}", std::string(1000, '\0')}) {
    auto got = read(bytes);
    ASSERT_FALSE(got);
    EXPECT_FALSE(got.error().tag.empty()) << got.error().what;
  }
}

TEST(SnapshotFile, OfASandboxThatCannotBeIsRefused) {
  for (std::string_view sandbox :
       {R"({"resources":{"disk_mb":-1}})", R"({"image":"a b"})", R"({"entrypoint":[""]})",
        R"({"network":{"allow_out":["nowhere at all"]}})", R"([])"}) {
    auto got = decode_file_head(str(R"({"format":1,"sandbox":)", sandbox, "}"));
    EXPECT_FALSE(got) << sandbox;
  }
  auto odd = decode_file_head(R"({"format":1,"sandbox_id":"../boxes","sandbox_name":"UP\n"})");
  ASSERT_TRUE(odd) << odd.error().what;
  EXPECT_EQ(odd->source.id + odd->source.name, "");
}

}  // namespace
}  // namespace glovebox::engine
