// The link against hands that lie: each test plays the hand, byte by byte.
#include "engine/hand_link.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <filesystem>

#include "base/temp_dir.h"
#include "net/task.h"
#include "wire/bytes.h"

namespace glovebox::engine {
namespace {

using wire::Type;
using wire::Writer;

constexpr Millis kSoon{5000};  // a limit that is only reached by a bug

wire::ProcessInfo process(std::uint64_t handle, wire::Status status = wire::Status::running) {
  wire::ProcessInfo info;
  info.handle = handle;
  info.pid = 40 + static_cast<std::uint32_t>(handle);
  info.status = status;
  info.argv = {"sh"};
  return info;
}

std::string output(std::uint64_t offset, std::string_view bytes) {
  return wire::encode(wire::Output{offset, wire::kStdout, 7, bytes});
}
std::string gap(std::uint64_t from, std::uint64_t to) { return Writer().u64(from).u64(to).take(); }

// The other end of the link: takes frames, gives frames or garbage.
class Hand {
 public:
  explicit Hand(std::unique_ptr<net::Stream> stream) : stream_(std::move(stream)) {}
  Task<wire::Frame> take() {
    for (;;) {
      CO_TRY(frame, reader_.next());
      if (frame) co_return std::move(*frame);
      std::array<char, 4096> bytes;
      CO_TRY(got, co_await stream_->read_some(bytes, kSoon));
      if (got == 0) co_return Error{Code::gone, "closed"};
      reader_.feed({bytes.data(), got});
    }
  }
  Task<wire::Frame> take(Type type) {
    CO_TRY(frame, co_await take());
    EXPECT_EQ(name(frame.type), name(type));
    co_return frame;
  }
  Task<void> give(Type type, std::uint32_t id, std::string payload) {
    co_return co_await give_raw(wire::encode_frame(type, id, payload));
  }
  Task<void> give_raw(std::string bytes) { co_return co_await stream_->write_all(bytes, kSoon); }
  Task<void> welcome() {
    CO_TRY(hello, co_await take(Type::hello));
    wire::Reader payload(hello.payload);
    CO_TRY(version, payload.u32());
    CO_TRY(nonce, payload.text(16));
    co_return co_await give(Type::welcome, hello.id,
                            wire::encode(wire::Welcome{version, nonce, "test", 1, 2, 3}));
  }
  // The engine has dropped us.
  Task<bool> dropped() {
    for (;;) {
      auto frame = co_await take();
      if (!frame)
        co_return frame.error().code == Code::gone || frame.error().code == Code::unavailable;
    }
  }

 private:
  std::unique_ptr<net::Stream> stream_;
  wire::FrameReader reader_{wire::FrameReader::From::engine};
};

// Both ends on one loop. A test writes the engine's side as its body; the hand's side is a task of
// its own or the same one.
class HandLinkTest : public testing::Test {
 public:
  using Body = Task<void> (*)(HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand);

  ~HandLinkTest() override { std::filesystem::remove_all(folder_); }

  void play(Body body, Millis answer_limit = kSoon) {
    auto ended = net::run(loop, act(this, body, answer_limit));
    EXPECT_TRUE(ended) << ended.error().what;
  }
  std::string socket() const { return folder_ + "/hand"; }
  Result<net::Listener> listen() {
    TRY(address, net::Address::parse("unix:" + socket()));
    return net::Listener::open(loop, address);
  }

  static Task<void> accept_and_welcome(net::Listener* listener, std::unique_ptr<Hand>* hand) {
    CO_TRY(stream, co_await listener->accept());
    *hand = std::make_unique<Hand>(std::move(stream));
    co_return co_await (*hand)->welcome();
  }
  static Task<void> act(HandLinkTest* test, Body body, Millis answer_limit) {
    CO_TRY(listener, test->listen());
    std::unique_ptr<Hand> hand;
    net::TaskGroup tasks(test->loop);
    tasks.spawn("hand", accept_and_welcome(&listener, &hand));
    CO_TRY(link, co_await HandLink::connect(test->loop, test->socket(), kSoon, answer_limit));
    EXPECT_TRUE(link->alive());
    auto ended = co_await body(test, std::move(link), hand.get());
    CO_TRY_DO(co_await tasks.finish(kSoon));
    co_return ended;
  }

  net::Loop loop;

 private:
  const std::string folder_ = make_temp_dir("hand_link_test");
};

// Calls that are to run beside the body.
template <class T>
struct Background {
  std::optional<Result<T>> result;
  net::Event ended;
  Task<T> get() {
    if (!result) {
      CO_TRY_DO(co_await ended.wait(kSoon));
    }
    co_return std::move(*result);
  }
};
template <class T>
Task<void> keep(Task<T> task, std::shared_ptr<Background<T>> into) {
  into->result = co_await std::move(task);
  into->ended.notify();
  co_return ok;
}
template <class T>
std::shared_ptr<Background<T>> spawn(net::TaskGroup& tasks, Task<T> task) {
  auto background = std::make_shared<Background<T>>();
  tasks.spawn("background", keep(std::move(task), background));
  return background;
}

wire::StartSpec sh() {
  wire::StartSpec spec;
  spec.argv = {"sh"};
  return spec;
}

// Starts an attached process; gives the attachment and the id of its frames.
Task<std::uint32_t> attached(HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand,
                             std::unique_ptr<Attachment>* into) {
  net::TaskGroup tasks(test->loop);
  auto starting = spawn(tasks, link->start_attached(sh()));
  CO_TRY(start, co_await hand->take(Type::start));
  CO_TRY_DO(co_await hand->give(Type::started, start.id, wire::encode(process(1))));
  CO_TRY(attachment, co_await starting->get());
  *into = std::move(attachment);
  co_return start.id;
}

// The connection is dropped at `frame`, told to the reader, and is not used again.
Task<void> drops_at(HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand,
                    std::string before, Type type, std::string payload) {
  std::unique_ptr<Attachment> attachment;
  CO_TRY(id, co_await attached(test, link, hand, &attachment));
  if (!before.empty()) {
    CO_TRY_DO(co_await hand->give(Type::output, id, before));
  }
  CO_TRY_DO(co_await hand->give(type, id, payload));
  CO_TRY(dropped, co_await hand->dropped());
  EXPECT_TRUE(dropped);
  EXPECT_FALSE(link->alive());
  Result<ProcessEvent> event = co_await attachment->next(kSoon);
  if (event && !before.empty()) event = co_await attachment->next(kSoon);
  EXPECT_FALSE(event);
  EXPECT_EQ((co_await link->list()).error().code, Code::unavailable);
  co_return ok;
}

TEST_F(HandLinkTest, TellsWhatTheWelcomeSaid) {
  play([](HandLinkTest*, std::shared_ptr<HandLink> link, Hand*) -> Task<void> {
    EXPECT_EQ(link->welcome().running, 1u);
    EXPECT_EQ(link->welcome().uptime_ms, 3u);
    co_return ok;
  });
}

TEST_F(HandLinkTest, OutputGapAndExitArriveInOrder) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    std::unique_ptr<Attachment> attachment;
    CO_TRY(id, co_await attached(test, link, hand, &attachment));
    CO_TRY_DO(co_await hand->give(Type::output, id, output(0, "ab")));
    CO_TRY_DO(co_await hand->give(Type::gap, id, gap(2, 10)));
    CO_TRY_DO(co_await hand->give(Type::gap, id, gap(10, 20)));
    CO_TRY_DO(co_await hand->give(Type::output, id, output(20, "c")));
    CO_TRY_DO(
        co_await hand->give(Type::exited, id, wire::encode(process(1, wire::Status::exited))));
    CO_TRY(first, co_await attachment->next(kSoon));
    EXPECT_EQ(std::get<OutputEvent>(first).bytes, "ab");
    // The second gap may have come before or after we looked.
    std::uint64_t gap_end = 2;
    CO_TRY(event, co_await attachment->next(kSoon));
    while (auto* lost = std::get_if<GapEvent>(&event)) {
      EXPECT_EQ(lost->from, gap_end);
      gap_end = lost->to;
      CO_TRY(more, co_await attachment->next(kSoon));
      event = std::move(more);
    }
    EXPECT_EQ(gap_end, 20u);
    EXPECT_EQ(std::get<OutputEvent>(event).bytes, "c");
    CO_TRY(last, co_await attachment->next(kSoon));
    EXPECT_EQ(std::get<ExitedEvent>(last).info.status, wire::Status::exited);
    EXPECT_EQ((co_await attachment->next(kSoon)).error().code, Code::gone);
    EXPECT_TRUE(link->alive());
    EXPECT_EQ(link->open_operations(), 0u);
    co_return ok;
  });
}

TEST_F(HandLinkTest, WhatWasReadIsAcknowledgedBeforeWaiting) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    std::unique_ptr<Attachment> attachment;
    CO_TRY(id, co_await attached(test, link, hand, &attachment));
    CO_TRY_DO(co_await hand->give(Type::output, id, output(0, "abc")));
    CO_TRY(first, co_await attachment->next(kSoon));
    EXPECT_EQ((co_await attachment->next(Millis(1))).error().code, Code::timeout);
    CO_TRY(ack, co_await hand->take(Type::ack));
    EXPECT_EQ(ack.id, id);
    EXPECT_EQ(*wire::Reader(ack.payload).u64(), 3u);
    co_return ok;
  });
}

TEST_F(HandLinkTest, AWindowsWorthMayWaitUnread) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    std::unique_ptr<Attachment> attachment;
    CO_TRY(id, co_await attached(test, link, hand, &attachment));
    const std::string chunk(wire::kMaxChunk, 'x');
    for (std::size_t at = 0; at < wire::kWindowBytes; at += chunk.size()) {
      CO_TRY_DO(co_await hand->give(Type::output, id, output(at, chunk)));
    }
    std::size_t read = 0;
    while (read < wire::kWindowBytes) {
      CO_TRY(event, co_await attachment->next(kSoon));
      read += std::get<OutputEvent>(event).bytes.size();
    }
    EXPECT_EQ((co_await attachment->next(Millis(1))).error().code, Code::timeout);
    EXPECT_TRUE(link->alive());
    CO_TRY_DO(co_await hand->give(Type::output, id,
                                  output(read, chunk)));  // acknowledged, so there is room
    CO_TRY(more, co_await attachment->next(kSoon));
    EXPECT_TRUE(link->alive());
    co_return ok;
  });
}

TEST_F(HandLinkTest, OutputBeyondTheWindowDropsTheConnection) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    std::unique_ptr<Attachment> attachment;
    CO_TRY(id, co_await attached(test, link, hand, &attachment));
    const std::string chunk(wire::kMaxChunk, 'x');
    std::string flood;
    for (std::size_t at = 0; at <= wire::kWindowBytes; at += chunk.size())
      flood += wire::encode_frame(Type::output, id, output(at, chunk));
    CO_TRY_DO(co_await hand->give_raw(std::move(flood)));
    CO_TRY(dropped, co_await hand->dropped());
    EXPECT_TRUE(dropped);
    EXPECT_FALSE(link->alive());
    co_return ok;
  });
}

#define DROPS(test_name, before, type, payload)                                             \
  TEST_F(HandLinkTest, test_name##DropsTheConnection) {                                     \
    play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> { \
      co_return co_await drops_at(test, std::move(link), hand, before, type, payload);      \
    });                                                                                     \
  }
DROPS(OutputWithAHole, output(0, "ab"), Type::output, output(3, "c"))
DROPS(OutputTwice, output(0, "ab"), Type::output, output(0, "ab"))
DROPS(OutputOfNothing, "", Type::output, output(0, ""))
DROPS(OutputOfAnUnknownStream, "", Type::output, wire::encode(wire::Output{0, 9, 0, "x"}))
DROPS(OutputThatIsCutShort, "", Type::output, "\x01\x02")
DROPS(AGapThatGoesBack, output(0, "ab"), Type::gap, gap(2, 1))
DROPS(AGapOfNothing, output(0, "ab"), Type::gap, gap(2, 2))
DROPS(AGapFromElsewhere, output(0, "ab"), Type::gap, gap(7, 9))
DROPS(AGapWithATail, "", Type::gap, gap(0, 9) + "x")
DROPS(ExitOfAnotherProcess, "", Type::exited, wire::encode(process(2, wire::Status::exited)))
DROPS(ExitOfWhatRuns, "", Type::exited, wire::encode(process(1)))
DROPS(StartedTwice, "", Type::started, wire::encode(process(1)))
DROPS(OkAmidOutput, "", Type::ok, "")
DROPS(ErrorAmidOutput, "", Type::error, wire::encode_error({Code::internal, "x"}))
DROPS(InputAckAmidOutput, "", Type::input_ack, Writer().u64(1).take())
#undef DROPS

TEST_F(HandLinkTest, ExitedTwiceDropsTheConnection) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    std::unique_ptr<Attachment> attachment;
    CO_TRY(id, co_await attached(test, link, hand, &attachment));
    std::string exited = wire::encode(process(1, wire::Status::exited));
    CO_TRY_DO(co_await hand->give(Type::exited, id, exited));
    CO_TRY_DO(co_await hand->give(Type::exited, id, exited));
    CO_TRY(dropped, co_await hand->dropped());
    EXPECT_TRUE(dropped);
    CO_TRY(event, co_await attachment->next(kSoon));  // what was told truly before is still told
    EXPECT_TRUE(std::holds_alternative<ExitedEvent>(event));
    co_return ok;
  });
}

struct Bytes {
  const char* what;
  std::string bytes;
};
std::vector<Bytes> hostile_bytes() {
  std::string header_with_flag = wire::encode_frame(Type::ok, 5, "");
  header_with_flag[9] = 1;
  return {
      {"an id nobody asked", wire::encode_frame(Type::ok, 4711, "")},
      {"an output for nobody", wire::encode_frame(Type::output, 4711, output(0, "x"))},
      {"an id of 0", wire::encode_frame(Type::ok, 0, "")},
      {"a complaint about the stream", wire::encode_frame(Type::error, 0, wire::encode_error({}))},
      {"an oversized frame", std::string("\xff\xff\xff\x7f\x05\0\0\0\x41\0\0\0", 12)},
      {"an engine's frame", wire::encode_frame(Type::start, 5, "")},
      {"an unknown type", wire::encode_frame(static_cast<Type>(200), 5, "")},
      {"bytes that must be zero", header_with_flag},
      {"another welcome", wire::encode_frame(Type::welcome, 1, wire::encode(wire::Welcome{}))}};
}

TEST_F(HandLinkTest, FramesThatAreNoFramesDropTheConnection) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink>, Hand*) -> Task<void> {
    for (auto& [what, bytes] : hostile_bytes()) {
      std::filesystem::remove(test->socket());
      CO_TRY(listener, test->listen());
      std::unique_ptr<Hand> hand;
      net::TaskGroup tasks(test->loop);
      tasks.spawn("hand", accept_and_welcome(&listener, &hand));
      CO_TRY(link, co_await HandLink::connect(test->loop, test->socket(), kSoon));
      auto listing = spawn(tasks, link->list());
      CO_TRY(list, co_await hand->take(Type::list));
      CO_TRY_DO(co_await hand->give_raw(bytes));
      CO_TRY(dropped, co_await hand->dropped());
      EXPECT_TRUE(dropped) << what;
      EXPECT_FALSE(link->alive()) << what;
      EXPECT_EQ((co_await listing->get()).error().code, Code::unavailable) << what;
      CO_TRY_DO(co_await tasks.finish(kSoon));
    }
    co_return ok;
  });
}

TEST_F(HandLinkTest, AListWithoutEndDropsTheConnection) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    net::TaskGroup tasks(test->loop);
    auto listing = spawn(tasks, link->list());
    CO_TRY(list, co_await hand->take(Type::list));
    for (std::size_t i = 1; i <= wire::kMaxProcesses + 1; ++i) {
      auto given = co_await hand->give(Type::process, list.id, wire::encode(process(i)));
      if (!given) break;  // dropped already
    }
    CO_TRY(dropped, co_await hand->dropped());
    EXPECT_TRUE(dropped);
    EXPECT_FALSE(co_await listing->get());
    co_return co_await tasks.finish(kSoon);
  });
}

TEST_F(HandLinkTest, ListsAndErrorsOfTheHandArrive) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    net::TaskGroup tasks(test->loop);
    auto listing = spawn(tasks, link->list());
    auto getting = spawn(tasks, link->get(9));
    CO_TRY(list, co_await hand->take(Type::list));
    CO_TRY(get, co_await hand->take(Type::get));
    std::string refusal = wire::encode_error({Code::unauthenticated, "no\xff", "lower case"});
    CO_TRY_DO(co_await hand->give(Type::error, get.id, refusal));
    CO_TRY_DO(co_await hand->give(Type::process, list.id, wire::encode(process(1))));
    CO_TRY_DO(co_await hand->give(Type::process, list.id, wire::encode(process(2))));
    CO_TRY_DO(co_await hand->give(Type::ok, list.id, ""));
    CO_TRY(infos, co_await listing->get());
    EXPECT_EQ(infos.size(), 2u);
    auto got = co_await getting->get();
    EXPECT_EQ(got.error().code, Code::forbidden);  // a hand cannot say that a key is wrong
    EXPECT_EQ(got.error().what, "no\xef\xbf\xbd");
    EXPECT_EQ(got.error().tag, "");
    EXPECT_TRUE(link->alive());
    co_return co_await tasks.finish(kSoon);
  });
}

TEST_F(HandLinkTest, AHandThatNeverAnswersIsDropped) {
  play(
      [](HandLinkTest*, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
        EXPECT_EQ((co_await link->get(1)).error().code, Code::timeout);
        EXPECT_FALSE(link->alive());
        CO_TRY(dropped, co_await hand->dropped());
        EXPECT_TRUE(dropped);
        co_return ok;
      },
      Millis(20));
}

TEST_F(HandLinkTest, PingKnowsItsEcho) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    net::TaskGroup tasks(test->loop);
    auto good = spawn(tasks, link->ping(kSoon));
    CO_TRY(ping, co_await hand->take(Type::ping));
    CO_TRY_DO(co_await hand->give(Type::pong, ping.id, ping.payload));
    EXPECT_TRUE(co_await good->get());
    auto bad = spawn(tasks, link->ping(kSoon));
    CO_TRY(again, co_await hand->take(Type::ping));
    CO_TRY_DO(co_await hand->give(Type::pong, again.id, Writer().text("pong").take()));
    EXPECT_FALSE(co_await bad->get());
    EXPECT_FALSE(link->alive());
    co_return co_await tasks.finish(kSoon);
  });
}

TEST_F(HandLinkTest, StdinKeepsToTheWindow) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    net::TaskGroup tasks(test->loop);
    std::string text(3 * wire::kStdinWindow, 'x');
    auto writing = spawn(tasks, link->write_stdin(1, text));
    std::size_t seen = 0, under_way = 0;
    std::vector<wire::Frame> taken;
    while (seen < text.size()) {
      CO_TRY(input, co_await hand->take(Type::input));
      const std::size_t size = input.payload.size() - 8;
      seen += size;
      under_way += size;
      EXPECT_LE(under_way, wire::kStdinWindow);
      taken.push_back(std::move(input));
      if (under_way < wire::kStdinWindow) continue;
      EXPECT_FALSE(writing->result);
      for (auto& frame : std::exchange(taken, {})) {
        CO_TRY_DO(co_await hand->give(Type::input_ack, frame.id, Writer().u64(seen).take()));
      }
      under_way = 0;
    }
    EXPECT_TRUE(co_await writing->get());
    EXPECT_EQ(link->open_operations(), 0u);
    co_return co_await tasks.finish(kSoon);
  });
}

TEST_F(HandLinkTest, AnInputOfOnePieceAndItsEndGoTogether) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    net::TaskGroup tasks(test->loop);
    auto giving = spawn(tasks, link->give_stdin(1, "all"));
    CO_TRY(input, co_await hand->take(Type::input));
    CO_TRY(end, co_await hand->take(Type::input_end));  // before anything was answered
    EXPECT_EQ(input.payload.substr(8), "all");
    CO_TRY_DO(co_await hand->give(Type::input_ack, input.id, Writer().u64(3).take()));
    CO_TRY_DO(co_await hand->give(Type::ok, end.id, ""));
    EXPECT_TRUE(co_await giving->get());
    EXPECT_EQ(link->open_operations(), 0u);
    co_return co_await tasks.finish(kSoon);
  });
}

TEST_F(HandLinkTest, ALargeInputEndsOnlyWhenAllOfItWasTaken) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    net::TaskGroup tasks(test->loop);
    auto giving = spawn(tasks, link->give_stdin(1, std::string(2 * wire::kMaxChunk, 'x')));
    for (int i = 0; i < 2; ++i) {
      CO_TRY(input, co_await hand->take(Type::input));
      std::string refusal = wire::encode_error({Code::invalid, "closed", "STDIN_NOT_WRITABLE"});
      CO_TRY_DO(co_await hand->give(Type::error, input.id, refusal));
    }
    EXPECT_EQ((co_await giving->get()).error().tag, "STDIN_NOT_WRITABLE");
    auto ping = spawn(tasks, link->ping(kSoon));
    CO_TRY(next, co_await hand->take(Type::ping));  // and no end in front of it
    CO_TRY_DO(co_await hand->give(Type::pong, next.id, next.payload));
    EXPECT_TRUE(co_await ping->get());
    co_return co_await tasks.finish(kSoon);
  });
}

TEST_F(HandLinkTest, ARefusedInputIsTold) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    net::TaskGroup tasks(test->loop);
    auto writing = spawn(tasks, link->write_stdin(1, std::string(2 * wire::kStdinWindow, 'x')));
    for (int i = 0; i < 2; ++i) {
      CO_TRY(input, co_await hand->take(Type::input));
      std::string refusal = wire::encode_error({Code::invalid, "closed", "STDIN_NOT_WRITABLE"});
      CO_TRY_DO(co_await hand->give(Type::error, input.id, refusal));
    }
    EXPECT_EQ((co_await writing->get()).error().tag, "STDIN_NOT_WRITABLE");
    co_return co_await tasks.finish(kSoon);
  });
}

TEST_F(HandLinkTest, ADroppedAttachmentDetachesAndSwallowsWhatIsUnderWay) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    std::unique_ptr<Attachment> attachment;
    CO_TRY(id, co_await attached(test, link, hand, &attachment));
    attachment.reset();
    CO_TRY_DO(co_await hand->give(Type::output, id, output(0, "late")));
    CO_TRY(detach, co_await hand->take(Type::detach));
    EXPECT_EQ(detach.id, id);
    CO_TRY_DO(co_await hand->give(Type::ok, id, ""));
    net::TaskGroup tasks(test->loop);
    auto ping = spawn(tasks, link->ping(kSoon));
    CO_TRY(frame, co_await hand->take(Type::ping));
    CO_TRY_DO(co_await hand->give(Type::pong, frame.id, frame.payload));
    EXPECT_TRUE(co_await ping->get());
    EXPECT_EQ(link->open_operations(), 0u);
    co_return co_await tasks.finish(kSoon);
  });
}

TEST_F(HandLinkTest, AStartThatNobodyWaitsForIsKilled) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand* hand) -> Task<void> {
    net::TaskGroup impatient(test->loop);
    auto starting = spawn(impatient, link->start_attached(sh()));
    CO_TRY(start, co_await hand->take(Type::start));
    CO_TRY_DO(co_await impatient.finish(kSoon));
    CO_TRY_DO(co_await hand->give(Type::started, start.id, wire::encode(process(3))));
    CO_TRY(signal, co_await hand->take(Type::signal));
    wire::Reader payload(signal.payload);
    EXPECT_EQ(*payload.u64(), 3u);
    EXPECT_EQ(*payload.u32(), 9u);
    CO_TRY(detach, co_await hand->take(Type::detach));
    EXPECT_EQ(detach.id, start.id);
    EXPECT_TRUE(link->alive());
    co_return ok;
  });
}

TEST_F(HandLinkTest, AStartThatFitsNoFrameIsRefusedHere) {
  play([](HandLinkTest*, std::shared_ptr<HandLink> link, Hand*) -> Task<void> {
    auto spec = sh();
    spec.env = {"A=" + std::string(wire::kMaxPayload, 'x')};
    EXPECT_EQ((co_await link->start(spec)).error().code, Code::too_large);
    EXPECT_TRUE(link->alive());
    co_return ok;
  });
}

TEST_F(HandLinkTest, AReaderLearnsThatTheHandIsGone) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink> link, Hand*) -> Task<void> {
    std::filesystem::remove(test->socket());
    CO_TRY(listener, test->listen());
    std::unique_ptr<Hand> dying;
    net::TaskGroup tasks(test->loop);
    tasks.spawn("hand", accept_and_welcome(&listener, &dying));
    CO_TRY(other, co_await HandLink::connect(test->loop, test->socket(), kSoon));
    std::unique_ptr<Attachment> attachment;
    CO_TRY_DO(co_await attached(test, other, dying.get(), &attachment));
    CO_TRY_DO(co_await tasks.finish(kSoon));
    dying.reset();
    EXPECT_EQ((co_await attachment->next(kSoon)).error().code, Code::unavailable);
    EXPECT_FALSE(other->alive());
    EXPECT_TRUE(link->alive());  // another box's hand is another matter
    co_return ok;
  });
}

// ---- before the welcome

Task<void> greet_with(net::Listener* listener, std::string (*answer)(const wire::Frame& hello)) {
  CO_TRY(stream, co_await listener->accept());
  Hand hand(std::move(stream));
  CO_TRY(hello, co_await hand.take(Type::hello));
  CO_TRY_DO(co_await hand.give_raw(answer(hello)));
  (void)co_await hand.dropped();
  co_return ok;
}

TEST_F(HandLinkTest, OnlyARightWelcomeMakesALink) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink>, Hand*) -> Task<void> {
    using Answer = std::string (*)(const wire::Frame&);
    const Answer answers[] = {
        [](const wire::Frame& hello) {
          return wire::encode_frame(
              Type::welcome, hello.id,
              wire::encode(wire::Welcome{wire::kHandVersion, "another nonce", "x"}));
        },
        [](const wire::Frame& hello) {
          wire::Reader payload(hello.payload);
          (void)payload.u32();
          return wire::encode_frame(
              Type::welcome, hello.id,
              wire::encode(wire::Welcome{wire::kHandVersion + 1, *payload.text(16), "x"}));
        },
        [](const wire::Frame& hello) { return wire::encode_frame(Type::ok, hello.id, ""); },
        [](const wire::Frame& hello) {
          return wire::encode_frame(Type::error, hello.id,
                                    wire::encode_error({Code::internal, "no"}));
        },
        [](const wire::Frame&) { return std::string("HTTP/1.1 400 Bad Request\r\n\r\n"); },
        [](const wire::Frame&) { return std::string(); }};
    for (Answer answer : answers) {
      std::filesystem::remove(test->socket());
      CO_TRY(listener, test->listen());
      net::TaskGroup tasks(test->loop);
      tasks.spawn("hand", greet_with(&listener, answer));
      EXPECT_FALSE(co_await HandLink::connect(test->loop, test->socket(), Millis(50)));
      CO_TRY_DO(co_await tasks.finish(kSoon));
    }
    co_return ok;
  });
}

TEST_F(HandLinkTest, NobodyListeningIsAnError) {
  play([](HandLinkTest* test, std::shared_ptr<HandLink>, Hand*) -> Task<void> {
    EXPECT_FALSE(co_await HandLink::connect(test->loop, test->socket() + ".none", kSoon));
    co_return ok;
  });
}

}  // namespace
}  // namespace glovebox::engine
