// The event loop of a daemon: one thread owns all state, so product code has no locks.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "net/task_fwd.h"

namespace glovebox::net {

class Loop {
 public:
  Loop();
  ~Loop();
  void run();                               // until stop(), or until nothing is left to wait for
  void stop();                              // from the loop's thread or a signal task
  void post(std::function<void()> work);    // from any thread
  boost::asio::any_io_executor executor();  // whoever calls it includes net/task.h

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Owns background coroutines: dropping the group cancels them; finish() cancels and waits until all
// have ended. A cancelled task runs on to its end, but every wait in it gives Code::cancelled at
// once: what a task refers to must live until finish() has returned, or be shared. An error that
// leaves a task is logged under the task's name; a task's end is otherwise silent. No task starts
// before spawn() has returned.
class TaskGroup {
 public:
  explicit TaskGroup(Loop& loop);
  explicit TaskGroup(boost::asio::any_io_executor executor);
  ~TaskGroup();
  void spawn(std::string name, Task<void> task);
  std::size_t size() const;
  void cancel();  // those that run now
  Task<void> finish(
      Millis limit);  // waits also in a task that is itself cancelled; Code::timeout after `limit`

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Runs `task` on `loop` until it ends: for main() and tests.
Result<void> run(Loop& loop, Task<void> task);

// Runs both; when one ends the other is cancelled and waited for. The result is that of the first
// to end.
Task<void> first_of(Task<void> one, Task<void> other);

constexpr Millis kForever = Millis::max();

Task<void> sleep(Millis time);
// Lets everything else that is ready run first.
Task<void> yield();
// Waits until `fd` is readable; Code::timeout after `limit`. The descriptor stays the caller's and
// stays as it is.
Task<void> readable(int fd, Millis limit);
// Waits for one of `signals` (blocked for the process) and gives its number.
Task<int> next_signal(std::initializer_list<int> signals);

// A one-shot or repeated "something changed": waiters wake at notify(). Lives on the loop's thread.
class Event {
 public:
  Event();
  ~Event();
  Event(Event&&) noexcept;
  Event& operator=(Event&&) noexcept;
  void notify();                  // wakes everybody who waits now
  Task<void> wait(Millis limit);  // Code::timeout after `limit`

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The small pool for calls that block (SQLite, fsync, deleting trees). `work` runs on a pool
// thread, the result comes back on the loop's thread. When the awaiting task is cancelled `work`
// still runs to its end.
class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();  // waits for what runs and drops what does not; goes before the loop
  Task<void> run(std::function<Result<void>()> work);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace glovebox::net
