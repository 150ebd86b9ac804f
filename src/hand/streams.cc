#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "hand/server.h"

namespace glovebox::hand {
namespace {

constexpr std::size_t kReadAtOnce = 64 * 1024;
// A program that writes as fast as it can must not buy our processor time with its own: all that
// the box's programs say together is read at 100 MB a second at most, a slice each tick. A transfer
// is as fast as the client that asked for it.
constexpr std::size_t kSlice = 1024 * 1024;
constexpr auto kTick = 10ms;

}  // namespace

void Hand::read_output(Process& process, Watched& from, wire::Stream stream) {
  char buffer[wire::kMaxChunk];
  std::int64_t unix_ms = system_clock().unix_ms();
  const bool unmetered = process.passing && !process.readers.empty();  // its reader is the measure
  std::uint64_t& unread = process.unread[stream == wire::kStderr];
  for (std::size_t total = 0; from && total < kReadAtOnce;) {
    if (output_budget_ == 0 && !unmetered) {
      from.want(0);
      if (next_tick_ == Time::max()) next_tick_ = now() + kTick;
      return;
    }
    // A full ring that somebody holds: his acknowledgement, or his going, lets us read on.
    std::size_t room = process.forgotten ? sizeof buffer : process.ring.make_room(sizeof buffer);
    if (room == 0) return from.want(0);
    const std::size_t budget = unmetered ? room : output_budget_;
    ssize_t n = ::read(from.get(), buffer, std::min({room, sizeof buffer, budget}));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {  // the end; a terminal's is EIO
      from.reset();
      break;
    }
    auto size = static_cast<std::size_t>(n);
    total += size;
    unread -= std::min<std::uint64_t>(unread, size);
    if (!unmetered) output_budget_ -= size;
    if (process.forgotten) continue;
    process.ring.append(stream, unix_ms, {buffer, size});
    mark_readers(process);
  }
  check_drained(process);
}

// A piece of a tool's result. Until the ring has room for all of it, nothing more is heard of the
// call.
bool Hand::keep_answer(Process& process) {
  std::string_view rest = process.answer;
  while (!rest.empty()) {
    std::size_t room = process.forgotten ? rest.size() : process.ring.make_room(rest.size());
    std::string_view piece = rest.substr(0, std::min(room, output_budget_));
    if (piece.empty()) break;
    output_budget_ -= piece.size();
    rest.remove_prefix(piece.size());
    if (process.forgotten) continue;
    process.ring.append(wire::kStdout, system_clock().unix_ms(), piece);
    mark_readers(process);
  }
  process.answer.erase(0, process.answer.size() - rest.size());
  process.control.want(process.answer.empty() ? EPOLLIN : 0);
  if (process.answer.empty()) return true;
  if (output_budget_ == 0 && next_tick_ == Time::max()) next_tick_ = now() + kTick;
  held_answers_.push_back(process.info.handle);
  return false;
}

// The end of its output is the end of its streams. What it left behind may keep those open: then it
// is what had come a moment after it ended, and what comes later is for who asks later.
void Hand::check_drained(Process& process) {
  if (process.running() || process.drained() || !process.answer.empty()) return;
  if ((process.out || process.err) && (now() < process.drain_until || has_unread(process))) return;
  process.final_end = process.info.output_end = process.ring.end();
  process.drain_until = Time::max();
  process.ring.set_ended();
  mark_readers(process);
}

// To be asked first when it has just ended: what comes later is not its own. Asked again each time,
// because the box may read its own pipes.
bool Hand::has_unread(Process& process) {
  bool any = false;
  for (const Watched* from : {&process.out, &process.err}) {
    int bytes = 0;
    if (!*from || ::ioctl(from->get(), FIONREAD, &bytes) < 0) bytes = 0;
    std::uint64_t& unread = process.unread[from == &process.err];
    unread = std::min(unread, static_cast<std::uint64_t>(bytes));
    any |= unread > 0;
  }
  return any;
}

void Hand::unthrottle() {
  output_budget_ = kSlice;
  next_tick_ = Time::max();
  for (auto& [handle, process] : processes_) {
    process->out.want(EPOLLIN);
    process->err.want(EPOLLIN);
  }
}

void Hand::hold_changed(Process& process) {
  std::uint64_t from = ~0ull;
  for (const Reader& reader : process.readers)
    if (reader.hold) from = std::min(from, reader.acked);
  process.ring.hold_from(from);
  if (next_tick_ == Time::max()) {
    process.out.want(EPOLLIN);
    process.err.want(EPOLLIN);
  }
}

void Hand::mark_readers(const Process& process) {
  for (const Reader& reader : process.readers)
    if (Connection* engine = connection(reader.connection)) engine->pending = true;
}

// One chunk for each reader in turn, beginning after the one that had the last, as long as there is
// room. True: something was sent.
bool Hand::pump(Connection& engine) {
  bool sent = false;
  for (bool progress = true; progress && engine.room_for_output();) {
    progress = false;
    std::vector<std::pair<std::uint32_t, std::uint64_t>> turn(
        engine.readers.upper_bound(engine.served), engine.readers.end());
    turn.insert(turn.end(), engine.readers.begin(), engine.readers.upper_bound(engine.served));
    for (auto [request, handle] : turn) {
      if (!engine.room_for_output()) return sent;
      Process& process = *processes_.at(handle);
      auto reader = std::ranges::find_if(process.readers, [&](const Reader& candidate) {
        return candidate.connection == engine.id() && candidate.request == request;
      });
      if (reader == process.readers.end() || !pump_reader(engine, process, *reader)) continue;
      engine.served = request;
      progress = sent = true;
    }
  }
  return sent;
}

bool Hand::pump_reader(Connection& engine, Process& process, Reader& reader) {
  std::uint64_t end = process.drained() ? process.final_end : process.ring.end();
  if (std::uint64_t begin = std::min(process.ring.begin(), end); reader.sent < begin) {
    // The window counts bytes, and a gap has none: it is told when nothing is under way, so that
    // offsets go on counting.
    if (reader.acked < reader.sent) return false;
    engine.send(wire::Type::gap, reader.request, wire::Writer().u64(reader.sent).u64(begin).take());
    reader.sent = reader.acked = begin;
    hold_changed(process);
    return true;
  }
  if (reader.sent < end) {
    std::uint64_t under_way = reader.sent - reader.acked;
    if (under_way >= wire::kWindowBytes) return false;
    std::size_t limit = std::min<std::uint64_t>(
        {wire::kMaxChunk, wire::kWindowBytes - under_way, end - reader.sent});
    wire::Output piece = process.ring.at(reader.sent, limit);
    engine.send(wire::Type::output, reader.request, wire::encode(piece));
    reader.sent += piece.bytes.size();
    return true;
  }
  if (!process.drained()) return false;
  engine.send(wire::Type::exited, reader.request, wire::encode(process.info));
  engine.readers.erase(reader.request);
  remove_reader(process, engine.id(), reader.request);
  if (process.alone) forget(process);
  return true;
}

void Hand::remove_reader(Process& process, std::uint64_t connection, std::uint32_t request) {
  std::erase_if(process.readers, [&](const Reader& reader) {
    return reader.connection == connection && reader.request == request;
  });
  hold_changed(process);
  if (process.unlisted() && process.readers.empty()) client_gone(process);
}

void Hand::write_input(Process& process) {
  std::size_t written = 0;
  bool closed = false, full = false;
  while (written < process.input.size() && !closed && !full) {
    ssize_t n =
        ::write(process.in.get(), process.input.data() + written, process.input.size() - written);
    if (n >= 0) written += static_cast<std::size_t>(n);
    full = n < 0 && errno == EAGAIN;
    closed = n < 0 && errno != EAGAIN && errno != EINTR;
  }
  process.input.erase(0, written);
  process.input_taken += written;
  input_of_all_ -= written;
  auto& marks = process.input_marks;
  for (; !marks.empty() && marks.front().end <= process.input_taken; marks.pop_front())
    if (Connection* engine = connection(marks.front().connection))
      engine->send(wire::Type::input_ack, marks.front().request,
                   wire::Writer().u64(process.input_taken).take());
  if (closed) return fail_input(process);
  process.in.want(full ? EPOLLOUT : 0);
  if (process.input.empty() && process.input_ended) process.in.reset();
}

// Nobody reads it any more.
void Hand::fail_input(Process& process) {
  process.in.reset();
  process.info.stdin_writable = false;
  input_of_all_ -= process.input.size();
  std::string().swap(process.input);
  for (const InputMark& mark : std::exchange(process.input_marks, {}))
    if (Connection* engine = connection(mark.connection))
      engine->send(mark.request, Error{Code::conflict, "stdin is not writable: it was closed",
                                       "STDIN_NOT_WRITABLE"});
}

}  // namespace glovebox::hand
