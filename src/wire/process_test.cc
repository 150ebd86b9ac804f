#include <gtest/gtest.h>

#include "wire/sandbox.h"

namespace glovebox::wire {
namespace {

TEST(StartProcess, AMinimalBodyIsEnough) {
  auto start = decode_process_start(R"({"command":"x"})");
  ASSERT_TRUE(start) << start.error().what;
  EXPECT_EQ(start->spec.argv, std::vector<std::string>{"x"});
  EXPECT_EQ(start->spec.stdin_mode, StdinMode::closed);
  EXPECT_EQ(start->spec.stdout_mode, OutputMode::capture);
  EXPECT_EQ(start->spec.timeout_ms, 0u);
  EXPECT_FALSE(start->managed);
}

TEST(StartProcess, EveryMemberArrives) {
  auto start = decode_process_start(R"({"command":"sh","args":["-c","x"],"env":{"A":"1","B":""},
    "working_dir":"/tmp","stdin_mode":"pipe","stdout_mode":"discard","stderr_mode":"discard",
    "user":{"uid":1000,"gid":5},"timeout":0.0001})");
  ASSERT_TRUE(start) << start.error().what;
  EXPECT_EQ(start->spec.argv, (std::vector<std::string>{"sh", "-c", "x"}));
  EXPECT_EQ(start->spec.env, (std::vector<std::string>{"A=1", "B="}));
  EXPECT_EQ(start->spec.cwd, "/tmp");
  EXPECT_EQ(start->spec.stdin_mode, StdinMode::pipe);
  EXPECT_EQ(start->spec.stderr_mode, OutputMode::discard);
  EXPECT_EQ(start->spec.user, "1000:5");
  EXPECT_EQ(start->spec.timeout_ms, 1u);  // never rounded to "none"
}

TEST(StartProcess, TheUserHasFourForms) {
  struct {
    const char *json, *user;
  } cases[] = {{R"("root")", "root"},
               {R"("0:0")", "0:0"},
               {R"({"name":"daemon"})", "daemon"},
               {R"({"uid":7})", "7"}};
  for (auto& [json, user] : cases) {
    auto start = decode_process_start(str(R"({"command":"x","user":)", json, "}"));
    ASSERT_TRUE(start) << start.error().what;
    EXPECT_EQ(start->spec.user, user);
  }
}

TEST(StartProcess, WhatIsWrongIsNamed) {
  struct {
    const char *rest, *named;
  } cases[] = {
      {R"("command":"")", "command"},
      {R"("command":["ls"])", "command"},
      {R"("command":"a\u0000b")", "command"},
      {R"("args":["-l"])", "command"},
      {R"("command":"x","args":"-l")", "args"},
      {R"("command":"x","args":[1])", "args"},
      {R"("command":"x","env":[])", "env"},
      {R"("command":"x","env":{"A":1})", "env"},
      {R"("command":"x","env":{"":"1"})", "env"},
      {R"("command":"x","env":{"A=B":"1"})", "env"},
      {R"("command":"x","env":{"A":"\u0000"})", "env"},
      {R"("command":"x","stdin_mode":"open")", "stdin_mode"},
      {R"("command":"x","stdout_mode":"tee")", "stdout_mode"},
      {R"("command":"x","user":"")", "user"},
      {R"("command":"x","user":"a b")", "user"},
      {R"("command":"x","user":{})", "user"},
      {R"("command":"x","user":{"gid":1})", "user"},
      {R"("command":"x","user":{"name":"a","uid":1})", "user"},
      {R"("command":"x","user":{"uid":65536})", "user"},
      {R"("command":"x","user":1)", "user"},
      {R"("command":"x","timeout":-1)", "timeout"},
      {R"("command":"x","timeout":"1")", "timeout"},
      {R"("command":"x","timeout":1e99)", "timeout"},
      {R"("command":"x","working_dir":7)", "working_dir"},
  };
  for (auto& [rest, named] : cases) {
    auto start = decode_process_start(str("{", rest, "}"));
    ASSERT_FALSE(start) << rest;
    EXPECT_EQ(start.error().what.substr(0, std::string_view(named).size()), named)
        << start.error().what;
  }
}

TEST(StartProcess, ManagedProcessesAreToldApart) {
  for (auto rest :
       {R"("name":"web")", R"("restart":{})", R"("health_check":{"type":"tcp","port":1})"})
    EXPECT_TRUE(decode_process_start(str(R"({"command":"x",)", rest, "}"))->managed) << rest;
}

TEST(Exec, StdinIsAPipeUnlessItSaysOtherwise) {
  EXPECT_EQ(decode_exec(R"({"command":"x"})")->spec.stdin_mode, StdinMode::pipe);
  EXPECT_EQ(decode_exec(R"({"command":"x"})")->spec.attach, Attach::none);
  EXPECT_EQ(decode_exec(R"({"command":"x","log":false})")->spec.attach, Attach::alone);
  EXPECT_EQ(decode_exec(R"({"command":"x","stdin_mode":"closed"})")->spec.stdin_mode,
            StdinMode::closed);
  auto pty =
      decode_exec(R"({"command":"x","stdin_mode":"closed","pty":true,"rows":9999,"cols":0})");
  EXPECT_EQ(pty->spec.stdin_mode, StdinMode::pipe);
  EXPECT_EQ(pty->spec.rows, 500u);
  EXPECT_EQ(pty->spec.cols, 1u);
}

TEST(Pty, SizesAreClampedAndTypesAreNot) {
  auto pty = decode_pty(R"({"command":"bash"})");
  EXPECT_TRUE(pty->spec.pty);
  EXPECT_EQ(pty->spec.rows, 24u);
  EXPECT_EQ(pty->spec.cols, 80u);
  EXPECT_EQ(*decode_resize(R"({"rows":-5,"cols":5000})"), std::pair(1u, 1000u));
  EXPECT_FALSE(decode_resize(R"({"rows":24})"));
  EXPECT_FALSE(decode_resize(R"({"rows":"24","cols":80})"));
  EXPECT_FALSE(decode_pty(R"({"rows":24})"));
}

TEST(Signal, OnlySignalsPass) {
  EXPECT_EQ(*decode_signal(R"({"signal":15})"), 15);
  for (auto bad : {R"({"signal":0})", R"({"signal":65})", R"({"signal":"TERM"})", "{}", "15", ""})
    EXPECT_FALSE(decode_signal(bad)) << bad;
}

TEST(ProcessRecord, SaysHowItEnded) {
  ProcessInfo info;
  info.handle = 3;
  info.pid = 42;
  info.argv = {"s\xff", "a"};
  EXPECT_EQ(encode_process(info),
            "{\"handle\":3,\"pid\":42,\"status\":\"running\",\"oom_killed\":false,\"stdin_"
            "writable\":false,"
            "\"command\":\"s\xef\xbf\xbd\",\"args\":[\"a\"],\"started_at\":0}");
  info.status = Status::exited;
  info.exit_code = 7;
  EXPECT_NE(encode_process(info).find("\"exit_code\":7"), std::string::npos);
  info.status = Status::oom_killed;
  info.signal = 9;
  std::string killed = encode_process(info);
  EXPECT_NE(killed.find("\"signal\":9"), std::string::npos);
  EXPECT_NE(killed.find("\"oom_killed\":true"), std::string::npos);
  EXPECT_EQ(killed.find("exit_code"), std::string::npos);
  info.argv.clear();  // a hand that names nothing
  EXPECT_NE(encode_processes({{info, std::nullopt}}).find("\"command\":\"\""), std::string::npos);
}

TEST(PtySession, ItsIdIsMadeOfTheHandle) {
  EXPECT_EQ(pty_handle(pty_session_id(7)), 7u);
  for (auto bad :
       {"", "7", "pty-", "pty-0", "pty-x", "pty-7 ", "pty--7", "pty-9223372036854775808"})
    EXPECT_FALSE(pty_handle(bad)) << bad;
}

TEST(PtySession, HasOneNumberForItsEnd) {
  ProcessInfo info;
  info.handle = 7;
  info.argv = {"bash", "-l"};
  info.rows = 24;
  EXPECT_NE(encode_pty(info).find("\"is_alive\":true"), std::string::npos);
  EXPECT_EQ(encode_pty(info).find("exit_code"), std::string::npos);
  info.status = Status::signaled;
  info.signal = 1;
  EXPECT_NE(encode_pty(info).find("\"exit_code\":-1"), std::string::npos);
  EXPECT_EQ(encode_pty_created(info, "t"), R"({"session_id":"pty-7","token":"t"})");
}

TEST(ToolInput, MayHoldHalvesOfCharacters) {
  EXPECT_TRUE(check_tool_input(R"({"command":"echo \ud83d"})"));
  EXPECT_TRUE(check_tool_input(R"({"\udc00":["\ud800\ud800"]})"));
}

TEST(ToolInput, MustBeAnObject) {
  EXPECT_TRUE(check_tool_input("{}"));
  for (auto bad : {"", "[]", "echo hello", "{nonsense", "null"})
    EXPECT_FALSE(check_tool_input(bad)) << bad;
}

TEST(ToolResult, IsTakenApartWithCare) {
  auto result = decode_tool_result(R"({"content":"a\u0000b","is_error":true})");
  ASSERT_TRUE(result) << result.error().what;
  EXPECT_EQ(result->content, std::string("a\0b", 3));
  EXPECT_TRUE(result->is_error);
  for (auto bad : {"", "{}", R"({"content":1})", R"({"content":"x","is_error":"no"})"})
    EXPECT_FALSE(decode_tool_result(bad)) << bad;
}

TEST(ErrorBody, IsAlwaysValidJson) {
  EXPECT_EQ(
      encode_error_body("a \"b\"\n\xff", "NOT_FOUND", "r1"),
      "{\"error\":\"a \\\"b\\\"\\n\xef\xbf\xbd\",\"code\":\"NOT_FOUND\",\"request_id\":\"r1\"}");
}

}  // namespace
}  // namespace glovebox::wire
