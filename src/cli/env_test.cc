#include "cli/env.h"

#include <gtest/gtest.h>

#include "cli/target.h"

namespace glovebox::cli {
namespace {

http::Url url(std::string_view text) {
  auto parsed = http::Url::parse(text);
  EXPECT_TRUE(parsed) << text;
  return parsed ? *parsed : http::Url{};
}

TEST(Env, UrlsWithWhichTheSdkWouldSendItsKeyElsewhereAreRefused) {
  for (auto safe : {"http://127.0.0.1:8410", "http://localhost:8410", "https://api.box.example"})
    EXPECT_TRUE(safe_for_sdk(url(safe))) << safe;
  for (auto unsafe :
       {"http://10.0.0.5:8410", "http://[::1]:8410", "http://127.0.0.2:8410", "https://box.example",
        "https://notapi.box.example", "http://api.:80", "unix:/run/x.sock"})
    EXPECT_FALSE(safe_for_sdk(url(unsafe))) << unsafe;
}

TEST(Env, RefusalSaysWhatToDo) {
  std::string text = safe_for_sdk(url("http://10.0.0.5:8410")).error().what;
  EXPECT_NE(text.find("127.0.0.1"), text.npos);
  EXPECT_NE(text.find("ssh -L"), text.npos);
}

TEST(Env, ValuesAreQuotedForAShell) {
  EXPECT_EQ(*shell_quoted("a b"), "'a b'");
  EXPECT_EQ(*shell_quoted("a'; rm -rf $HOME; '"), "'a'\\''; rm -rf $HOME; '\\'''");
  EXPECT_FALSE(shell_quoted("a\nb"));
}

TEST(Env, NoProxyIsSetOnlyWhereAProxyWouldBeUsed) {
  EXPECT_FALSE(no_proxy_for({}, "127.0.0.1"));
  EXPECT_EQ(no_proxy_for({{"HTTP_PROXY", "http://p:1"}}, "127.0.0.1"), "127.0.0.1,localhost");
  EXPECT_EQ(no_proxy_for({{"https_proxy", "x"}, {"NO_PROXY", "corp"}}, "localhost"),
            "corp,127.0.0.1,localhost");
  EXPECT_FALSE(no_proxy_for({{"HTTP_PROXY", "x"}, {"NO_PROXY", "a, 127.0.0.1"}}, "127.0.0.1"));
  EXPECT_FALSE(no_proxy_for({{"HTTP_PROXY", "x"}}, "api.box.example"));
}

}  // namespace
}  // namespace glovebox::cli
