// The parts that need no socket: headers, encodings, error shape, router, URL, events.
#include "http/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/chunked.h"
#include "http/client.h"
#include "http/router.h"
#include "http/sse.h"
#include "http/target.h"
#include "net/task.h"

namespace glovebox::http {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST(Headers, NamesCompareWithoutCaseAndOrderIsKept) {
  Headers headers;
  headers.add("A", "1");
  headers.add("b", "2");
  headers.add("a", "3");
  EXPECT_EQ(headers.get("a"), "1");
  EXPECT_EQ(headers.get("B"), "2");
  headers.set("a", "4");
  EXPECT_THAT(headers.all(), ElementsAre(Pair("b", "2"), Pair("a", "4")));
  headers.remove("B");
  EXPECT_EQ(headers.get("b"), std::nullopt);
}

TEST(Percent, DecodesWhatIsValidAndNothingElse) {
  EXPECT_EQ(percent_decode("a%20b%2Fc+d%c3%A4"), "a b/c+d\xc3\xa4");
  EXPECT_EQ(form_decode("a+b%2B"), "a b+");
  EXPECT_TRUE(valid_percent("%41%ff"));
  for (std::string bad : {"%", "%4", "%zz", "%4g", "a%00b", "%%41"})
    EXPECT_FALSE(valid_percent(bad)) << bad;
}

TEST(Percent, WhatWeEncodeComesBack) {
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(form_decode(encode_query(all)), all);
  EXPECT_EQ(percent_decode(encode_path(all)), all);
  EXPECT_EQ(encode_path("a/b c"), "a%2Fb%20c");
}

TEST(Request, QueryValuesAreFormDecoded) {
  Request request;
  request.query = "a=1&b=x+y%26z&empty=&flag&a=2&c%20d=e";
  EXPECT_EQ(request.query_value("a"), "1");
  EXPECT_EQ(request.query_value("b"), "x y&z");
  EXPECT_EQ(request.query_value("empty"), "");
  EXPECT_EQ(request.query_value("flag"), "");
  EXPECT_EQ(request.query_value("c d"), "e");
  EXPECT_EQ(request.query_value("no"), std::nullopt);
}

TEST(ErrorResponse, HasTheStatusAndTheTagOfItsCode) {
  const std::vector<std::tuple<Code, int, std::string>> table = {
      {Code::invalid, 400, "INVALID"},         {Code::unauthenticated, 401, "AUTH_REQUIRED"},
      {Code::forbidden, 403, "FORBIDDEN"},     {Code::not_found, 404, "NOT_FOUND"},
      {Code::conflict, 409, "CONFLICT"},       {Code::gone, 410, "GONE"},
      {Code::too_large, 413, "TOO_LARGE"},     {Code::exhausted, 429, "EXHAUSTED"},
      {Code::unsupported, 501, "UNSUPPORTED"}, {Code::unavailable, 503, "UNAVAILABLE"},
      {Code::timeout, 504, "TIMEOUT"},         {Code::cancelled, 499, "CANCELLED"},
      {Code::internal, 500, "INTERNAL_ERROR"}};
  for (const auto& [code, status, tag] : table) {
    Response response = error_response(Error{code, "why \"so\""});
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(response.body, str(R"({"error":"why \"so\"","code":")", tag, R"("})"));
  }
  EXPECT_THAT(error_response(Error{Code::invalid, "x", "IS_DIRECTORY"}).body,
              HasSubstr(R"("code":"IS_DIRECTORY")"));
}

// --- Router

Task<Response> handler(Request) { co_return empty(204); }

std::string found(const Router& router, std::string method, std::string path) {
  auto match = router.find(method, path);
  if (!match.route) return match.allow.empty() ? "none" : "allow " + match.allow;
  std::string text = match.route->pattern;
  for (const auto& [name, value] : match.params) text += " " + name + "=" + value;
  return text;
}

TEST(Router, FindsTheMostLiteralRoute) {
  Router router({{"GET", "/", Body::none, handler},
                 {"GET", "/boxes", Body::none, handler},
                 {"POST", "/boxes", Body::none, handler},
                 {"GET", "/boxes/all", Body::none, handler},
                 {"GET", "/boxes/{id}", Body::none, handler},
                 {"DELETE", "/boxes/{id}", Body::none, handler},
                 {"GET", "/boxes/{id}/files/{path*}", Body::none, handler},
                 {"PUT", "/boxes/{box}/files/{path*}", Body::none, handler},
                 {"GET", "/boxes/{id}/files/list", Body::none, handler}});
  EXPECT_EQ(found(router, "GET", "/"), "/");
  EXPECT_EQ(found(router, "GET", "/boxes"), "/boxes");
  EXPECT_EQ(found(router, "GET", "/boxes/all"), "/boxes/all");
  EXPECT_EQ(found(router, "GET", "/boxes/a%2Fb%20c"), "/boxes/{id} id=a/b c");
  EXPECT_EQ(found(router, "DELETE", "/boxes/all"),
            "/boxes/{id} id=all");  // the literal has no DELETE
  EXPECT_EQ(found(router, "GET", "/boxes/1/files/a/b%20c"),
            "/boxes/{id}/files/{path*} id=1 path=a/b c");
  EXPECT_EQ(found(router, "GET", "/boxes/1/files/list"), "/boxes/{id}/files/list id=1");
  EXPECT_EQ(found(router, "GET", "/boxes/1/files/list/x"),
            "/boxes/{id}/files/{path*} id=1 path=list/x");
  EXPECT_EQ(found(router, "GET", "/boxes/1/files/"), "/boxes/{id}/files/{path*} id=1 path=");
  EXPECT_EQ(found(router, "PUT", "/boxes/1/files/x"), "/boxes/{box}/files/{path*} box=1 path=x");
  EXPECT_EQ(found(router, "HEAD", "/boxes"), "/boxes");
}

TEST(Router, KnowsAPathFromAMethod) {
  Router router({{"GET", "/boxes/{id}", Body::none, handler},
                 {"DELETE", "/boxes/{id}", Body::none, handler},
                 {"POST", "/boxes/all", Body::none, handler}});
  EXPECT_EQ(found(router, "PUT", "/boxes/1"), "allow DELETE, GET, HEAD");
  EXPECT_EQ(found(router, "PUT", "/boxes/all"), "allow DELETE, GET, HEAD, POST");
  EXPECT_EQ(found(router, "GET", "/boxes"), "none");
  EXPECT_EQ(found(router, "GET", "/boxes/"), "none");  // an empty segment is no id
  EXPECT_EQ(found(router, "GET", "/boxes/1/"), "none");
  EXPECT_EQ(found(router, "GET", "/"), "none");
  EXPECT_EQ(found(router, "OPTIONS", "*"), "none");
}

// --- Host and Origin

std::string checked(std::string host, std::string origin) {
  Request request;
  request.headers.add("Host", host);
  if (!origin.empty()) request.headers.add("Origin", origin);
  auto known = check_host(request, {"localhost", "127.0.0.1", "[::1]", ".local"});
  return known ? "ok" : known.error().tag;
}

TEST(AllowedHosts, OnlyOurNamesAreServed) {
  for (std::string host : {"localhost", "localhost:8410", "LOCALHOST", "127.0.0.1:80", "[::1]",
                           "[::1]:80", "a.local", "b.a.local:1"})
    EXPECT_EQ(checked(host, ""), "ok") << host;
  for (std::string host :
       {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ".local", "local",
        "xlocal", "evil.example:localhost", "[::1", "[::1].evil.example"})
    EXPECT_EQ(checked(host, ""), "FORBIDDEN_HOST") << host;
}

TEST(AllowedHosts, PagesOfOthersMayNotCall) {
  for (std::string origin :
       {"http://localhost", "https://localhost:8400", "http://[::1]:1", "http://x.local"})
    EXPECT_EQ(checked("localhost", origin), "ok") << origin;
  for (std::string origin : {"null", "http://evil.example", "http://localhost.evil.example",
                             "https://evil.example/localhost", "localhost"})
    EXPECT_EQ(checked("localhost", origin), "FORBIDDEN_ORIGIN") << origin;
}

// --- Chunks

TEST(ChunkReader, TakesExactlyTheBodyInPiecesOfAnySize) {
  const std::string bytes = "5;x=\"y\"\r\nhello\r\n0000a\r\n, world!\r\n\r\n0\r\nT: t\r\n\r\n";
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    ChunkReader chunks;
    std::string rest = bytes + "GET /next", body;
    while (!chunks.done()) {
      auto used = chunks.feed(std::string_view(rest).substr(0, piece), body);
      ASSERT_TRUE(used) << used.error().what;
      ASSERT_GT(*used, 0u);
      rest.erase(0, *used);
    }
    EXPECT_EQ(body, "hello, world!\r\n");
    EXPECT_EQ(rest, "GET /next");
  }
}

// --- URL

TEST(Url, ParsesWhatAClientNeeds) {
  auto url = Url::parse("https://Example.org/base/v1/");
  ASSERT_TRUE(url);
  EXPECT_EQ(std::tuple(url->scheme, url->host, url->port, url->path_prefix, url->authority()),
            std::tuple("https", "Example.org", 443, "/base/v1", "Example.org"));
  url = Url::parse("http://[::1]:8410");
  ASSERT_TRUE(url);
  EXPECT_EQ(std::tuple(url->host, url->port, url->path_prefix, url->authority()),
            std::tuple("::1", 8410, "", "[::1]:8410"));
  url = Url::parse("http://localhost:8410/");
  ASSERT_TRUE(url);
  EXPECT_EQ(std::tuple(url->host, url->port, url->path_prefix), std::tuple("localhost", 8410, ""));
  url = Url::parse("unix:/run/glovebox/engine.sock");
  ASSERT_TRUE(url);
  EXPECT_EQ(std::tuple(url->unix_path, url->authority()),
            std::tuple("/run/glovebox/engine.sock", "localhost"));
}

TEST(Url, RefusesTheRest) {
  for (std::string bad :
       {"", "localhost:8410", "ftp://x", "http://", "http://:80", "http://x:0", "http://x:65536",
        "http://x:y", "http://[::1", "http://[::1]x", "http://user:secret@x/", "http://x/?a=b",
        "http://x/#a", "http://x y/", "http://x/\r\nA: b", "unix:", "unix:relative"})
    EXPECT_FALSE(Url::parse(bad)) << bad;
}

// --- Server-sent events

std::vector<std::string> events(const std::string& bytes, std::size_t piece,
                                std::size_t limit = 1000) {
  SseParser parser(limit);
  std::vector<std::string> seen;
  for (std::string_view rest = bytes; !rest.empty();
       rest.remove_prefix(std::min(piece, rest.size()))) {
    auto fed = parser.feed(rest.substr(0, piece));
    while (auto event = parser.next())
      seen.push_back(str(event->event, "|", event->id, "|", event->data));
    if (!fed) {
      seen.push_back(std::string(name(fed.error().code)));
      break;
    }
  }
  return seen;
}

TEST(Sse, ReadsWhateverIsAllowedInPiecesOfAnySize) {
  const std::string bytes =
      "\xef\xbb\xbf: a comment\r\n"
      "event: add\r\ndata: one\r\ndata:two\r\nid: 7\r\n\r\n"  // CRLF
      "data\rdata:  x\r\r"                      // CR, a field without colon, one space taken
      "data: \xc3\xa4\xe2\x82\xac\n\n"          // LF, UTF-8
      "event: empty\nretry: 5\nunknown: x\n\n"  // no data: no event
      "id\ndata: y\n\n"                         // the id is reset
      "data: cut off";
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece)
    EXPECT_THAT(events(bytes, piece),
                ElementsAre("add|7|one\ntwo", "|7|\n x", "|7|\xc3\xa4\xe2\x82\xac", "||y"))
        << piece;
}

TEST(Sse, LimitsLinesAndEvents) {
  EXPECT_THAT(events("data: " + std::string(2000, 'x'), 100), ElementsAre("too_large"));
  std::string many;
  for (int i = 0; i < 20; ++i) many += "data: " + std::string(100, 'x') + "\n";
  EXPECT_THAT(events(many, 100), ElementsAre("too_large"));
}

TEST(Sse, InvalidUtf8BecomesReplacementCharacters) {
  EXPECT_THAT(events("data: a\xff"
                     "b\n\n",
                     100),
              ElementsAre("||a\xef\xbf\xbd"
                          "b"));
}

TEST(Sse, WhatWeEncodeIsReadAsItWas) {
  SseEvent event{"add", "one\ntwo\r\nthree\rfour\n", "7"};
  EXPECT_EQ(encode(event),
            "event: add\nid: 7\ndata: one\ndata: two\ndata: three\ndata: four\ndata: \n\n");
  EXPECT_THAT(events(encode(event), 5), ElementsAre("add|7|one\ntwo\nthree\nfour\n"));
  EXPECT_THAT(events(encode({"x\nid: 9", "{}", ""}), 5),
              ElementsAre("xid: 9||{}"));  // no field of its own
  EXPECT_EQ(encode({"", "", ""}), "data: \n\n");
}

}  // namespace
}  // namespace glovebox::http
