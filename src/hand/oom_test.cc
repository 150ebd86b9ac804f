#include "hand/oom.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/str.h"

namespace glovebox::hand {
namespace {

class OutOfMemory : public testing::Test {
 protected:
  // The two forms the kernel has.
  void kills(int count) { tell(str("low 0\nhigh 0\nmax 7\noom 9\noom_kill ", count, "\n")); }
  void tell(std::string_view text) {
    ASSERT_EQ(::ftruncate(file_.get(), 0), 0);
    ASSERT_EQ(::pwrite(file_.get(), text.data(), text.size(), 0),
              static_cast<ssize_t>(text.size()));
  }
  Fd file_{::memfd_create("events", MFD_CLOEXEC)};
  std::chrono::steady_clock::time_point now_{1000s};
};

TEST_F(OutOfMemory, OneKillExplainsOneProcess) {
  kills(3);
  OomCounter counter(Fd(::dup(file_.get())));
  EXPECT_FALSE(counter.explains_kill(now_));
  kills(4);
  EXPECT_TRUE(counter.explains_kill(now_));
  EXPECT_FALSE(counter.explains_kill(now_));
}

TEST_F(OutOfMemory, OneGroupKillExplainsAllItTook) {
  kills(0);
  OomCounter counter(Fd(::dup(file_.get())));
  kills(2);
  EXPECT_TRUE(counter.explains_kill(now_));
  EXPECT_TRUE(counter.explains_kill(now_ + 1s));
  EXPECT_FALSE(counter.explains_kill(now_ + 1s));
}

TEST_F(OutOfMemory, AnOldKillExplainsNothing) {
  kills(0);
  OomCounter counter(Fd(::dup(file_.get())));
  kills(2);
  EXPECT_TRUE(counter.explains_kill(now_));
  EXPECT_FALSE(counter.explains_kill(now_ + 1min));
}

TEST_F(OutOfMemory, Version1IsReadToo) {
  tell("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
  OomCounter counter(Fd(::dup(file_.get())));
  tell("oom_kill_disable 0\nunder_oom 0\noom_kill 6\n");
  EXPECT_TRUE(counter.explains_kill(now_));
}

TEST_F(OutOfMemory, NothingIsClaimedWithoutACounter) {
  OomCounter counter{Fd()};
  EXPECT_FALSE(counter.explains_kill(now_));
}

}  // namespace
}  // namespace glovebox::hand
