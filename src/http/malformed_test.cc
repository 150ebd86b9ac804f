// What a server must survive: a table of bytes, and the status and tag each of them gets.
#include "http/test_server.h"

namespace glovebox::http {
namespace {

using testing::HasSubstr;

struct Bad {
  std::string name, bytes;
  int status;
  std::string tag;
};

std::string get(std::string target, std::string headers = "Host: x\r\n") {
  return "GET " + target + " HTTP/1.1\r\n" + headers + "\r\n";
}
std::string post(std::string headers, std::string body) {
  return "POST /whole HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body;
}
std::string many_headers(int n) {
  std::string headers = "Host: x\r\n";
  for (int i = 0; i < n; ++i) headers += str("X-", i, ": y\r\n");
  return headers;
}

const std::vector<Bad> kTable = {
    // Request line
    {"garbage", "hello world\r\n\r\n", 400, "INVALID"},
    {"no version", "GET /\r\nHost: x\r\n\r\n", 400, "INVALID"},
    {"HTTP/0.9", "GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505, "HTTP_VERSION"},
    {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, "HTTP_VERSION"},
    {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505, "HTTP_VERSION"},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP_VERSION"},
    {"lower-case version", "GET / http/1.1\r\nHost: x\r\n\r\n", 505, "HTTP_VERSION"},
    {"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "INVALID"},
    {"space behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 505, "HTTP_VERSION"},
    {"leading space", " GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "INVALID"},
    {"method with a colon", "GE:T / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "INVALID"},
    {"NUL in the method", std::string("G\0T / HTTP/1.1\r\nHost: x\r\n\r\n", 27), 400, "INVALID"},
    {"TLS on a plain port", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), 400,
     "INVALID"},
    {"only empty lines", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n", 400, "INVALID"},
    {"lines that end in LF", "GET / HTTP/1.1\nHost: x\n\n", 400, "INVALID"},
    {"LF alone in the middle", "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400, "INVALID"},
    {"CR inside a line", "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", 400, "INVALID"},
    {"target without a slash", get("hello"), 400, "INVALID"},
    {"target of CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "INVALID"},
    {"foreign scheme", get("ftp://x/"), 400, "INVALID"},
    {"fragment", get("/a#b"), 400, "INVALID"},
    {"raw UTF-8 in the target", get("/\xc3\xa4"), 400, "INVALID"},
    {"control character in the target", get("/a\x01"), 400, "INVALID"},
    {"% at the end", get("/a%"), 400, "INVALID"},
    {"% and one digit", get("/a%4"), 400, "INVALID"},
    {"% and no hex", get("/a%zz"), 400, "INVALID"},
    {"%00 in the path", get("/a%00b"), 400, "INVALID"},
    {"%00 in the query", get("/a?b=%00"), 400, "INVALID"},
    {"bad % in the query", get("/a?b=%g0"), 400, "INVALID"},
    {"endless request line", "GET /" + std::string(40'000, 'a'), 414, "URI_TOO_LONG"},
    // Headers
    {"no Host", get("/", ""), 400, "INVALID"},
    {"two Hosts", get("/", "Host: x\r\nHost: x\r\n"), 400, "INVALID"},
    {"a Host that is none", get("/", "Host: a b\r\n"), 400, "INVALID"},
    {"a Host with a path", get("/", "Host: a/b\r\n"), 400, "INVALID"},
    {"header without a colon", get("/", "Host: x\r\nnonsense\r\n"), 400, "INVALID"},
    {"space before the colon", get("/", "Host: x\r\nA : b\r\n"), 400, "INVALID"},
    {"empty header name", get("/", "Host: x\r\n: b\r\n"), 400, "INVALID"},
    {"folded header", get("/", "Host: x\r\nA: b\r\n c\r\n"), 400, "INVALID"},
    {"folded first header", get("/", " Host: x\r\n"), 400, "INVALID"},
    {"NUL in a header", get("/", std::string("Host: x\r\nA: b\0c\r\n", 17)), 400, "INVALID"},
    {"control character in a header", get("/", "Host: x\r\nA: b\x01\r\n"), 400, "INVALID"},
    {"DEL in a header", get("/", "Host: x\r\nA: b\x7f\r\n"), 400, "INVALID"},
    {"non-ASCII header name", get("/", "Host: x\r\n\xc3\xa4: b\r\n"), 400, "INVALID"},
    {"large headers", get("/", "Host: x\r\nA: " + std::string(40'000, 'a') + "\r\n"), 431,
     "HEADERS_TOO_LARGE"},
    {"large headers without an end", "GET / HTTP/1.1\r\nA: " + std::string(40'000, 'a'), 431,
     "HEADERS_TOO_LARGE"},
    {"many headers", get("/", many_headers(100)), 431, "HEADERS_TOO_LARGE"},
    // Where the body ends
    {"Content-Length that is no number", post("Content-Length: abc\r\n", ""), 400, "INVALID"},
    {"negative Content-Length", post("Content-Length: -1\r\n", ""), 400, "INVALID"},
    {"Content-Length with a plus", post("Content-Length: +5\r\n", "hello"), 400, "INVALID"},
    {"empty Content-Length", post("Content-Length:\r\n", ""), 400, "INVALID"},
    {"hexadecimal Content-Length", post("Content-Length: 0x5\r\n", "hello"), 400, "INVALID"},
    {"Content-Length list", post("Content-Length: 5, 5\r\n", "hello"), 400, "INVALID"},
    {"Content-Length twice, the same", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
     400, "INVALID"},
    {"Content-Length twice, different", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
     400, "INVALID"},
    {"Content-Length over 64 bits", post("Content-Length: 99999999999999999999\r\n", ""), 400,
     "INVALID"},
    {"Content-Length and chunked",
     post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, "INVALID"},
    {"chunked and Content-Length",
     post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400, "INVALID"},
    {"chunked twice",
     post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400,
     "INVALID"},
    {"gzip coding", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501, "UNSUPPORTED"},
    {"chunked not last", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 501,
     "UNSUPPORTED"},
    {"misspelt chunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 501, "UNSUPPORTED"},
    {"chunked in HTTP/1.0", "POST /whole HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     400, "INVALID"},
    {"chunk size that is no number", post("Transfer-Encoding: chunked\r\n", "zz\r\nhello\r\n"), 400,
     "INVALID"},
    {"negative chunk size", post("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n"), 400,
     "INVALID"},
    {"chunk size with 0x", post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n"), 400,
     "INVALID"},
    {"chunk size over 64 bits", post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
     400, "INVALID"},
    {"chunk longer than it says", post("Transfer-Encoding: chunked\r\n", "2\r\nhello\r\n0\r\n\r\n"),
     400, "INVALID"},
    {"LF behind the chunk size", post("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n"), 400,
     "INVALID"},
    {"endless chunk extension",
     post("Transfer-Encoding: chunked\r\n", "5;a=" + std::string(70'000, 'x')), 400, "INVALID"},
    {"endless trailers",
     post("Transfer-Encoding: chunked\r\n", "0\r\nA: " + std::string(70'000, 'x')), 400, "INVALID"},
    {"Content-Length over the limit", post("Content-Length: 2000\r\n", ""), 413, "TOO_LARGE"},
    {"chunk over the limit",
     post("Transfer-Encoding: chunked\r\n", "7d0\r\n" + std::string(2000, 'x') + "\r\n0\r\n\r\n"),
     413, "TOO_LARGE"},
};

Task<Response> echo(Request request) { co_return text(200, request.body); }

std::vector<Route> routes() {
  return {{"GET", "/", Body::none, echo},
          {.method = "POST",
           .pattern = "/whole",
           .body = Body::whole,
           .handler = echo,
           .body_limit = 1000}};
}

TEST(Malformed, EachGetsItsStatusAndTheErrorShapeAndTheServerGoesOn) {
  TestServer test(routes());
  ASSERT_GE(kTable.size(), 60u);
  for (const Bad& bad : kTable) {
    SCOPED_TRACE(bad.name);
    std::string answer = test.say(bad.bytes);
    EXPECT_EQ(status(answer), bad.status) << answer;
    EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n"));
    EXPECT_THAT(answer, HasSubstr("\r\nContent-Type: application/json\r\n"));
    auto id_at = answer.find("\r\nX-Request-Id: ") + 16;
    std::string id = answer.substr(id_at, answer.find("\r\n", id_at) - id_at);
    EXPECT_TRUE(body(answer).starts_with(R"({"error":")")) << answer;
    EXPECT_TRUE(
        body(answer).ends_with(str(R"(","code":")", bad.tag, R"(","request_id":")", id, R"("})")))
        << answer;
    EXPECT_EQ(count(answer, "\r\nDate: "), 1u)
        << answer;  // nothing behind it was taken for a request

    std::string good = test.say("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(status(good), 200);
  }
}

TEST(Malformed, AlsoByteByByte) {
  TestServer test(routes());
  auto drip = [](net::Address address, std::string bytes, std::string& answer) -> Task<void> {
    CO_TRY(stream, co_await dial(address));
    for (char c : bytes) {
      if (!co_await stream->write_all(std::string(1, c), 5s)) break;
      CO_TRY_DO(co_await net::yield());
      CO_TRY_DO(co_await net::yield());
    }
    CO_TRY(all, co_await read_to_end(*stream));
    answer = all;
    co_return ok;
  };
  for (const Bad& bad : kTable) {
    if (bad.bytes.size() > 1000) continue;
    SCOPED_TRACE(bad.name);
    std::string answer;
    auto ran = net::run(test.loop, drip(test.address, bad.bytes, answer));
    EXPECT_TRUE(ran) << ran.error().what;
    EXPECT_EQ(status(answer), bad.status) << answer;
  }
}

// Odd, and still right.
TEST(Unusual, IsServed) {
  TestServer test(routes());
  const std::string close = "Host: x\r\nConnection: close\r\n";
  const std::vector<std::pair<std::string, std::string>> table = {
      {get("/", close), ""},
      {"\r\n" + get("/", close), ""},
      {get("//", close), ""},
      {get("http://x/", close), ""},
      {get("http://x", close), ""},
      {get("HTTP://x?a=b", close), ""},
      {"GET / HTTP/1.0\r\n\r\n", ""},
      {get("/?a=%20&&=&b", close), ""},
      {get("/", "host:x\r\nconnection:close\r\n"), ""},
      {get("/", "Host: [::1]:80\r\nConnection: close\r\n"), ""},
      {get("/", close + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), ""},
      {get("/", close + "Content-Length: 5\r\n") + "hello", ""},  // a body nobody asked for
      {post("Connection: close\r\nContent-Length: 5\r\n", "hello"), "hello"},
      {post("Connection: close\r\nContent-Length: 5\r\n", "hello, and more than it says"), "hello"},
      {post("Connection: close\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
       "hello"},
      {post("Connection: close\r\nTransfer-Encoding: Chunked\r\n",
            "005;a=b;c=\"d\"\r\nhello\r\n1\r\n!\r\n000\r\nT: t\r\n\r\n"),
       "hello!"},
      {post("Connection: close\r\nContent-Length: 0\r\n", ""), ""},
      {post("Connection: close\r\n", ""), ""},
  };
  for (const auto& [bytes, expected] : table) {
    std::string answer = test.say(bytes);
    EXPECT_EQ(status(answer), 200) << bytes << answer;
    EXPECT_EQ(body(answer), expected) << bytes << answer;
  }
}

}  // namespace
}  // namespace glovebox::http
