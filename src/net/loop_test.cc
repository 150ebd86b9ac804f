#include "net/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <csignal>
#include <semaphore>
#include <thread>

#include "base/fd.h"
#include "net/descriptor.h"
#include "net/task.h"

namespace glovebox::net {
namespace {

template <class T>
Code code_of(const Result<T>& result) {
  EXPECT_FALSE(result.has_value());
  return result ? Code::internal : result.error().code;
}

Task<void> nothing() { co_return ok; }
Task<void> fail() { co_return Error{Code::conflict, "as told"}; }
Task<void> throw_it() {
  throw std::runtime_error("thrown");
  co_return ok;
}

TEST(Run, GivesTheResultOfTheTask) {
  Loop loop;
  EXPECT_TRUE(run(loop, nothing()));
  EXPECT_EQ(code_of(run(loop, fail())), Code::conflict);
}

TEST(Run, AnExceptionOfATaskIsAnError) {
  Loop loop;
  auto result = run(loop, throw_it());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::internal);
  EXPECT_NE(result.error().what.find("thrown"), std::string::npos);
}

Task<void> stop_in_the_middle(Loop& loop) {
  loop.stop();
  CO_TRY_DO(co_await sleep(1h));
  co_return ok;
}

TEST(Run, StoppingTheLoopCancelsTheMainTask) {
  Loop loop;
  EXPECT_EQ(code_of(run(loop, stop_in_the_middle(loop))), Code::cancelled);
}

// --- TaskGroup

struct Seen {
  int started = 0, ended = 0;
  std::vector<Code> codes;
};

Task<void> sleep_long(Seen& seen) {
  ++seen.started;
  auto slept = co_await sleep(1h);
  seen.codes.push_back(code_of(slept));
  slept = co_await sleep(1h);  // a cancelled task cannot wait any more
  seen.codes.push_back(code_of(slept));
  ++seen.ended;
  co_return slept;
}

Task<void> finish_two(Loop& loop, Seen& seen) {
  TaskGroup group(loop);
  group.spawn("one", sleep_long(seen));
  group.spawn("two", sleep_long(seen));
  EXPECT_EQ(seen.started, 0);  // not before spawn() returned
  EXPECT_EQ(group.size(), 2u);
  CO_TRY_DO(co_await yield());
  CO_TRY_DO(co_await yield());
  EXPECT_EQ(seen.started, 2);
  CO_TRY_DO(co_await group.finish(10s));
  EXPECT_EQ(group.size(), 0u);
  EXPECT_EQ(seen.ended, 2);
  co_return ok;
}

TEST(TaskGroup, FinishCancelsAndWaitsForAll) {
  Loop loop;
  Seen seen;
  EXPECT_TRUE(run(loop, finish_two(loop, seen)));
  EXPECT_EQ(seen.codes, std::vector(4, Code::cancelled));
}

Task<void> drop_group(Loop& loop, Seen& seen) {
  {
    TaskGroup group(loop);
    group.spawn("dropped", sleep_long(seen));
    CO_TRY_DO(co_await yield());
    CO_TRY_DO(co_await yield());
  }
  while (seen.ended == 0) CO_TRY_DO(co_await yield());
  co_return ok;
}

TEST(TaskGroup, DroppingItCancels) {
  Loop loop;
  Seen seen;
  EXPECT_TRUE(run(loop, drop_group(loop, seen)));
  EXPECT_EQ(seen.ended, 1);
}

Task<void> cancel_unstarted(Loop& loop, Seen& seen) {
  TaskGroup group(loop);
  group.spawn("early", sleep_long(seen));
  co_return co_await group.finish(10s);
}

TEST(TaskGroup, ATaskCancelledBeforeItStartedStillRunsToItsEnd) {
  Loop loop;
  Seen seen;
  EXPECT_TRUE(run(loop, cancel_unstarted(loop, seen)));
  EXPECT_EQ(seen.ended, 1);
}

Task<void> stubborn(bool& may_end) {
  while (!may_end) CO_TRY_DO(co_await yield());  // looks at nothing that could be cancelled
  co_return ok;
}

Task<void> finish_stubborn(Loop& loop) {
  bool may_end = false;
  TaskGroup group(loop);
  group.spawn("stubborn", stubborn(may_end));
  EXPECT_EQ(code_of(co_await group.finish(1ms)), Code::timeout);
  EXPECT_EQ(group.size(), 1u);
  may_end = true;
  co_return co_await group.finish(10s);
}

TEST(TaskGroup, FinishSaysWhenATaskDoesNotEnd) {
  Loop loop;
  EXPECT_TRUE(run(loop, finish_stubborn(loop)));
}

Task<void> child_that_finishes_its_own(Loop& loop, Seen& seen) {
  TaskGroup group(loop);
  group.spawn("grandchild", sleep_long(seen));
  auto slept = co_await sleep(1h);
  EXPECT_EQ(code_of(slept), Code::cancelled);
  EXPECT_EQ(seen.ended, 0);
  EXPECT_TRUE(co_await group.finish(10s));  // although this task is cancelled
  EXPECT_EQ(seen.ended, 1);
  co_return ok;
}

Task<void> cancel_the_parent(Loop& loop, Seen& seen) {
  TaskGroup group(loop);
  group.spawn("child", child_that_finishes_its_own(loop, seen));
  while (seen.started == 0) CO_TRY_DO(co_await yield());
  co_return co_await group.finish(10s);
}

TEST(TaskGroup, ACancelledTaskCanStillWaitForItsChildren) {
  Loop loop;
  Seen seen;
  EXPECT_TRUE(run(loop, cancel_the_parent(loop, seen)));
  EXPECT_EQ(seen.ended, 1);
}

Task<void> end_late(bool& ended) {
  (void)co_await sleep(1h);
  // A cancelled task waits for nothing any more, but it may still have work.
  for (int i = 0; i < 100; ++i) (void)co_await yield();
  ended = true;
  co_return ok;
}

Task<void> finish_for_ever(Loop& loop) {
  bool ended = false;
  TaskGroup group(loop);
  group.spawn("late", end_late(ended));
  CO_TRY_DO(co_await yield());
  CO_TRY_DO(co_await group.finish(kForever));
  EXPECT_TRUE(ended);
  co_return ok;
}

TEST(TaskGroup, FinishWithoutALimitWaits) {
  Loop loop;
  EXPECT_TRUE(run(loop, finish_for_ever(loop)));
}

// --- first_of

Task<void> after(Millis time, int& mark) {
  CO_TRY_DO(co_await sleep(time));
  ++mark;
  co_return ok;
}

Task<void> race(int& short_one, int& long_one) {
  co_return co_await first_of(after(1ms, short_one), after(1h, long_one));
}

TEST(FirstOf, TheOtherIsCancelledAndWaitedFor) {
  Loop loop;
  int short_one = 0, long_one = 0;
  EXPECT_TRUE(run(loop, race(short_one, long_one)));
  EXPECT_EQ(short_one, 1);
  EXPECT_EQ(long_one, 0);
}

Task<void> race_with_error(int& long_one) {
  co_return co_await first_of(after(1h, long_one), fail());
}

TEST(FirstOf, AnErrorWinsToo) {
  Loop loop;
  int long_one = 0;
  EXPECT_EQ(code_of(run(loop, race_with_error(long_one))), Code::conflict);
}

Task<void> cancel_a_race(Loop& loop, Seen& seen) {
  TaskGroup group(loop);
  group.spawn("race", first_of(sleep_long(seen), sleep_long(seen)));
  while (seen.started < 2) CO_TRY_DO(co_await yield());
  CO_TRY_DO(co_await group.finish(10s));
  EXPECT_EQ(seen.ended, 2);
  co_return ok;
}

TEST(FirstOf, CancellingItCancelsBoth) {
  Loop loop;
  Seen seen;
  EXPECT_TRUE(run(loop, cancel_a_race(loop, seen)));
}

// --- Event

Task<void> wait_for(Event& event, Millis limit, std::vector<std::string>& log) {
  auto waited = co_await event.wait(limit);
  log.push_back(waited ? "notified" : std::string(name(waited.error().code)));
  co_return ok;
}

Task<void> notify_all(Loop& loop, std::vector<std::string>& log) {
  TaskGroup group(loop);
  Event event;
  event.notify();  // nobody waits: no effect later
  group.spawn("a", wait_for(event, 1h, log));
  group.spawn("b", wait_for(event, 1h, log));
  group.spawn("c", wait_for(event, 1ms, log));
  while (log.empty()) CO_TRY_DO(co_await yield());
  event.notify();
  while (log.size() < 3) CO_TRY_DO(co_await yield());
  co_return ok;
}

TEST(Event, WakesEverybodyWhoWaitsNow) {
  Loop loop;
  std::vector<std::string> log;
  EXPECT_TRUE(run(loop, notify_all(loop, log)));
  EXPECT_EQ(log, (std::vector<std::string>{"timeout", "notified", "notified"}));
}

Task<void> drop_event(Loop& loop, std::vector<std::string>& log) {
  TaskGroup group(loop);
  auto event = std::make_unique<Event>();
  group.spawn("a", wait_for(*event, 1h, log));
  CO_TRY_DO(co_await yield());
  CO_TRY_DO(co_await yield());
  event.reset();
  while (log.empty()) CO_TRY_DO(co_await yield());
  co_return ok;
}

TEST(Event, WaitersOfADroppedEventAreCancelled) {
  Loop loop;
  std::vector<std::string> log;
  EXPECT_TRUE(run(loop, drop_event(loop, log)));
  EXPECT_EQ(log, std::vector<std::string>{"cancelled"});
}

// --- Pool

Task<void> work_elsewhere(Pool& pool, std::thread::id& worker) {
  CO_TRY_DO(co_await pool.run([&]() -> Result<void> {
    worker = std::this_thread::get_id();
    return ok;
  }));
  auto failed = co_await pool.run([]() -> Result<void> { return Error{Code::conflict, "no"}; });
  EXPECT_EQ(code_of(failed), Code::conflict);
  auto thrown = co_await pool.run([]() -> Result<void> { throw std::runtime_error("thrown"); });
  EXPECT_EQ(code_of(thrown), Code::internal);
  co_return ok;
}

TEST(Pool, RunsOnAnotherThreadAndComesBack) {
  Loop loop;
  Pool pool(2);
  std::thread::id worker;
  EXPECT_TRUE(run(loop, work_elsewhere(pool, worker)));
  EXPECT_NE(worker, std::thread::id());
  EXPECT_NE(worker, std::this_thread::get_id());
}

Task<void> forward(Pool& pool, std::function<Result<void>()> work) {
  co_return co_await pool.run(std::move(work));
}

Task<void> cancel_blocking_work(Loop& loop, Pool& pool, std::atomic<bool>& ended, Event& never) {
  auto gate = std::make_shared<std::binary_semaphore>(0);
  TaskGroup group(loop);
  group.spawn("blocking", forward(pool, [gate, &ended]() -> Result<void> {
                gate->acquire();
                ended = true;
                return ok;
              }));
  CO_TRY_DO(co_await yield());
  CO_TRY_DO(co_await yield());
  CO_TRY_DO(co_await group.finish(10s));  // the task ends, the work goes on
  EXPECT_FALSE(ended);
  gate->release();
  while (!ended) {
    auto waited = co_await never.wait(1ms);
    EXPECT_EQ(code_of(waited), Code::timeout);
  }
  co_return ok;
}

TEST(Pool, CancelledWorkStillRunsToItsEnd) {
  Loop loop;
  Pool pool(1);
  Event never;
  std::atomic<bool> ended = false;
  EXPECT_TRUE(run(loop, cancel_blocking_work(loop, pool, ended, never)));
}

// --- descriptors and signals

Task<void> wait_readable(int fd, Millis limit, std::vector<std::string>& log) {
  auto waited = co_await readable(fd, limit);
  log.push_back(waited ? "readable" : std::string(name(waited.error().code)));
  co_return ok;
}

Task<void> two_readers(Loop& loop, int fd, std::vector<std::string>& log) {
  TaskGroup group(loop);
  group.spawn("impatient", wait_readable(fd, 1ms, log));
  group.spawn("patient", wait_readable(fd, 1h, log));
  while (log.empty()) CO_TRY_DO(co_await yield());
  std::uint64_t one = 1;
  EXPECT_EQ(::write(fd, &one, sizeof one), 8);
  while (log.size() < 2) CO_TRY_DO(co_await yield());
  CO_TRY_DO(co_await readable(fd, 0ms));  // and at once, now
  co_return ok;
}

TEST(Readable, SeveralMayWaitAndTheDescriptorStaysBlocking) {
  Loop loop;
  Fd fd(::eventfd(0, EFD_CLOEXEC));
  int before = ::fcntl(fd.get(), F_GETFL);
  std::vector<std::string> log;
  EXPECT_TRUE(run(loop, two_readers(loop, fd.get(), log)));
  EXPECT_EQ(log, (std::vector<std::string>{"timeout", "readable"}));
  EXPECT_EQ(::fcntl(fd.get(), F_GETFL), before);
}

Task<void> wait_without_taking(Loop& loop, int fd) {
  CO_TRY(watched, Descriptor::open(loop.executor(), Fd(fd)));
  std::uint64_t one = 1;
  EXPECT_EQ(::write(fd, &one, sizeof one), 8);
  for (int i = 0; i < 3; ++i)
    CO_TRY_DO(co_await Descriptor::wait(watched, Descriptor::For::reading, 5s));
  EXPECT_EQ(::read(fd, &one, sizeof one), 8);
  auto nothing = co_await Descriptor::wait(watched, Descriptor::For::reading, 1ms);
  EXPECT_EQ(code_of(nothing), Code::timeout);
  CO_TRY_DO(co_await Descriptor::wait(watched, Descriptor::For::writing, 5s));
  co_return ok;
}

TEST(Descriptor, WaitingTellsWhatIsSoUntilItIsTaken) {
  Loop loop;
  auto ran = run(loop, wait_without_taking(loop, ::eventfd(0, EFD_CLOEXEC)));
  EXPECT_TRUE(ran) << ran.error().what;
}

Task<void> wait_for_a_file(Loop& loop, int fd) {
  CO_TRY(watched, Descriptor::open(loop.executor(), Fd(fd)));
  co_return co_await Descriptor::wait(watched, Descriptor::For::reading, 5s);
}

TEST(Descriptor, AFileIsAlwaysReady) {
  Loop loop;
  auto ran = run(loop, wait_for_a_file(loop, ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)));
  EXPECT_TRUE(ran) << ran.error().what;
}

Task<void> handed_on(Loop& loop) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) co_return sys_error("pipe");
  Fd writer(ends[1]);
  CO_TRY(watched, Descriptor::open(loop.executor(), Fd(ends[0])));
  Fd kept = watched->release();
  EXPECT_EQ(::write(writer.get(), "x", 1), 1);
  CO_TRY_DO(co_await sleep(5ms));  // nobody is told of what comes there
  CO_TRY(again, Descriptor::open(loop.executor(), std::move(kept)));
  co_return co_await Descriptor::wait(again, Descriptor::For::reading, 5s);
}

TEST(Descriptor, MayBeHandedOn) {
  Loop loop;
  auto ran = run(loop, handed_on(loop));
  EXPECT_TRUE(ran) << ran.error().what;
}

// --- when a loop ends

Task<void> sleeps(std::vector<int>& order, int number, Millis time) {
  CO_TRY_DO(co_await sleep(time));
  order.push_back(number);
  co_return ok;
}

TEST(Loop, EndsWhenNothingSleepsAnyMore) {
  Loop loop;
  TaskGroup group(loop);
  std::vector<int> order;
  for (int number : {300, 10, 150}) group.spawn("sleeps", sleeps(order, number, Millis(number)));
  loop.run();
  EXPECT_EQ(order, (std::vector{10, 150, 300}));
  group.spawn("sleeps", sleeps(order, 1, 1ms));  // and may run again
  loop.run();
  EXPECT_EQ(order.back(), 1);
}

struct Leaves {
  bool& left;
  ~Leaves() { left = true; }
};

Task<void> sleeps_for_ever(bool& left) {
  Leaves leaves{left};
  Event never;
  co_return co_await never.wait(kForever);
}

TEST(Loop, TakesWhoStillSleepsWithIt) {
  bool left = false;
  {
    Loop loop;
    TaskGroup group(loop);
    group.spawn("sleeps", sleeps_for_ever(left));
    loop.post([&] { loop.post([&] { loop.stop(); }); });
    loop.run();
  }
  EXPECT_TRUE(left);
}

Task<void> take_signal(int& got) {
  CO_TRY(signal, co_await next_signal({SIGUSR1, SIGUSR2}));
  got = signal;
  co_return ok;
}

TEST(NextSignal, GivesItsNumber) {
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &set, &before);
  Loop loop;
  int got = 0;
  ::kill(::getpid(), SIGUSR2);
  EXPECT_TRUE(run(loop, take_signal(got)));
  EXPECT_EQ(got, SIGUSR2);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(Loop, PostWorksFromAnyThread) {
  Loop loop;
  bool ran = false;
  std::thread other([&] { loop.post([&] { ran = true; }); });
  other.join();
  loop.run();
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace glovebox::net
