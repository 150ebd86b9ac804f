#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <csignal>

#include "hand/server.h"

namespace glovebox::hand {
namespace {

constexpr std::size_t kMaxListings = 16;
constexpr std::size_t kMaxPing = 4096;
constexpr std::size_t kMaxNonce = 64;
constexpr std::size_t kInputOfOne = 2 * wire::kStdinWindow;  // what waits for a process
constexpr std::size_t kMarksOfOne = 4096;                    // in as many pieces
constexpr std::size_t kInputOfAll = 4 * 1024 * 1024;
constexpr int kMaxSignal = 64;

Error not_writable(std::string_view why) {
  return Error{Code::conflict, str("stdin is not writable: ", why), "STDIN_NOT_WRITABLE"};
}

}  // namespace

void Hand::on_connection(Connection& connection, std::uint32_t what) {
  if (what & (EPOLLIN | EPOLLHUP | EPOLLERR) && !connection.finishing()) {
    if (!connection.read()) return drop(connection);
    for (;;) {
      auto frame = connection.next_frame();
      if (!frame) {
        // Nothing after this can be made sense of.
        connection.send(0, frame.error());
        return connection.finish();
      }
      if (!*frame) break;
      dispatch(connection, **frame);
      if (connection.finishing()) return;
    }
  }
}

void Hand::dispatch(Connection& connection, const wire::Frame& frame) {
  static constexpr Handler kHandlers[] = {nullptr,
                                          &Hand::hello,
                                          &Hand::start,
                                          &Hand::attach,
                                          &Hand::detach,
                                          &Hand::ack,
                                          &Hand::input,
                                          &Hand::input_end,
                                          &Hand::signal,
                                          &Hand::resize,
                                          &Hand::list,
                                          &Hand::get,
                                          static_cast<Handler>(&Hand::forget),
                                          &Hand::ping,
                                          &Hand::shutdown};
  static_assert(std::size(kHandlers) == static_cast<std::size_t>(wire::Type::shutdown) + 1);
  if (connection.greeted == (frame.type == wire::Type::hello)) {
    connection.send(frame.id, Error{Code::invalid, "say hello first, and once"});
    return connection.finish();
  }
  auto handler = kHandlers[static_cast<std::size_t>(frame.type)];
  if (auto done = (this->*handler)(connection, frame.id, wire::Reader(frame.payload)); !done)
    connection.send(frame.id, done.error());
}

Result<void> Hand::hello(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(version, in.u32());
  if (version != wire::kHandVersion) {
    connection.finish();
    return Error{Code::unsupported,
                 str("protocol version ", version, "; this hand speaks ", wire::kHandVersion)};
  }
  TRY(nonce, in.text(kMaxNonce), "nonce");
  TRY_DO(in.done());
  connection.greeted = true;
  wire::Welcome welcome{wire::kHandVersion, std::move(nonce), GLOVEBOX_VERSION, running_.size(),
                        total_started_};
  welcome.uptime_ms =
      static_cast<std::uint64_t>(std::chrono::duration_cast<Millis>(now() - born_).count());
  connection.send(wire::Type::welcome, id, wire::encode(welcome));
  return ok;
}

Result<void> Hand::start(Connection& connection, std::uint32_t id, wire::Reader in) {
  std::string payload(in.rest());
  TRY(spec, wire::decode_start(payload), "start");
  TRY_DO(may_start(spec));
  if (connection.readers.contains(id)) return Error{Code::invalid, "this id has a reader already"};
  const bool one_shot = spec.kind == wire::Kind::exec &&
                        std::ranges::find(spec.env, wire::kOneShot) != spec.env.end();
  // Of use to us only where a shell may have to be started with it.
  if (spec.kind != wire::Kind::tool) std::vector<std::string>().swap(spec.env);
  std::string().swap(spec.input);
  enqueue({.connection = connection.id(),
           .request = id,
           .spec = std::move(spec),
           .payload = std::move(payload),
           .one_shot = one_shot},
          false);
  return ok;
}

Result<void> Hand::attach(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(handle, in.u64(), "handle");
  TRY(flags, in.u8(), "flags");
  TRY(from, in.u64(), "offset");
  TRY_DO(in.done());
  if (flags & ~wire::kHold) return Error{Code::invalid, str("unknown flags: ", flags)};
  if (connection.readers.contains(id)) return Error{Code::invalid, "this id has a reader already"};
  TRY(process, find(handle));
  process->info.output_end = process->ring.end();
  connection.send(wire::Type::process, id, wire::encode(process->info));
  add_reader(connection, id, *process, flags & wire::kHold, from);
  return ok;
}

void Hand::add_reader(Connection& connection, std::uint32_t request, Process& process, bool hold,
                      std::uint64_t from) {
  from = std::min(from, process.drained() ? process.final_end : process.ring.end());
  process.readers.push_back({connection.id(), request, hold, from, from});
  connection.readers[request] = process.info.handle;
  connection.pending = true;
  hold_changed(process);
}

Result<void> Hand::detach(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY_DO(in.done());
  auto reader = connection.readers.find(id);
  if (reader == connection.readers.end()) return ok;  // it had its `exited`
  auto process = processes_.find(reader->second);
  if (process != processes_.end()) remove_reader(*process->second, connection.id(), id);
  connection.readers.erase(reader);
  connection.send(wire::Type::ok, id);
  return ok;
}

Result<void> Hand::ack(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(offset, in.u64(), "offset");
  TRY_DO(in.done());
  auto found = connection.readers.find(id);
  if (found == connection.readers.end()) return ok;  // it had its `exited`
  Process& process = *processes_.at(found->second);
  for (Reader& reader : process.readers) {
    if (reader.connection != connection.id() || reader.request != id) continue;
    if (offset > reader.sent)
      return Error{Code::invalid, str("acknowledges ", offset, " of ", reader.sent)};
    reader.acked = std::max(reader.acked, offset);
  }
  hold_changed(process);
  connection.pending = true;
  return ok;
}

Result<void> Hand::input(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(handle, in.u64(), "handle");
  TRY(process, find(handle));
  if (in.rest().size() > wire::kMaxChunk)
    return Error{Code::too_large, str("at most ", wire::kMaxChunk, " bytes at a time")};
  if (!process->running() || !process->in) return not_writable("it is closed");
  if (process->input_ended) return not_writable("its end was said");
  if (process->input.size() + in.rest().size() > kInputOfOne ||
      process->input_marks.size() >= kMarksOfOne || input_of_all_ + in.rest().size() > kInputOfAll)
    return Error{Code::exhausted, "more stdin is under way than the window allows"};
  add_input(*process, in.rest(), connection.id(), id);
  return ok;
}

void Hand::add_input(Process& process, std::string_view bytes, std::uint64_t connection,
                     std::uint32_t request) {
  process.input += bytes;
  input_of_all_ += bytes.size();
  process.input_marks.push_back({connection, request, process.input_taken + process.input.size()});
  write_input(process);
}

Result<void> Hand::input_end(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(handle, in.u64(), "handle");
  TRY_DO(in.done());
  TRY(process, find(handle));
  if (!process->running() || !process->in || process->input_ended)
    return not_writable("it is closed");
  if (process->info.pty) {
    // A terminal has no end; what says so to a program that reads lines is the end-of-file key.
    add_input(*process, "\x04", 0, 0);
  } else {
    process->input_ended = true;
    process->info.stdin_writable = false;
  }
  connection.send(wire::Type::ok, id);
  write_input(*process);
  return ok;
}

Result<void> Hand::signal(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(handle, in.u64(), "handle");
  TRY(number, in.u32(), "signal");
  TRY(whole, in.u8(), "whole group");
  TRY_DO(in.done());
  TRY(process, find(handle));
  if (number < 1 || number > kMaxSignal || whole > 1)
    return Error{Code::invalid, str("no such signal: ", number)};
  auto signo = static_cast<int>(number);
  Error gone{Code::conflict, "the process has ended", "PROCESS_NOT_RUNNING"};
  if (signo == SIGKILL && process->running()) process->killed_by_us = true;
  if (!whole) {
    // Not yet reaped, so its pid is its own.
    if (!process->running() || ::kill(static_cast<pid_t>(process->info.pid), signo) < 0)
      return gone;
  } else if (process->group_gone) {
    return gone;
  } else if (signo == SIGKILL) {
    process->group.kill();
  } else if (!process->group.signal(signo)) {
    return gone;
  }
  connection.send(wire::Type::ok, id);
  return ok;
}

Result<void> Hand::resize(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(handle, in.u64(), "handle");
  TRY(rows, in.u32(), "rows");
  TRY(cols, in.u32(), "columns");
  TRY_DO(in.done());
  TRY(process, find(handle));
  if (!process->info.pty || !process->out)
    return Error{Code::conflict, "it has no terminal", "NO_TERMINAL"};
  if (rows < 1 || rows > 0xffff || cols < 1 || cols > 0xffff)
    return Error{Code::invalid, str("a terminal of ", rows, " rows and ", cols, " columns")};
  winsize size{};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(cols);
  if (::ioctl(process->out.get(), TIOCSWINSZ, &size) < 0) return sys_error("resize");
  process->info.rows = rows;
  process->info.cols = cols;
  connection.send(wire::Type::ok, id);
  return ok;
}

Result<void> Hand::list(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY_DO(in.done());
  if (connection.listings.size() >= kMaxListings)
    return Error{Code::exhausted, "too many lists at a time"};
  connection.listings.push_back({id, 0});
  return ok;
}

// A table may be larger than what we keep for an engine that does not read: a list goes on as it is
// taken.
void Hand::continue_listings(Connection& connection) {
  while (!connection.listings.empty() && connection.room_for_output()) {
    auto& listing = connection.listings.front();
    auto process = processes_.lower_bound(listing.next);
    if (process == processes_.end()) {
      connection.send(wire::Type::ok, listing.request);
      connection.listings.pop_front();
      continue;
    }
    listing.next = process->first + 1;
    if (process->second->forgotten || process->second->unlisted()) continue;
    process->second->info.output_end = process->second->ring.end();
    connection.send(wire::Type::process, listing.request, wire::encode(process->second->info));
  }
}

Result<void> Hand::get(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(handle, in.u64(), "handle or pid");
  TRY_DO(in.done());
  Process* process = nullptr;
  if (handle & wire::kByPid) {
    std::uint64_t pid = handle & ~wire::kByPid;
    // Pids come again: the one that runs is meant, or the last that had it.
    for (auto& [key, candidate] : processes_)
      if (candidate->info.pid == pid && !candidate->forgotten && (!process || !process->running()))
        process = candidate.get();
    if (!process) return Error{Code::not_found, str("no process ", pid), "PROCESS_NOT_FOUND"};
  } else {
    TRY(found, find(handle));
    process = found;
  }
  process->info.output_end = process->ring.end();
  connection.send(wire::Type::process, id, wire::encode(process->info));
  return ok;
}

Result<void> Hand::forget(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(handle, in.u64(), "handle");
  TRY_DO(in.done());
  TRY(process, find(handle));
  if (process->running()) return Error{Code::conflict, "it runs", "PROCESS_RUNNING"};
  forget(*process);
  connection.send(wire::Type::ok, id);
  return ok;
}

Result<void> Hand::ping(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(text, in.text(kMaxPing), "text");
  TRY_DO(in.done());
  connection.send(wire::Type::pong, id, wire::Writer().text(text).take());
  return ok;
}

Result<void> Hand::shutdown(Connection& connection, std::uint32_t id, wire::Reader in) {
  TRY(grace_ms, in.u32(), "grace");
  TRY_DO(in.done());
  connection.send(wire::Type::ok, id);
  begin_shutdown(Millis(grace_ms));
  return ok;
}

Result<Process*> Hand::find(std::uint64_t handle) {
  auto found = processes_.find(handle);
  if (found == processes_.end() || found->second->forgotten)
    return Error{Code::not_found, str("no process ", handle), "PROCESS_NOT_FOUND"};
  return found->second.get();
}

}  // namespace glovebox::hand
