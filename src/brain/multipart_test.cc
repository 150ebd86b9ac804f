#include "brain/multipart.h"

#include <gtest/gtest.h>

#include <vector>

namespace glovebox::brain {
namespace {

struct Collected final : FormSink {
  struct Part {
    FormPart head;
    std::string body;
    bool whole = false;
  };
  std::vector<Part> parts;
  std::size_t longest = 0;
  Result<void> begin(const FormPart& part) override {
    parts.push_back({part, "", false});
    return ok;
  }
  Result<void> data(std::string_view bytes) override {
    EXPECT_FALSE(bytes.empty());
    longest = std::max(longest, bytes.size());
    parts.back().body += bytes;
    return ok;
  }
  Result<void> end() override {
    parts.back().whole = true;
    return ok;
  }
};

Result<void> parse(std::string_view body, Collected& into, std::size_t piece,
                   FormLimits limits = {}) {
  FormParser parser("XX", limits, into);
  for (; !body.empty(); body.remove_prefix(std::min(piece, body.size())))
    TRY_DO(parser.feed(body.substr(0, piece)));
  return parser.finish();
}

std::string error_of(std::string_view body, FormLimits limits = {}) {
  std::string first;
  for (std::size_t piece : {std::size_t{1}, std::size_t{3}, body.size() + 1}) {
    Collected seen;
    auto parsed = parse(body, seen, piece, limits);
    const std::string what = parsed ? "" : parsed.error().what;
    if (piece == 1) first = what;
    EXPECT_EQ(what, first) << piece;
  }
  return first;
}

std::string part(std::string disposition, std::string body) {
  return str("--XX\r\nContent-Disposition: form-data; ", disposition, "\r\n\r\n", body, "\r\n");
}

}  // namespace

TEST(Multipart, PiecesOfAnySizeGiveTheSameParts) {
  const std::string body =
      str("before\r\n", part(R"(name="a")", "--- \r\n--X\r\n--\r"),
          "--XX \t\r\ncontent-TYPE: text/x\r\nContent-Disposition: form-data; name=\"f[]\"; "
          "filename=\"d/e.md\"\r\n\r\n\r\n\r\n--XX--\r\nafter --XX");
  for (std::size_t piece = 1; piece <= body.size(); ++piece) {
    Collected seen;
    ASSERT_TRUE(parse(body, seen, piece)) << piece;
    ASSERT_EQ(seen.parts.size(), 2u);
    EXPECT_EQ(seen.parts[0].head.name, "a");
    EXPECT_FALSE(seen.parts[0].head.filename);
    EXPECT_EQ(seen.parts[0].body, "--- \r\n--X\r\n--\r");
    EXPECT_EQ(seen.parts[1].head.filename, "d/e.md");
    EXPECT_EQ(seen.parts[1].head.type, "text/x");
    EXPECT_EQ(seen.parts[1].body, "\r\n");
    EXPECT_TRUE(seen.parts[0].whole && seen.parts[1].whole);
  }
}

TEST(Multipart, EmptyPartAndEmptyForm) {
  Collected seen;
  ASSERT_TRUE(parse(part("name=\"a\"", "") + "--XX--", seen, 1));
  ASSERT_EQ(seen.parts.size(), 1u);
  EXPECT_EQ(seen.parts[0].body, "");
  EXPECT_EQ(error_of("--XX--\r\n"), "");
}

TEST(Multipart, NamesAsClientsWriteThem) {
  const std::pair<std::string, std::string> table[] = {
      {R"(name="a"; filename="x\"y\\z")", R"(x"y\z)"},
      {R"(name="a"; filename="C:\dir\file")", R"(C:\dir\file)"},
      {R"(name="a"; filename="x%22y%0D%0Az%41")", "x\"y\r\nz%41"},
      {R"(name=a; filename=plain)", "plain"},
      {R"(filename="a;b" ; name="a";)", "a;b"},
  };
  for (const auto& [disposition, filename] : table) {
    Collected seen;
    ASSERT_TRUE(parse(part(disposition, "") + "--XX--", seen, 7)) << disposition;
    EXPECT_EQ(seen.parts[0].head.filename, filename) << disposition;
    EXPECT_EQ(seen.parts[0].head.name, "a");
  }
}

TEST(Multipart, WhatIsBrokenIsSaid) {
  const std::string tail = "--XX--";
  EXPECT_EQ(error_of(""), "multipart body: ends before its last boundary");
  EXPECT_EQ(error_of(part("name=a", "cut")), "multipart body: ends before its last boundary");
  EXPECT_EQ(error_of("--XXnot a boundary's end\r\n"),
            "multipart body: a boundary is followed by something");
  EXPECT_EQ(error_of(part("x=y", "") + tail), "multipart body: a part has no name");
  EXPECT_EQ(error_of(part("name=\"a", "") + tail),
            "multipart body: a Content-Disposition cannot be read");
  EXPECT_EQ(error_of("--XX\r\nContent-Disposition: file; name=a\r\n\r\n\r\n" + tail),
            "multipart body: a part is no form-data");
  EXPECT_EQ(error_of("--XX\r\nnothing\r\n\r\n\r\n" + tail),
            "multipart body: a line of a part's head has no colon");
  EXPECT_EQ(error_of("--XX\r\nA: b\r\n\r\n\r\n" + tail),
            "multipart body: a part has no Content-Disposition");
  EXPECT_EQ(error_of("--XX\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: "
                     "form-data; name=a\r\n\r\n\r\n" +
                     tail),
            "multipart body: a part is encoded");
}

TEST(Multipart, LimitsHoldWhateverThePieces) {
  const std::string two = part("name=a", "") + part("name=a", "") + "--XX--";
  EXPECT_EQ(error_of(two, {.parts = 2}), "");
  EXPECT_EQ(error_of(two, {.parts = 1}), "multipart body: has more than 1 parts");
  const std::size_t head = std::string("Content-Disposition: form-data; name=a").size();
  EXPECT_EQ(error_of(two, {.head = head}), "");
  EXPECT_EQ(error_of(two, {.head = head - 1}), "multipart body: the head of a part is too long");
  EXPECT_EQ(error_of("--XX\r\n" + std::string(100, 'x'), {.head = 50}),
            "multipart body: the head of a part is too long");
}

TEST(Multipart, LongPartGoesThroughInPieces) {
  Collected seen;
  const std::string body(1'000'000, '-');
  ASSERT_TRUE(parse(part("name=a", body) + "--XX--", seen, 1'000));
  EXPECT_EQ(seen.parts[0].body, body);
  EXPECT_LT(seen.longest, 1'100u);
}

TEST(Multipart, BoundaryOfAContentType) {
  EXPECT_EQ(*form_boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(*form_boundary("Multipart/Form-Data; charset=x; boundary=\"a b\""), "a b");
  for (std::string bad : {"", "application/json", "multipart/form-data",
                          "multipart/mixed; boundary=a", "multipart/form-data; boundary="})
    EXPECT_FALSE(form_boundary(bad)) << bad;
  EXPECT_FALSE(form_boundary("multipart/form-data; boundary=" + std::string(71, 'x')));
}

}  // namespace glovebox::brain
