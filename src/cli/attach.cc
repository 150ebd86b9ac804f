#include "cli/attach.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>

#include "cli/blocked_signals.h"
#include "cli/terminal.h"
#include "cli/wait.h"
#include "net/loop.h"
#include "net/task.h"

namespace glovebox::cli {

namespace {

using http::WebSocket;

constexpr Millis kPipeGrace = 1s;  // for a command that nobody listens to any more, after SIGPIPE
constexpr std::size_t kPiece = 32 * 1024;

// All that the coroutines of one attachment share; it lives until the last of them has ended.
struct Attachment {
  Attachment(net::Loop& loop, EngineClient::Box box, AttachSpec spec)
      : box(std::move(box)), spec(std::move(spec)), tasks(loop) {}

  EngineClient::Box box;
  AttachSpec spec;
  std::unique_ptr<WebSocket> socket;
  std::unique_ptr<RawTerminal> raw;
  net::Pool writer{
      1};  // stdout may block for as long as it likes without stopping stdin or signals
  bool sending = false;
  net::Event sent;
  std::uint32_t pid = 0;
  std::array<bool, 3> gone{};  // stdout, stderr: their reader has gone
  net::TaskGroup tasks;
};
using Shared = std::shared_ptr<Attachment>;

// One message at a time, from whichever task.
Task<void> send(Shared self, WebSocket::Kind kind, std::string message) {
  while (self->sending) CO_TRY_DO(co_await self->sent.wait(net::kForever));
  self->sending = true;
  auto written = co_await self->socket->write(kind, std::move(message));
  self->sending = false;
  self->sent.notify();
  co_return written;
}

Task<void> send_signal(Shared self, int number) {
  // A command that does not read its stdin stops our sending; then the signal goes around it.
  if (self->sending && self->pid != 0) {
    std::string target = str("/api/v1/processes/", self->pid, "/signal");
    http::Headers headers;
    headers.set("Content-Type", "application/json");
    CO_TRY_DO(
        co_await self->box.http->call("POST", target, str("{\"signal\":", number, "}"), headers),
        "forward signal ", number);
    co_return ok;
  }
  co_return co_await send(self, WebSocket::Kind::binary, signal_frame(number));
}

Task<void> send_size(Shared self) {
  TerminalSize size = terminal_size(STDIN_FILENO);
  co_return co_await send(self, WebSocket::Kind::binary, resize_frame(size.cols, size.rows));
}

Task<void> forward_stdin(Shared self) {
  std::string buffer(kPiece, '\0');
  for (;;) {
    const int from = self->spec.stdin_fd;
    CO_TRY_DO(co_await net::readable(from, net::kForever), "stdin");
    ssize_t n = ::read(from, buffer.data(), buffer.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) break;  // the end; a terminal that is gone says EIO
    CO_TRY_DO(
        co_await send(self, WebSocket::Kind::binary,
                      stdin_frame(std::string_view(buffer.data(), static_cast<std::size_t>(n)))));
    if (self->spec.meter) self->spec.meter->add(static_cast<std::uint64_t>(n));
  }
  co_return co_await send(self, WebSocket::Kind::binary, stdin_end_frame());
}

// Ends the program here and now: some thread may be blocked in a write that nobody will ever read.
[[noreturn]] void leave(Shared self, int code) {
  self->raw.reset();
  ::_exit(code);
}

Task<void> forward_signals(Shared self) {
  int hasty = 0;
  auto last = std::chrono::steady_clock::now() - 1h;
  for (;;) {
    CO_TRY(number, co_await net::next_signal(
                       {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT}));
    if (number == SIGWINCH || number == SIGCONT) {
      if (!self->spec.terminal) continue;
      if (number == SIGCONT) self->raw->again();
      CO_TRY_DO(co_await send_size(self));
      continue;
    }
    if (self->spec.terminal && (number == SIGTERM || number == SIGHUP)) {
      // Meant for us: what the user wants to tell the other side is typed. The other side sees its
      // terminal hang up.
      (void)co_await net::first_of(send_signal(self, SIGHUP), net::sleep(kPipeGrace));
      leave(self, 128 + number);
    }
    bool asks_to_end = number != SIGUSR1 && number != SIGUSR2;
    auto now = std::chrono::steady_clock::now();
    hasty = asks_to_end && now - last < 1s ? hasty + 1 : 1;
    if (asks_to_end) last = now;
    // Who asks three times within a moment wants to be let go, whatever the other side does.
    if (asks_to_end && hasty >= 3) leave(self, 128 + number);
    CO_TRY_DO(co_await net::first_of(send_signal(self, number), net::sleep(5s)));
  }
}

// Nobody reads our stdout (or stderr) any more. A local command would get SIGPIPE; one that ignores
// it would get errors, which cannot be passed on: it is ended after a moment.
Task<void> end_unheard(Shared self) {
  CO_TRY_DO(co_await send_signal(self, SIGPIPE));
  CO_TRY_DO(co_await net::sleep(kPipeGrace));
  (void)co_await net::first_of(send_signal(self, SIGTERM), net::sleep(kPipeGrace));
  leave(self, 128 + SIGPIPE);
}

Task<void> write_out(Shared self, int fd, std::string bytes) {
  bool& gone = self->gone[static_cast<std::size_t>(fd)];
  if (gone) co_return ok;
  auto text = std::make_shared<std::string>(std::move(bytes));
  const int to = fd == STDOUT_FILENO ? self->spec.stdout_fd : fd;
  auto written = co_await self->writer.run([to, text] { return write_fd(to, *text); });
  if (written) co_return ok;
  if (written.error().tag != "EPIPE")
    co_return std::move(written.error()).with(fd == STDOUT_FILENO ? "stdout" : "stderr");
  gone = true;
  self->tasks.spawn("end", end_unheard(self));
  co_return ok;
}

struct Handle {
  Shared self;
  std::optional<Exited>* exited;

  Task<void> operator()(StdoutBytes out) {
    if (self->spec.meter) self->spec.meter->add(out.bytes.size());
    co_return co_await write_out(self, STDOUT_FILENO, std::move(out.bytes));
  }
  Task<void> operator()(StderrBytes out) {
    if (self->spec.meter) self->spec.meter->end();  // they share a terminal, not a line
    co_return co_await write_out(self, STDERR_FILENO, std::move(out.bytes));
  }
  Task<void> operator()(Started started) {
    self->pid = started.pid;
    co_return ok;
  }
  Task<void> operator()(Exited end) {
    *exited = end;
    co_return ok;
  }
  Task<void> operator()(Gap gap) {
    if (self->spec.meter) self->spec.meter->end();
    co_return co_await write_out(
        self, STDERR_FILENO,
        str("\r\nglovebox: ", gap.to - gap.from, " bytes of output are lost here\r\n"));
  }
};

Task<Exited> receive(Shared self) {
  for (;;) {
    auto message = co_await self->socket->read();
    if (!message) {
      Error error = std::move(message.error());
      if (error.code == Code::gone)
        error.code = Code::unavailable;  // the engine has gone, not the box
      co_return std::move(error).with(
          "the connection to the engine ended; the command may still run");
    }
    if (message->kind == WebSocket::Kind::text)
      co_return api_error(400, message->data);  // it could not be started
    CO_TRY(event, decode_exec_event(std::move(message->data)));
    std::optional<Exited> exited;
    Handle handle{self, &exited};
    CO_TRY_DO(co_await std::visit(std::move(handle), std::move(event)));
    if (exited) co_return *exited;
  }
}

Task<Exited> converse(Shared self) {
  CO_TRY(socket, co_await self->box.http->websocket("/api/v1/exec/ws"));
  self->socket = std::move(socket);
  self->socket->be_patient();
  if (self->spec.terminal) {
    CO_TRY(raw, RawTerminal::enter(STDIN_FILENO));
    self->raw = std::move(raw);
  }
  CO_TRY_DO(co_await send(self, WebSocket::Kind::text, self->spec.hello));
  // Once more, now that a change cannot be missed any longer.
  if (self->spec.terminal) CO_TRY_DO(co_await send_size(self));
  self->tasks.spawn("signals", forward_signals(self));
  if (self->spec.forward_stdin) self->tasks.spawn("stdin", forward_stdin(self));
  auto exited = co_await receive(self);
  (void)co_await self->tasks.finish(1s);
  co_return exited;
}

bool is_terminated(EngineClient& engine, const std::string& id) {
  auto record = engine.get(id);
  if (!record) return record.error().code == Code::not_found;
  const boost::json::value* status = record->if_contains("status");
  return status && status->is_string() && status->as_string() == "terminated";
}

}  // namespace

Result<Exited> attach(EngineClient& engine, const std::string& name, AttachSpec spec) {
  BlockedSignals blocked({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT});
  TRY(box, engine.box(name));
  auto self = std::make_shared<Attachment>(engine.loop(), std::move(box), std::move(spec));
  auto exited = wait(engine.loop(), converse(self));
  self->raw.reset();
  if (exited) return exited;
  if (exited.error().code == Code::unavailable && is_terminated(engine, self->box.id))
    return Error{Code::gone, "the sandbox was ended meanwhile, and the command with it"};
  return engine.explain(std::move(exited.error()));
}

int report_exit(const Exited& exited, Output& out) {
  if (exited.oom_killed) out.note("glovebox: the command was ended: the sandbox is out of memory");
  if (!exited.timed_out) return exited.shell_code();
  out.note("glovebox: the command ran out of its time and was ended");
  return 4;
}

}  // namespace glovebox::cli
