#include "engine/handover.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/temp_dir.h"
#include "sys/packet.h"
#include "sys/unix_socket.h"

namespace glovebox::engine {
namespace {

// A part that answers one packet.
class Part {
 public:
  explicit Part(std::string answer) {
    directory_ = make_temp_dir("glovebox-handover");
    listener_ = std::move(*sys::listen_unix(path(), SOCK_SEQPACKET));
    thread_ = std::thread([this, answer = std::move(answer)] {
      Fd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      auto packet = sys::receive_packet(peer.get(), 4096, 4);
      if (!packet) return;
      heard = packet->bytes;
      descriptors = packet->fds.size();
      if (!answer.empty()) (void)sys::send_packet(peer.get(), answer, {}, 0);
    });
  }
  ~Part() { std::filesystem::remove_all(directory_); }
  void end() { thread_.join(); }
  std::string path() const { return directory_ + "/s"; }
  const std::string& directory() const { return directory_; }

  std::string heard;
  std::size_t descriptors = 0;

 private:
  std::string directory_;
  Fd listener_;
  std::thread thread_;
};

TEST(Handover, GivesALineWithItsDescriptors) {
  Part part("ok");
  auto given = hand_over(part.path(), "listener box1", {0, 1});
  part.end();
  EXPECT_TRUE(given) << given.error().what;
  EXPECT_EQ(part.heard, "listener box1");
  EXPECT_EQ(part.descriptors, 2u);
}

TEST(Handover, ARefusalComesBackAsItIs) {
  Part part("exhausted no more of them");
  auto given = hand_over(part.path(), "listener box1", {});
  part.end();
  ASSERT_FALSE(given);
  EXPECT_EQ(given.error().code, Code::exhausted);
  EXPECT_EQ(given.error().what, "no more of them");
}

TEST(Handover, APartThatIsNotThereOrSaysNothingIsUnavailable) {
  EXPECT_EQ(hand_over("/tmp/glovebox-no-such-place/s", "x", {}).error().code, Code::unavailable);
  Part part("");
  auto given = hand_over(part.path(), "x", {});
  part.end();
  ASSERT_FALSE(given);
  EXPECT_EQ(given.error().code, Code::unavailable);
}

TEST(Handover, NothingIsGivenToWhoDoesNotOwnThePlace) {
  if (::geteuid() != 0) GTEST_SKIP() << "owners can be changed by root only";
  Part part("ok");
  ASSERT_EQ(::chown(part.directory().c_str(), 12345, 12345), 0);
  auto given = hand_over(part.path(), "listener box1", {});
  part.end();
  ASSERT_FALSE(given);
  EXPECT_EQ(given.error().code, Code::forbidden);
  EXPECT_EQ(part.heard, "");
}

}  // namespace
}  // namespace glovebox::engine
