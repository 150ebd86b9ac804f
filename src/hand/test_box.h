// For the tests: a hand in a process of its own, and a blocking engine.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hand/hand.h"
#include "wire/bytes.h"
#include "wire/hand.h"

namespace glovebox::hand {

using wire::Attach;
using wire::Frame;
using wire::Kind;
using wire::OutputMode;
using wire::ProcessInfo;
using wire::Reader;
using wire::StartSpec;
using wire::Status;
using wire::StdinMode;
using wire::Type;
using wire::Writer;

// What came for one request: collected until `exited`.
struct Outcome {
  std::string out, err;
  std::uint64_t next = 0;  // offset after the last byte that came
  std::vector<std::pair<std::uint64_t, std::uint64_t>> gaps;
  ProcessInfo info;
};

class Client {
 public:
  explicit Client(Fd socket) : socket_(std::move(socket)) {}
  int fd() const { return socket_.get(); }
  void hello();
  std::uint32_t send(Type type, std::string payload = {});
  void send_as(std::uint32_t id, Type type, std::string payload = {});
  void send_raw(std::string_view bytes);
  // The next frame of this request; those of others wait. Fails the test when there is none in
  // time.
  Frame next(std::uint32_t id);
  std::optional<Frame> next_or_end(std::uint32_t id);  // nullopt: the hand closed the connection
  bool closed();                                       // reads until it is
  Result<Frame> ask(Type type, std::string payload = {});
  Result<ProcessInfo> start(const StartSpec& spec);  // attached: the id is last_id()
  std::uint32_t last_id() const { return last_id_; }
  // Everything up to `exited`; acknowledges as it goes.
  Outcome collect(std::uint32_t id);
  // Output until it holds `text`.
  std::string read_until(std::uint32_t id, std::string_view text);
  Outcome run(StartSpec spec, std::optional<std::string> input = {});
  std::uint32_t input(std::uint64_t handle, std::string_view bytes);
  // Within the window, to the end.
  void feed(std::uint64_t handle, std::string_view bytes, std::uint32_t reader = 0,
            Outcome* outcome = nullptr);
  ProcessInfo get(std::uint64_t handle);
  std::vector<ProcessInfo> list();

 private:
  bool take(Outcome& outcome, std::uint32_t id, const Frame& frame);
  bool read_more();
  Fd socket_;
  wire::FrameReader frames_{wire::FrameReader::From::hand};
  std::map<std::uint32_t, std::vector<Frame>> waiting_;
  std::map<std::uint32_t, std::uint64_t> next_offset_;  // of each reader
  std::uint32_t next_id_ = 1, last_id_ = 0;
};

enum class Setting {
  plain,    // as a program of its own: process groups, no filter
  grouped,  // in control groups
  sealed,   // first process of a pid namespace, control groups, the tenant's filter
};
std::string name(Setting setting);

// A hand that ends with the test, and must leave nothing.
class Box {
 public:
  explicit Box(Setting setting = Setting::plain, std::function<void(Config&)> change = {});
  ~Box();
  bool available() const { return available_; }  // the machine has what the setting needs
  Client connect();
  Client connect_silently();
  pid_t pid() const { return pid_; }
  const std::string& dir() const { return dir_; }  // the work directory, empty
  std::size_t groups() const;                      // control groups below the tenant's
  int wait();                                      // for the hand's end: its exit code

 private:
  bool available_ = true;
  std::string dir_, socket_path_, cgroup_;
  pid_t keeper_ = 0;
  pid_t pid_ = 0;
};

StartSpec program(std::vector<std::string> argv, Attach attach = Attach::follow);
StartSpec shell(std::string command, Attach attach = Attach::follow);
StartSpec file(std::string verb, std::string path);
StartSpec tool(std::string name);
std::vector<pid_t> children_of(pid_t pid);
// Asks and reads no answer until the hand has had enough of it: true.
bool is_given_up(Client& deaf);
// Waits until it holds; false after a long while.
bool eventually(const std::function<bool()>& condition);

}  // namespace glovebox::hand
