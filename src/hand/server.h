// The hand itself: one thread, one loop, all state in one place. Split by verb:
//   server.cc    the loop: connections, deadlines, the end
//   requests.cc  what an engine asks
//   starts.cc    from a request to a process
//   streams.cc   output to rings and readers, input to processes
//   ends.cc      exits, leftovers, forgetting
//   bash.cc      the persistent shell and the calls that wait for it
//   tool_processes.cc   what tool calls say, and their processes, which wait for the next
#pragma once

#include <csignal>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "hand/connection.h"
#include "hand/hand.h"
#include "hand/nursery.h"
#include "hand/oom.h"
#include "hand/poll.h"
#include "hand/process.h"
#include "sys/text.h"
#include "wire/bytes.h"

namespace glovebox::hand {

class Hand {
 public:
  Hand(Config config, Poll poll, Watched signals);
  void adopt(Helper helper) { nursery_.adopt(std::move(helper), now()); }
  int run();

 private:
  // A request on its way to a process. First it waits for a blank, then for word of it.
  struct Start {
    std::uint64_t connection = 0;
    std::uint32_t request = 0;
    wire::StartSpec spec;  // of a program or file operation without its environment
    std::string payload;   // the whole, for the child
    Time deadline;
    bool one_shot = false;  // what it leaves behind goes with it
    bool is_shell = false;
    bool exec_next = false;    // nothing but exec is left to do
    std::uint64_t handle = 0;  // of the blank it got; 0: none yet
    pid_t pid = 0;
    Group group;
    Watched socket;
    Fd in, out, err, control;  // our ends; out is the master of a terminal
  };
  struct Shell {
    pid_t pid = 0;  // 0: there is none
    Group group;
    Fd in, out, control;
    std::string user;
  };
  struct IdleTool {
    pid_t pid = 0;
    Group group;
    Watched socket;
    std::string user;
  };
  struct BashCall {
    std::uint64_t handle;
    bool restart;
  };
  using Handler = Result<void> (Hand::*)(Connection&, std::uint32_t, wire::Reader);

  // server.cc
  void handle(const Poll::Event& event);
  void accept();
  void on_signals();
  void meet_deadlines();
  Time next_deadline() const;
  void serve_connections();
  void drop(Connection& connection);
  void begin_shutdown(Millis grace);
  bool all_gone() const;
  void kill_everything();
  void say_goodbye();

  // requests.cc
  void on_connection(Connection& connection, std::uint32_t what);
  void dispatch(Connection& connection, const wire::Frame& frame);
  Result<void> hello(Connection&, std::uint32_t, wire::Reader);
  Result<void> start(Connection&, std::uint32_t, wire::Reader);
  Result<void> attach(Connection&, std::uint32_t, wire::Reader);
  Result<void> detach(Connection&, std::uint32_t, wire::Reader);
  Result<void> ack(Connection&, std::uint32_t, wire::Reader);
  Result<void> input(Connection&, std::uint32_t, wire::Reader);
  Result<void> input_end(Connection&, std::uint32_t, wire::Reader);
  Result<void> signal(Connection&, std::uint32_t, wire::Reader);
  Result<void> resize(Connection&, std::uint32_t, wire::Reader);
  Result<void> list(Connection&, std::uint32_t, wire::Reader);
  Result<void> get(Connection&, std::uint32_t, wire::Reader);
  Result<void> forget(Connection&, std::uint32_t, wire::Reader);
  Result<void> ping(Connection&, std::uint32_t, wire::Reader);
  Result<void> shutdown(Connection&, std::uint32_t, wire::Reader);
  Result<Process*> find(std::uint64_t handle);
  void add_reader(Connection&, std::uint32_t request, Process&, bool hold, std::uint64_t from);
  void continue_listings(Connection& connection);

  // starts.cc
  Result<void> may_start(const wire::StartSpec& spec) const;
  void enqueue(Start start, bool first);
  void launch_waiting();
  void try_again(std::uint64_t id);
  Result<void> launch(Start& start, Blank blank);
  void on_start(std::uint64_t id);
  static bool may_have_begun(const Start& start);
  void give_up(std::uint64_t id, Error error);
  Process* started(std::uint64_t id);
  void start_failed(std::uint64_t id, Error error);

  // streams.cc
  void read_output(Process& process, Watched& from, wire::Stream stream);
  bool keep_answer(Process& process);
  void check_drained(Process& process);
  void hold_changed(Process& process);
  void mark_readers(const Process& process);
  bool pump(Connection& connection);
  bool pump_reader(Connection& connection, Process& process, Reader& reader);
  void remove_reader(Process& process, std::uint64_t connection, std::uint32_t request);
  void add_input(Process& process, std::string_view bytes, std::uint64_t connection,
                 std::uint32_t request);
  void write_input(Process& process);
  void fail_input(Process& process);
  static bool has_unread(Process& process);
  void unthrottle();

  // ends.cc
  void reap();
  void hear_last_words(pid_t pid);
  void reaped(pid_t pid, const siginfo_t& info);
  void ended(Process& process, const siginfo_t& info);
  void leader_gone(Process& process);
  void kill(Process& process);
  void starter_gone(Process& process);
  void client_gone(Process& process);
  void forget(Process& process);
  void forget_streams(Process& process);
  void forget_oldest();
  void erase_finished();

  // bash.cc
  void need_shell(Process& process, bool restart);
  bool is_free_for(const wire::StartSpec& call) const;
  void lend_shell(const Start& call, std::vector<int>& fds);
  void take_back_shell(std::uint64_t handle);
  void serve_bash();
  void grant_shell();
  void shell_started(Start& start);
  void shell_failed(const Error& error);
  void start_shell();
  void kill_shell();
  void bash_call_ended(std::uint64_t handle);

  // tool_processes.cc
  void on_control(Process& process);
  bool on_word(Process& process, std::string_view words);
  void go_on_with_answers();
  void tool_done(Process& process);
  std::optional<Blank> take_idle_tool(const wire::StartSpec& spec);
  void lose_idle_tool(std::uint64_t id);
  void end_idle_tools();

  Connection* connection(std::uint64_t id);
  Time now() const { return now_; }

  Config config_;
  Poll poll_;
  Watched signals_, listener_;
  Nursery nursery_;
  RingPool pool_;
  RingPool passing_pool_;  // so that a transfer pushes nothing out that was said
  OomCounter oom_;
  Time now_, born_;
  std::map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::map<std::uint64_t, std::unique_ptr<Process>> processes_;  // by handle: in the order made
  std::unordered_map<pid_t, std::uint64_t> running_;             // pid → handle
  std::deque<std::uint64_t> ended_;                              // and not forgotten, oldest first
  std::map<std::uint64_t, Start> starts_;
  std::deque<std::uint64_t> waiting_;  // starts without a blank, in turn
  std::size_t waiting_bytes_ = 0;
  std::uint64_t next_connection_ = 1, next_start_ = 1, total_started_ = 0;
  std::size_t input_of_all_ = 0;                  // bytes that wait for processes
  std::size_t output_budget_ = 0;                 // what may still be read before the next tick
  Time next_tick_ = Time::max();                  // set while output waits for it
  std::map<std::uint64_t, IdleTool> idle_tools_;  // by the handle of their last call
  std::vector<std::uint64_t> held_answers_;       // calls whose answers wait for room
  Shell shell_;
  bool shell_wanted_ = false;        // by bash_holder_, as soon as the last one is gone
  std::optional<Group> last_shell_;  // killed, perhaps not gone yet
  Time last_shell_until_{};          // and for so long the next one waits for that
  std::deque<BashCall> bash_waiting_;
  std::uint64_t bash_holder_ = 0;  // the call that has the shell, or for which it is being started
  bool shell_starting_ = false;
  sys::Settling settling_;  // tool calls were done
  bool stopping_ = false, killed_all_ = false;
  Time kill_at_ = Time::max(), give_up_at_ = Time::max();
};

}  // namespace glovebox::hand
