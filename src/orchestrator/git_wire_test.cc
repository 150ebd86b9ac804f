#include "orchestrator/git_wire.h"

#include <gtest/gtest.h>

namespace glovebox::orchestrator {
namespace {

const std::string kMain(40, 'a'), kTag(40, 'b'), kOther(40, 'c');

std::string line(std::string text) {
  const char* digits = "0123456789abcdef";
  const auto size = text.size() + 4;
  return std::string("00") + digits[size >> 4 & 15] + digits[size & 15] + text;
}

const std::string kService = line("# service=git-upload-pack\n") + "0000";
std::string answer(std::string more = "") {
  return kService +
         line(kMain + " HEAD" + std::string(1, '\0') +
              "multi_ack shallow symref=HEAD:refs/heads/main object-format=sha1 agent=git/2\n") +
         line(kMain + " refs/heads/main\n") + line(kOther + " refs/heads/v1\n") +
         line(kTag + " refs/tags/v1\n") + line(kTag + " refs/tags/v2\n") +
         line(kMain + " refs/tags/v2^{}\n") + more + "0000";
}

Result<GitRefs> refs_of(const std::string& text, std::string ref = "", std::size_t piece = 1000) {
  RefsAnswer answer(std::move(ref));
  for (std::size_t at = 0; at < text.size(); at += piece)
    TRY_DO(answer.feed(text.substr(at, piece)));
  TRY_DO(answer.finish());
  return answer.refs();
}
Result<GitWant> chosen(std::string ref, std::size_t piece = 1000) {
  TRY(refs, refs_of(answer(), ref, piece));
  return choose(refs, ref);
}

TEST(GitWire, ReadsRefsAndChooses) {
  for (std::size_t piece : {1, 3, 1000}) {
    EXPECT_TRUE(refs_of(answer(), "", piece)->shallow);
    EXPECT_EQ(chosen("", piece)->name, "refs/heads/main");
    EXPECT_EQ(chosen("v1", piece)->name, "refs/heads/v1");  // a branch before a tag
    EXPECT_EQ(chosen("refs/tags/v1", piece)->id, kTag);
    EXPECT_EQ(chosen("v2", piece)->name, "refs/tags/v2");
    EXPECT_EQ(chosen(std::string(40, 'd'), piece)->name, "");
    EXPECT_FALSE(chosen("nothing", piece));
    EXPECT_FALSE(chosen("HEADS", piece));
  }
  EXPECT_FALSE(choose({}, ""));
}

TEST(GitWire, OfAnyNumberOfRefsOnlyThoseThatMayBeMeantAreKept) {
  std::string more;
  for (int i = 0; i < 5'000; ++i) more += line(str(kOther, " refs/heads/", i % 50, "\n"));
  EXPECT_EQ(refs_of(answer(more))->refs.size(), 2u);  // HEAD and what it stands for
  EXPECT_EQ(refs_of(answer(more), "v1")->refs.size(), 2u);
  EXPECT_EQ(refs_of(answer(more), "7")->refs.size(), 1u);
}

TEST(GitWire, WhatIsNoGitIsSaid) {
  for (const std::string& bad :
       {std::string(), std::string("<html>not here</html>"), std::string("0000"), kService,
        kService + line("not-an-id refs/heads/main\n") + "0000", kService + "0003",
        kService + "fff0abc", kService + line("lonely\n") + "0000", answer().substr(0, 200),
        line("# service=git-receive-pack\n") + "0000" + "0000",
        kService + line("ERR access denied\n") + "0000"}) {
    auto refs = refs_of(bad);
    ASSERT_FALSE(refs) << bad;
    EXPECT_EQ(refs.error().code, Code::invalid);
  }
}

TEST(GitWire, AsksForOneCommitOrForAll) {
  auto refs = *refs_of(answer());
  auto want = *choose(refs, "");
  const std::string one = pack_request(refs, want, 1), all = pack_request(refs, want, 0);
  EXPECT_TRUE(one.substr(4).starts_with("want " + kMain + " "));
  EXPECT_NE(one.find("000ddeepen 1\n0000"), one.npos) << one;
  EXPECT_EQ(all.find("deepen"), all.npos);
  EXPECT_TRUE(all.ends_with("00000009done\n"));
}

TEST(GitWire, WhateverThePiecesThePackComesOutWhole) {
  const std::string pack = "PACK\0\0\0\2 and anything 0008NAK\n";
  const std::string all = line("shallow " + kMain + "\n") + "0000" + line("NAK\n") + pack;
  for (std::size_t size = 1; size <= all.size(); ++size) {
    PackAnswer reader;
    std::string got;
    for (std::size_t at = 0; at < all.size(); at += size) {
      auto piece = reader.feed(all.substr(at, size));
      ASSERT_TRUE(piece) << piece.error().what;
      got += *piece;
    }
    EXPECT_EQ(got, pack);
    EXPECT_TRUE(reader.finish());
    EXPECT_EQ(reader.shallow(), std::vector<std::string>{kMain});
  }
}

TEST(GitWire, AnAnswerWithoutAPackIsNone) {
  PackAnswer refused;
  auto fed = refused.feed(line("ERR upload-pack: not our ref\n"));
  ASSERT_FALSE(fed);
  EXPECT_NE(fed.error().what.find("not our ref"), std::string::npos);
  PackAnswer cut;
  ASSERT_TRUE(cut.feed(line("NAK\n")));
  EXPECT_FALSE(cut.finish());
  PackAnswer other;
  EXPECT_FALSE(other.feed("<html>"));
  PackAnswer hostile;
  EXPECT_FALSE(hostile.feed(line("shallow ../../x\n")));
}

}  // namespace
}  // namespace glovebox::orchestrator
