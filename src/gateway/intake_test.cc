#include "gateway/intake.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "base/temp_dir.h"
#include "net/task.h"
#include "sys/packet.h"
#include "sys/unix_socket.h"

namespace glovebox::gateway {
namespace {

struct Place {
  Place() { path = make_temp_dir("glovebox-intake"); }
  ~Place() { std::filesystem::remove_all(path); }
  std::string socket() const { return path + "/s"; }
  std::string path;
};

// As engine/handover.cc does.
Result<std::string> give(const std::string& path, const std::string& line, std::vector<int> fds) {
  TRY(socket, sys::connect_unix(path, SOCK_SEQPACKET));
  TRY_DO(sys::send_packet(socket.get(), line, fds, 0));
  TRY(answer, sys::receive_packet(socket.get(), 4096, 0));
  return answer.bytes;
}

struct Asked {
  std::string path, line;
  std::vector<int> fds;
  std::string answer;
};

Task<void> ask(net::Pool* pool, Asked* asked) {
  co_return co_await pool->run([asked]() -> Result<void> {
    TRY(answer, give(asked->path, asked->line, asked->fds));
    asked->answer = answer;
    return ok;
  });
}

class IntakeTest : public ::testing::Test {
 protected:
  void open(Intake::Take take) {
    auto opened = Intake::open(loop_, place_.socket(), std::move(take));
    ASSERT_TRUE(opened) << opened.error().what;
    intake_ = std::move(*opened);
  }
  std::string ask(std::string line, std::vector<int> fds = {}) {
    Asked asked{place_.socket(), std::move(line), std::move(fds), ""};
    net::Pool pool(1);
    auto done = net::run(loop_, gateway::ask(&pool, &asked));
    return done ? asked.answer : str("failed: ", done.error().what);
  }
  Place place_;
  net::Loop loop_;
  std::unique_ptr<Intake> intake_;
};

TEST_F(IntakeTest, TakesALineAndItsDescriptors) {
  std::string line;
  std::vector<Fd> taken;
  open([&](const std::string& said, std::vector<Fd> fds) -> Result<void> {
    line = said;
    taken = std::move(fds);
    return ok;
  });
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  Fd out(ends[0]), in(ends[1]);
  EXPECT_EQ(ask("listener box1", {in.get()}), "ok");
  in.reset();
  EXPECT_EQ(line, "listener box1");
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(::write(taken[0].get(), "x", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(out.get(), &c, 1), 1);
  EXPECT_EQ(c, 'x');
}

TEST_F(IntakeTest, ARefusalIsSaidWithItsKind) {
  open([](const std::string&, std::vector<Fd>) -> Result<void> {
    return Error{Code::exhausted, "no more"};
  });
  EXPECT_EQ(ask("listener box1"), "exhausted no more");
}

TEST_F(IntakeTest, WhoSendsTooMuchGetsNothingAndHoldsUpNobody) {
  int calls = 0;
  open([&](const std::string&, std::vector<Fd>) -> Result<void> {
    ++calls;
    return ok;
  });
  EXPECT_EQ(ask(std::string(2000, 'x')), "");
  EXPECT_EQ(ask("many", {0, 0, 0, 0, 0}), "");
  EXPECT_EQ(calls, 0);
  auto silent = sys::connect_unix(place_.socket(), SOCK_SEQPACKET);
  ASSERT_TRUE(silent);
  EXPECT_EQ(ask("next"), "ok");
  EXPECT_EQ(calls, 1);
}

TEST_F(IntakeTest, TheSocketIsForItsOwnerAloneAndGoesWithIt) {
  open([](const std::string&, std::vector<Fd>) { return ok; });
  auto mode = std::filesystem::status(place_.socket()).permissions();
  EXPECT_EQ(static_cast<int>(mode) & 0777, 0600);
  intake_.reset();
  EXPECT_FALSE(std::filesystem::exists(place_.socket()));
}

}  // namespace
}  // namespace glovebox::gateway
