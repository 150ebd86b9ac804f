// How coroutines of a loop sleep, and who wakes them. Only for net's own files.
//
// Asio runs our coroutines; what they sleep on is ours: a list of sleepers with their limits, and
// one epoll, edge-triggered, of which Asio watches a single descriptor. Asio's own waits cost a
// system call each to begin, and a turn of its loop (with another call) to end.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/fd.h"
#include "net/descriptor.h"
#include "net/task.h"

namespace glovebox::net {

class Reactor;
struct Waiter;

struct Link {  // in a ring
  explicit Link(Waiter* of) : waiter(of) {}
  Link(const Link&) = delete;
  ~Link() { unlink(); }
  void unlink() {
    prev->next = next;
    next->prev = prev;
    prev = next = this;
  }
  void insert_before(Link& other) {
    unlink();
    prev = other.prev;
    next = &other;
    prev->next = other.prev = this;
  }
  Waiter* waiter;
  Link *prev = this, *next = this;
};

struct Ring {
  bool empty() const { return head.next == &head; }
  Link& front() { return *head.next; }
  void push_back(Link& link) { link.insert_before(head); }
  Link head{nullptr};
};

// A coroutine that sleeps; it lives in the coroutine's frame.
struct Waiter {
  using Steady = std::chrono::steady_clock;
  using Handler = boost::asio::async_result<boost::asio::use_awaitable_t<>, void()>::handler_type;
  enum class Why { nothing, notified, timeout, cancelled };

  explicit Waiter(Reactor& in) : reactor(in) {}
  Waiter(const Waiter&) = delete;
  ~Waiter();
  // Until somebody wakes it or the limit is over; with `cancellable` also until its task is
  // cancelled.
  boost::asio::awaitable<void> sleep(Millis limit, bool cancellable = true);
  Result<void> woken() const;  // why, once it has slept

  Reactor& reactor;
  Why why = Why::nothing;
  Link place{this};      // among those who wait for the same, then among those who are woken
  Link among_all{this};  // who sleep
  std::optional<Handler> handler;
  std::optional<std::multimap<Steady::time_point, Waiter*>::iterator> limit;
};

void wake_all(Ring& ring, Waiter::Why why);

// What is known of a descriptor that is in the epoll. A Descriptor has one.
//
// Each event is told once, at the moment it comes. So who tries until there is nothing left
// (EAGAIN) says so, and needs no system call to wait for what comes after it; who does not has to
// ask anew.
class Watched {
 public:
  Watched(Reactor& in, int of) : reactor(in), fd(of) {}
  Watched(const Watched&) = delete;
  ~Watched() { wake(); }
  // Of the present thread's loop. Null: it is in none.
  static Watched* at(int fd);

  Result<void> begin();
  void end();
  void ask_anew(Descriptor::For what);
  // While nothing has come trying is no use.
  bool may_have(Descriptor::For what) const {
    return unsure || (what == kRead ? reading : writing).may_have;
  }
  void found_nothing(Descriptor::For what) { side(what).may_have = false; }

  // Code::cancelled also when the descriptor is closed. `self` is the one it belongs to. Between
  // what has shown that there is nothing and this the caller must not wait for anything else.
  static Task<void> sleep(std::shared_ptr<Descriptor> descriptor, Watched* self,
                          Descriptor::For what, Millis limit);

 private:
  friend Reactor;
  static constexpr auto kRead = Descriptor::For::reading;
  struct Side {
    Ring waiters;
    bool may_have = true;
  };
  Side& side(Descriptor::For what) { return what == kRead ? reading : writing; }
  void came(std::uint32_t what);  // epoll's words; only takes notes and wakes sleepers
  void wake();
  static void tell(Side& side);

  Reactor& reactor;
  const int fd;
  std::uint32_t events = 0;  // writing is watched from the first wait for it
  Side reading, writing;
  // By the other side: nothing more will come to say that there is an end. Or urgent bytes came, at
  // which a read stops short.
  bool unsure = false;
  bool eventless = false;  // a regular file, say: always ready
};

class Reactor final : public boost::asio::execution_context::service {
 public:
  using key_type = Reactor;
  static boost::asio::execution_context::id id;

  explicit Reactor(boost::asio::execution_context& context);
  static Reactor& of(const boost::asio::any_io_executor& executor);

  // The coroutine goes on later, from the loop. Nothing happens to one that does not sleep.
  void wake(Waiter& waiter, Waiter::Why why);

 private:
  friend Waiter;
  friend Watched;
  void shutdown() override;
  void asleep(Waiter& waiter, Millis limit);
  void resume(Waiter& waiter);
  void arm();       // Asio tells when there is something in the epoll
  void look();      // what there is
  void schedule();  // who is ready
  void resume_ready();
  struct Settled;
  void expire();
  void set_alarm();

  boost::asio::io_context& io_;
  Fd alarm_;
  boost::asio::posix::stream_descriptor watched_;  // the epoll
  bool armed_ = false, looking_ = false, scheduled_ = false, over_ = false;
  std::size_t sleeping_ = 0;
  Ring all_, ready_;
  std::multimap<Waiter::Steady::time_point, Waiter*> limits_;
  Waiter::Steady::time_point alarm_at_ = Waiter::Steady::time_point::max();
};

}  // namespace glovebox::net
