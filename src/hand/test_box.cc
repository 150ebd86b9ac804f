#include "hand/test_box.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "sys/cgroup.h"
#include "sys/seccomp.h"

namespace glovebox::hand {
namespace {

constexpr int kPatienceMs = 30'000;

sockaddr_un address(const std::string& path) {
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  path.copy(where.sun_path, sizeof where.sun_path - 1);
  return where;
}

}  // namespace

std::string name(Setting setting) {
  switch (setting) {
    case Setting::plain: return "plain";
    case Setting::grouped: return "grouped";
    case Setting::sealed: return "sealed";
  }
  return "";
}

Box::Box(Setting setting, std::function<void(Config&)> change) {
  char pattern[] = "/tmp/gb-hand-XXXXXX";
  dir_ = ::mkdtemp(pattern);
  socket_path_ = dir_ + ".sock";
  Config config;
  config.is_init = setting == Setting::sealed;
  config.cwd = dir_;
  config.env = {"PATH=/usr/local/bin:/usr/bin:/bin", "BOX=1", "WHO=box"};
  if (setting != Setting::plain) {
    auto roots = sys::find_cgroups();
    if (roots) cgroup_ = str(roots->unified, "/gb-hand-test-", random_id(8));
    if (!roots || ::mkdir(cgroup_.c_str(), 0755) < 0) {
      cgroup_.clear();
      available_ = false;
      return;
    }
    config.user_cgroup = Fd(::open(cgroup_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  if (setting == Setting::sealed) {
    auto filter = sys::tenant_filter();
    if (filter) config.filter = std::move(*filter);
  }
  if (change) change(config);
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto where = address(socket_path_);
  EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  EXPECT_EQ(::listen(listener.get(), 16), 0);
  config.listener = std::move(listener);
  int ready[2];
  EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_t keeper = ::fork();
  if (keeper == 0) {
    if (setting == Setting::sealed) {
      if (::unshare(CLONE_NEWPID) < 0) ::_exit(77);
      pid_t inner = ::fork();
      if (inner > 0) {
        (void)!::write(ready[1], &inner, sizeof inner);
        int status = 0;
        ::waitpid(inner, &status, 0);
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
      }
    } else {
      pid_t self = ::getpid();
      (void)!::write(ready[1], &self, sizeof self);
    }
    ::_exit(serve(std::move(config)));
  }
  ::close(ready[1]);
  available_ = ::read(ready[0], &pid_, sizeof pid_) == sizeof pid_;
  ::close(ready[0]);
  keeper_ = keeper;
}

std::size_t Box::groups() const {
  std::size_t count = 0;
  for (auto& entry : std::filesystem::directory_iterator(cgroup_)) count += entry.is_directory();
  return count;
}

int Box::wait() {
  int status = 0;
  if (keeper_ > 0) ::waitpid(std::exchange(keeper_, 0), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Box::~Box() {
  if (keeper_ > 0) {
    Client last = connect();
    last.send(Type::shutdown, Writer().u32(0).take());
    EXPECT_EQ(wait(), 0);
  }
  if (!cgroup_.empty()) {
    // The hand is gone, and with it must be all that ran.
    EXPECT_TRUE(eventually([&] {
      std::ifstream events(cgroup_ + "/cgroup.events");
      std::string word;
      int value = 1;
      return (events >> word >> value) && word == "populated" && value == 0;
    }));
    for (auto& entry : std::filesystem::directory_iterator(cgroup_))
      if (entry.is_directory()) ::rmdir(entry.path().c_str());
    EXPECT_EQ(::rmdir(cgroup_.c_str()), 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
  ::unlink(socket_path_.c_str());
}

Client Box::connect_silently() {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  auto where = address(socket_path_);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  return Client(std::move(socket));
}

Client Box::connect() {
  Client client = connect_silently();
  client.hello();
  return client;
}

void Client::hello() {
  auto welcome = ask(Type::hello, Writer().u32(wire::kHandVersion).text("0123456789abcdef").take());
  ASSERT_TRUE(welcome) << welcome.error().what;
  EXPECT_EQ(wire::decode_welcome(welcome->payload)->nonce, "0123456789abcdef");
}

void Client::send_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void Client::send_as(std::uint32_t id, Type type, std::string payload) {
  send_raw(wire::encode_frame(type, id, payload));
}

std::uint32_t Client::send(Type type, std::string payload) {
  last_id_ = next_id_++;
  send_as(last_id_, type, std::move(payload));
  return last_id_;
}

bool Client::read_more() {
  pollfd wait{socket_.get(), POLLIN, 0};
  if (::poll(&wait, 1, kPatienceMs) <= 0) {
    ADD_FAILURE() << "the hand says nothing";
    return false;
  }
  char bytes[64 * 1024];
  ssize_t n = ::recv(socket_.get(), bytes, sizeof bytes, 0);
  if (n <= 0) return false;
  frames_.feed({bytes, static_cast<std::size_t>(n)});
  for (;;) {
    auto frame = frames_.next();
    EXPECT_TRUE(frame) << frame.error().what;
    if (!frame || !*frame) return true;
    std::uint32_t id = (*frame)->id;
    waiting_[id].push_back(std::move(**frame));
  }
}

std::optional<Frame> Client::next_or_end(std::uint32_t id) {
  while (waiting_[id].empty())
    if (!read_more()) return std::nullopt;
  Frame frame = std::move(waiting_[id].front());
  waiting_[id].erase(waiting_[id].begin());
  return frame;
}

Frame Client::next(std::uint32_t id) {
  auto frame = next_or_end(id);
  EXPECT_TRUE(frame) << "the hand closed the connection";
  return frame ? std::move(*frame) : Frame{};
}

bool Client::closed() {
  for (int i = 0; i < 10'000; ++i)
    if (!read_more()) return true;
  return false;
}

Result<Frame> Client::ask(Type type, std::string payload) {
  Frame answer = next(send(type, std::move(payload)));
  if (answer.type != Type::error) return answer;
  auto error = wire::decode_error(answer.payload);
  EXPECT_TRUE(error);
  return *error;
}

Result<ProcessInfo> Client::start(const StartSpec& spec) {
  TRY(answer, ask(Type::start, wire::encode(spec)));
  EXPECT_EQ(answer.type, Type::started);
  return wire::decode_process(answer.payload);
}

bool Client::take(Outcome& outcome, std::uint32_t id, const Frame& frame) {
  if (frame.type == Type::output) {
    auto output = wire::decode_output(frame.payload);
    EXPECT_TRUE(output);
    EXPECT_EQ(output->offset, next_offset_[id]);
    outcome.next = next_offset_[id] = output->offset + output->bytes.size();
    (output->stream == wire::kStdout ? outcome.out : outcome.err) += output->bytes;
    send_as(id, Type::ack, Writer().u64(outcome.next).take());
    return true;
  }
  if (frame.type == Type::gap) {
    Reader in(frame.payload);
    std::uint64_t from = *in.u64(), to = *in.u64();
    EXPECT_EQ(from, next_offset_[id]);
    EXPECT_LT(from, to);
    outcome.gaps.emplace_back(from, to);
    outcome.next = next_offset_[id] = to;
    return true;
  }
  EXPECT_EQ(frame.type, Type::exited) << wire::name(frame.type);
  if (auto info = wire::decode_process(frame.payload)) outcome.info = *info;
  return false;
}

Outcome Client::collect(std::uint32_t id) {
  Outcome outcome;
  while (auto frame = next_or_end(id))
    if (!take(outcome, id, *frame)) break;
  return outcome;
}

std::string Client::read_until(std::uint32_t id, std::string_view text) {
  Outcome outcome;
  Frame frame = next(id);
  while (take(outcome, id, frame) && outcome.out.find(text) == std::string::npos) frame = next(id);
  return outcome.out;
}

Outcome Client::run(StartSpec spec, std::optional<std::string> input) {
  if (input) spec.stdin_mode = StdinMode::pipe;
  auto info = start(spec);
  std::uint32_t id = last_id_;
  if (!info) {
    ADD_FAILURE() << info.error().what;
    return {};
  }
  if (!input) return collect(id);
  Outcome outcome;
  feed(info->handle, *input, id, &outcome);
  if (outcome.info.handle != 0) return outcome;  // it did not wait for the rest
  if (auto ended = ask(Type::input_end, Writer().u64(info->handle).take()); !ended) {
    EXPECT_EQ(ended.error().tag, "STDIN_NOT_WRITABLE");
  }
  while (auto frame = next_or_end(id))
    if (!take(outcome, id, *frame)) break;
  return outcome;
}

std::uint32_t Client::input(std::uint64_t handle, std::string_view bytes) {
  return send(Type::input, Writer().u64(handle).take() + std::string(bytes));
}

void Client::feed(std::uint64_t handle, std::string_view bytes, std::uint32_t reader,
                  Outcome* outcome) {
  std::vector<std::uint32_t> under_way;
  while (!bytes.empty() || !under_way.empty()) {
    while (under_way.size() < 2 && !bytes.empty()) {
      under_way.push_back(input(handle, bytes.substr(0, wire::kMaxChunk)));
      bytes.remove_prefix(std::min(bytes.size(), wire::kMaxChunk));
    }
    while (waiting_[under_way.front()].empty()) {
      if (outcome)
        for (auto& frame : std::exchange(waiting_[reader], {})) take(*outcome, reader, frame);
      if (!read_more()) return;
    }
    waiting_.erase(under_way.front());
    under_way.erase(under_way.begin());
  }
}

ProcessInfo Client::get(std::uint64_t handle) {
  auto answer = ask(Type::get, Writer().u64(handle).take());
  EXPECT_TRUE(answer) << answer.error().what;
  return answer ? *wire::decode_process(answer->payload) : ProcessInfo{};
}

std::vector<ProcessInfo> Client::list() {
  std::uint32_t id = send(Type::list);
  std::vector<ProcessInfo> all;
  for (;;) {
    Frame frame = next(id);
    if (frame.type != Type::process) return all;
    all.push_back(*wire::decode_process(frame.payload));
  }
}

StartSpec program(std::vector<std::string> argv, Attach attach) {
  StartSpec spec;
  spec.argv = std::move(argv);
  spec.attach = attach;
  return spec;
}
StartSpec shell(std::string command, Attach attach) {
  return program({"sh", "-c", std::move(command)}, attach);
}
StartSpec file(std::string verb, std::string path) {
  StartSpec spec = program({std::move(verb), std::move(path)}, Attach::hold);
  spec.kind = Kind::file;
  return spec;
}
StartSpec tool(std::string name) {
  StartSpec spec = program({std::move(name)}, Attach::hold);
  spec.kind = Kind::tool;
  return spec;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> found;
  for (auto& entry : std::filesystem::directory_iterator("/proc")) {
    auto number = parse_int<pid_t>(entry.path().filename().string());
    if (!number) continue;
    std::ifstream stat(entry.path() / "stat");
    std::string line;
    std::getline(stat, line);
    auto fields = split(line.substr(std::min(line.size(), line.rfind(')') + 2)), ' ');
    if (fields.size() > 2 && fields[1] == str(pid) && fields[0] != "Z") found.push_back(*number);
  }
  return found;
}

bool is_given_up(Client& deaf) {
  std::string pings;
  for (int i = 0; i < 1000; ++i)
    pings += wire::encode_frame(Type::ping, 7, Writer().text(std::string(4000, 'p')).take());
  ::fcntl(deaf.fd(), F_SETFL, O_NONBLOCK);
  // Until the hand has closed the connection: then sending fails for good.
  std::size_t at = 0;
  return eventually([&] {
    ssize_t n = ::send(deaf.fd(), pings.data() + at, pings.size() - at, MSG_NOSIGNAL);
    if (n > 0) at = (at + static_cast<std::size_t>(n)) % pings.size();
    return n < 0 && errno != EAGAIN;
  });
}

bool eventually(const std::function<bool()>& condition) {
  for (int waited = 0; waited < kPatienceMs; waited += 10) {
    if (condition()) return true;
    ::poll(nullptr, 0, 10);
  }
  return condition();
}

}  // namespace glovebox::hand
