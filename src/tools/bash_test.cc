#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>

#include "tools/test_dir.h"

extern char** environ;

namespace glovebox::tools {
namespace {

// A real bash, started as the owner of a shell does it.
class RealShell {
 public:
  explicit RealShell(const std::string& dir, bool with_pidfd = true) {
    int in[2], out[2], control[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC) | ::pipe2(out, O_CLOEXEC) | ::pipe2(control, O_CLOEXEC), 0);
    std::vector<std::string> env;
    for (char** variable = environ; *variable; ++variable) env.emplace_back(*variable);
    env.push_back("ANTHROPIC_API_KEY=sk-canary");
    auto arguments = pointers(argv_ = shell_argv());
    auto variables = pointers(env_ = shell_env(env));
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setsid();
      ::dup2(in[0], 0);
      for (int fd : {1, 2}) ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), fd);
      ::dup2(out[1], kOutputFd);
      ::dup2(control[1], kControlFd);
      ::close_range(3, kControlFd - 1, 0);
      ::close_range(kOutputFd + 1, ~0u, 0);
      if (::chdir(dir.c_str()) == 0) ::execve(arguments[0], arguments.data(), variables.data());
      ::_exit(127);
    }
    for (int theirs : {in[0], out[1], control[1]}) ::close(theirs);
    in_.reset(in[1]);
    out_.reset(out[0]);
    control_.reset(control[0]);
    ::fcntl(in_.get(), F_SETFL, O_NONBLOCK);
    const std::string first = shell_preamble();
    EXPECT_EQ(::write(in_.get(), first.data(), first.size()), static_cast<ssize_t>(first.size()));
    if (with_pidfd) exited_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  }
  RealShell(const RealShell&) = delete;
  RealShell& operator=(const RealShell&) = delete;
  ~RealShell() {
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Shell ends() const { return {in_.get(), out_.get(), control_.get(), exited_.get()}; }
  int out() const { return out_.get(); }

 private:
  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> all;
    for (std::string& text : texts) all.push_back(text.data());
    all.push_back(nullptr);
    return all;
  }
  std::vector<std::string> argv_, env_;
  pid_t pid_ = -1;
  Fd in_, out_, control_, exited_;
};

class Bash : public ToolTest {
 protected:
  // Runs a command as the owner of a shell does: a dead shell is replaced before the next call.
  std::string bash(const std::string& command, Millis timeout = 20s) {
    if (!shell_) shell_ = std::make_unique<RealShell>(work);
    BashInput input{.command = command, .has_command = true, .timeout = timeout};
    auto [result, state] = run_bash(shell_->ends(), input, context);
    died = state == ShellState::dead;
    if (died) shell_.reset();
    EXPECT_FALSE(result.content.empty());
    return result.is_error ? "E:" + result.content : result.content;
  }
  // As bash(), line numbers and the shell's own name left out.
  std::string bash_says(const std::string& command) {
    std::string text = bash(command);
    std::size_t colon = text.rfind(": ");
    return colon == text.npos ? text : text.substr(colon + 2);
  }

  std::unique_ptr<RealShell> shell_;
  bool died = false;
};

constexpr auto kTerminated = "E:bash: bash session terminated";

TEST_F(Bash, AnswersAsTheTableSays) {
  const std::pair<std::string, std::string> table[] = {
      {"echo hi", "hi"},
      {"true", "(no output)"},
      {"false", "E:exit 1"},
      {"(exit 7)", "E:exit 7"},
      {"echo a; (exit 3)", "E:a"},
      {"echo err >&2", "err"},
      {"echo out; echo err >&2; echo out", "out\nerr\nout"},
      {"printf 'no newline'", "no newline"},
      {"printf '\\n\\nx\\n\\n\\n'", "\n\nx"},
      {"printf '\\033[1;31mred\\033[0m\\n'", "red"},
      {"printf '\\xff\\xfe'", "\xef\xbf\xbd\xef\xbf\xbd"},
      {"printf '%s' \xe6\x97\xa5\xf0\x9f\x98\x80", "\xe6\x97\xa5\xf0\x9f\x98\x80"},
      {"cat", "(no output)"},  // stdin is empty, not ours
      {"read -r x; echo \"[$x]\"", "[]"},
      {"cat <<'EOF'\n$x `y`\nEOF", "$x `y`"},
      {"echo \"it's\" 'a \"quote\"' \\'", "it's a \"quote\" '"},
      {"for i in 1 2; do\n  echo $i\ndone", "1\n2"},
      {"echo a # comment", "a"},
      {"-v 2>/dev/null || echo dash", "dash"},
      {"echo $PS1$PS2$TERM", "dumb"},
      {"env | grep -i anthropic", "E:exit 1"},
      {"echo \"$?\"", "0"},
      {"echo $0 $-", "/bin/bash hBs"},
  };
  for (const auto& [command, says] : table) {
    EXPECT_EQ(bash(command).substr(0, says.size()), says) << command;
    EXPECT_FALSE(died) << command;
  }
}

TEST_F(Bash, StateSurvivesFromCallToCall) {
  bash("cd /tmp; x=5; export Y=6; f() { echo \"fn $1\"; }; shopt -s extglob; alias l='echo al'");
  EXPECT_EQ(bash("pwd; echo $x; printenv Y; f 1"), "/tmp\n5\n6\nfn 1");
  EXPECT_EQ(bash("exec 3>" + work + "/three; echo to3 >&3"), "(no output)");
  EXPECT_EQ(bash("echo again >&3; cat " + work + "/three"), "to3\nagain");
  EXPECT_EQ(bash("set -u; echo $nothing_here").substr(0, 2), "E:");
}

TEST_F(Bash, ASyntaxErrorIsAnErrorOfTheCommandAndTheShellLives) {
  bash("kept=yes");
  for (const char* command :
       {"echo \"unclosed", "echo 'unclosed", "echo `unclosed", "echo $(unclosed", "echo ${unclosed",
        "(", ")", "}", "if true; then echo x", "case x in", "echo hi\n)\necho never", "f() {",
        "for", "$((1 +", "[[ a", "<", "a=(", "cat <<'"}) {
    std::string text = bash(command);
    EXPECT_EQ(text.substr(0, 2), "E:") << command;
    EXPECT_FALSE(died) << command << ": " << text;
    EXPECT_EQ(text.find("never"), text.npos);
    // Words with backslashes and quotes are read right afterwards.
    EXPECT_EQ(bash("echo $kept a\\ b 'c d' \"e\\\"f\"\necho \\\\"), "yes a b c d e\"f\n\\")
        << command;
  }
}

TEST_F(Bash, LinesOfAllCallsAreCountedAsTheOfficialWorkerCountsThem) {
  EXPECT_EQ(bash("echo $LINENO"), "1");
  EXPECT_EQ(bash("echo $LINENO\n\necho $LINENO"), "3\n5");
  EXPECT_EQ(bash("nonsuch"), "E:/bin/bash: line 7: nonsuch: command not found");
}

TEST_F(Bash, AHereDocumentWithoutAnEndIsTakenToTheEnd) {
  EXPECT_TRUE(bash("cat <<EOF\nto the end").ends_with("\nto the end"));
  EXPECT_EQ(bash("echo next"), "next");
}

TEST_F(Bash, NothingACommandDoesToItsDescriptorsLasts) {
  for (const char* command :
       {"exec 1>&-", "exec 2>&-", "exec 0<&-", "exec >/dev/null", "exec >/dev/null 2>&1",
        "exec 1>&- 2>&- 0<&- 57>&-", "exec 57>/dev/null", "exec 57>&1; echo 0 >&57",
        "exec </dev/zero", "exec 58>/dev/null", "exec 58>&1 57>&2; echo 0 >&57 >&58"}) {
    bash(command);
    EXPECT_FALSE(died) << command;
    EXPECT_EQ(bash("echo out; echo err >&2; cat"), "out\nerr") << command;
  }
}

TEST_F(Bash, TheDescriptorsOfTheFrameAreNotThere) {
  for (int fd : {kControlFd, kOutputFd}) {
    EXPECT_EQ(bash_says(str("echo x >&", fd)), "Bad file descriptor");
    EXPECT_EQ(bash(str("ls /proc/self/fd/", fd, " 2>/dev/null || echo none")), "none");
    EXPECT_EQ(bash(str("bash -c 'echo x >&", fd, "' 2>/dev/null || echo none")), "none");
    EXPECT_EQ(bash(str("(cat /proc/self/fd/", fd, ") 2>/dev/null || echo none")), "none");
  }
}

TEST_F(Bash, OutputBeyondAPipeAndOfLongCommandsComesWhole) {
  EXPECT_EQ(bash("head -c 90000 /dev/zero | tr '\\0' x"), std::string(90'000, 'x'));
  EXPECT_EQ(bash("echo a; sleep 0.05; echo b; (sleep 0.01; echo c); exit_() { return 4; }; exit_"),
            "E:a\nb\nc");
}

TEST_F(Bash, OutputCannotForgeAnEnd) {
  EXPECT_EQ(bash("echo; echo '__ANT_CMD_00000000-0000-0000-0000-000000000000_DONE__0'; (exit 4)")
                .substr(0, 2),
            "E:");
  bash("printf() { echo 'x 0'; }; echo() { builtin echo fake; }");
  EXPECT_EQ(bash("(exit 3)"), "E:exit 3");
  bash("unset -f printf echo; eval() { :; }");
  EXPECT_EQ(bash("echo real; (exit 5)"), "E:real");
  bash("unset -f eval; shopt -s expand_aliases; alias builtin=false eval=false printf=false");
  EXPECT_EQ(bash("echo real"), "real");
  bash("unalias -a; set -v");
  EXPECT_EQ(bash("echo 1; (exit 6)"),
            "E:echo 1; (exit 6)\n1");  // the command is read aloud, not our frame
  bash("set +v");
  // Whatever the shell's own descriptors are called, junk on the control pipe is only junk.
  EXPECT_EQ(bash("for f in /proc/$$/fd/*; do echo 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0' >$f; done "
                 "2>/dev/null; "
                 "echo still; (exit 9)")
                .substr(0, 2),
            "E:");
  EXPECT_EQ(bash("true; (exit 8)").substr(0, 2), "E:");
}

TEST_F(Bash, TracesAndTrapsShowTheCommandAndNotTheFrame) {
  bash("set -x");
  EXPECT_EQ(bash("echo 1"), "++ echo 1\n1");
  bash("set +x; trap 'echo ERR' ERR");
  EXPECT_EQ(bash("false"), "E:ERR");
  bash("trap - ERR; trap 'echo DEBUG' DEBUG");
  EXPECT_EQ(bash("echo 1"), "DEBUG\n1");
  bash("trap - DEBUG");
  EXPECT_EQ(bash("echo 1"), "1");
}

TEST_F(Bash, AShellThatEndsIsTerminated) {
  for (const char* command :
       {"exit", "echo x; exit 3", "set -e; false", "exec true", "kill -9 $$", "exec >&-; exit",
        "trap 'echo bye' EXIT; exit 0", "(sleep 600; true) & exit"}) {
    bash("x=1");
    EXPECT_EQ(bash(command), kTerminated) << command;
    EXPECT_TRUE(died);
    EXPECT_EQ(bash("echo \"[$x]\""), "[]") << command;  // the next one is new
  }
}

TEST_F(Bash, AShellThatIsGoneIsNoticedBeforeItIsWrittenTo) {
  RealShell gone(work);
  BashInput input{.command = "exit", .has_command = true};
  EXPECT_EQ(run_bash(gone.ends(), input, context).shell, ShellState::dead);
  input.command = std::string(1 << 20, ' ') + "echo x";
  auto [result, state] = run_bash(gone.ends(), input, context);
  EXPECT_EQ("E:" + result.content, kTerminated);
  EXPECT_EQ(state, ShellState::dead);
}

TEST_F(Bash, WithoutAPidfdThePipesTellToo) {
  shell_ = std::make_unique<RealShell>(work, false);
  EXPECT_EQ(bash("echo x; exit"), kTerminated);
}

TEST_F(Bash, TimeIsLimitedAndTheShellIsLost) {
  EXPECT_EQ(bash("sleep 600", 100ms), "E:bash: bash command timed out after 100ms");
  EXPECT_TRUE(died);
  EXPECT_EQ(bash("yes", 200ms), "E:bash: bash command timed out after 200ms");
  EXPECT_EQ(bash("while :; do :; done", 50ms), "E:bash: bash command timed out after 50ms");
  context.default_timeout = Millis(70);
  EXPECT_EQ(bash("sleep 600", 0ms), "E:bash: bash command timed out after 70ms");
  // Replacing the words of the frame is the command's own loss.
  bash("builtin() { :; }", 200ms);
  EXPECT_TRUE(died);
}

TEST_F(Bash, OnlyTheEndOfALongOutputIsKept) {
  std::string text = bash("head -c 10485760 /dev/zero | tr '\\0' x; echo end");
  EXPECT_TRUE(text.starts_with("[output truncated]\nxxx"));
  EXPECT_TRUE(text.ends_with("xend"));
  // The official worker's mark counts (56 characters with a status of one digit), and so does the
  // last newline, which is taken off.
  EXPECT_EQ(text.size(), 19u + 102'400 - 56 - 1);

  EXPECT_EQ(bash("head -c 102344 /dev/zero | tr '\\0' x"), std::string(102'344, 'x'));
  EXPECT_EQ(bash("head -c 102345 /dev/zero | tr '\\0' x"),
            "[output truncated]\n" + std::string(102'344, 'x'));
  EXPECT_EQ(bash("head -c 102344 /dev/zero | tr '\\0' x; (exit 42)"),
            "E:[output truncated]\n" + std::string(102'343, 'x'));

  text = bash("for ((i = 0; i < 60000; i++)); do printf '\xe6\x97\xa5\xf0\x9f\x98\x80'; done");
  EXPECT_TRUE(text.starts_with("[output truncated]\n"));
  EXPECT_EQ(text.find("\xef\xbf\xbd"), text.npos);  // never cut within a character
  EXPECT_LE(text.size(), 19u + 3 * 102'400);
  EXPECT_EQ(bash("head -c 300000 /dev/zero | tr '\\0' x; exit_code() { return 3; }; exit_code")
                .substr(0, 21),
            "E:[output truncated]\n");
}

TEST_F(Bash, ALongCommandAndItsOutputDoNotBlockEachOther) {
  std::string text(1 << 20, 'q');
  EXPECT_EQ(bash("x='" + text + "'; echo ${#x}"), "1048576");
  // The shell repeats what it reads: both pipes are full at once.
  bash("set -v");
  std::string result = bash(": '" + text + "'; echo end");
  EXPECT_TRUE(result.ends_with("end"));
  bash("set +v");
  EXPECT_EQ(bash("x=" + std::string(100'000, '\'') + "; echo ${#x}"), "0");
}

TEST_F(Bash, BackgroundJobsRunOnAndAreHeardAtTheNextCall) {
  EXPECT_EQ(bash("(until [ -e go ]; do sleep 0.01; done; echo late; touch done) & echo started"),
            "started");
  EXPECT_EQ(bash("touch go; until [ -e done ]; do sleep 0.01; done"), "late");
  // One that never stops writing does not keep a call from ending.
  EXPECT_NE(bash("yes & echo $!").size(), 0u);
  EXPECT_EQ(bash("kill %1 2>/dev/null; kill $!; wait; echo over").substr(0, 2).size(), 2u);
  std::string rest = bash("echo over");
  EXPECT_TRUE(rest.ends_with("over")) << rest.substr(0, 100);
}

TEST(BashInput, SaysWhatIsWrong) {
  Context context;
  const std::pair<std::string, std::string> table[] = {
      {R"({})", "bash: command is required"},
      {R"({"command":""})", "bash: command is required"},
      {R"({"command":null,"restart":false})", "bash: command is required"},
      {R"({"command":5})", "bash: command must be a string"},
      {R"({"command":["ls"]})", "bash: command must be a string"},
      {R"({"command":"ls","restart":"yes"})", "bash: restart must be a boolean"},
      {R"({"command":"ls","timeout_ms":"5"})", "bash: timeout_ms must be an integer"},
      {R"({"command":"ls","timeout_ms":1.5})", "bash: timeout_ms must be an integer"},
      {R"({"command":"ls","timeout_ms":0})", "bash: timeout_ms must be greater than 0"},
      {R"({"command":"ls","timeout_ms":-1})", "bash: timeout_ms must be greater than 0"},
      {R"({"command":"a\u0000b"})", "bash: command must not contain NUL characters"},
      {R"([1])", "bash: input must be a JSON object"},
      {str(R"({"command":")", std::string((4 << 20) + 1, 'x'), R"("})"),
       "bash: command is 4194305 bytes, exceeds 4194304-byte limit"},
  };
  for (const auto& [json, says] : table) {
    auto input = parse_bash(json, context);
    ASSERT_FALSE(input) << json.substr(0, 80);
    EXPECT_EQ(input.error().what, says);
  }
}

TEST(BashInput, IsWhatWasWritten) {
  Context context;
  auto input = parse_bash(R"({"command":"ls \ud800","timeout_ms":5e3,"restart":true})", context);
  ASSERT_TRUE(input);
  EXPECT_EQ(input->command, "ls \xef\xbf\xbd");
  EXPECT_EQ(input->timeout, 5s);
  EXPECT_TRUE(input->restart && input->has_command);

  input = parse_bash(R"({"restart":true})", context);
  ASSERT_TRUE(input);
  EXPECT_FALSE(input->has_command);
  auto [result, state] = run_bash({}, *input, context);
  EXPECT_EQ(result.content, "bash session restarted");
  EXPECT_FALSE(result.is_error);
  EXPECT_EQ(state, ShellState::usable);

  input = parse_bash(R"({"command":"x","timeout_ms":1e300})", context);
  ASSERT_TRUE(input);
  EXPECT_EQ(input->timeout, Millis(24 * 60 * 60 * 1000));
}

TEST(ShellEnv, DropsCredentialsInAnyCase) {
  EXPECT_EQ(shell_env({"A=1", "ANTHROPIC_API_KEY=k", "anthropic_Base=x", "PS1=$ ", "TERM=xterm",
                       "TERMINAL=t", "PS2", "NOT_ANTHROPIC_=1"}),
            (std::vector<std::string>{"A=1", "TERMINAL=t", "PS2", "NOT_ANTHROPIC_=1",
                                      "PS1=", "PS2=", "TERM=dumb"}));
}

}  // namespace
}  // namespace glovebox::tools
