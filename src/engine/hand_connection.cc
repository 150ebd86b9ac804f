#include "engine/hand_connection.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cassert>

#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "net/deadline.h"
#include "net/task.h"
#include "wire/bytes.h"

namespace glovebox::engine {

using wire::Type;

namespace {

constexpr std::uint32_t kHelloId = 1;
constexpr std::size_t kNonceBytes = 16;
constexpr std::size_t kReadBytes = 16 * 1024;
constexpr std::size_t kMaxEntries =
    16 * 1024;  // requests under way: more than all clients together make
constexpr std::size_t kMaxUnsent = 16 << 20;  // a hand that does not read its socket is no hand
constexpr std::size_t kMaxErrorText = 1024;
constexpr Millis kWriteLimit{30'000};
constexpr std::string_view kProtocolTag = "HAND_PROTOCOL";

metrics::Counter violations("engine_hand_violations_total",
                            "Connections dropped because a hand broke the protocol.");

Error violation(std::string what) {
  return Error{Code::invalid, std::move(what), std::string(kProtocolTag)};
}
Error gone() { return Error{Code::unavailable, "the connection to the sandbox's hand broke"}; }

// An error as a hand told it, made harmless: it must not pass for a refusal of our own.
Error told(Error error) {
  if (error.code == Code::unauthenticated) error.code = Code::forbidden;
  if (error.code == Code::unavailable || error.code == Code::cancelled) error.code = Code::internal;
  if (error.what.size() > kMaxErrorText) error.what.resize(kMaxErrorText);
  error.what = valid_utf8(error.what);
  auto plain = [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; };
  if (!std::ranges::all_of(error.tag, plain)) error.tag.clear();
  return error;
}

Result<wire::Welcome> check_welcome(const wire::Frame& frame, std::string_view nonce) {
  if (frame.type == Type::error) {
    TRY(error, wire::decode_error(frame.payload));
    return told(std::move(error));
  }
  if (frame.type != Type::welcome) return violation(str(frame.type, " where a welcome was due"));
  TRY(welcome, wire::decode_welcome(frame.payload));
  if (welcome.nonce != nonce) return violation("a welcome for somebody else");
  if (welcome.version != wire::kHandVersion)
    return Error{Code::unsupported, str("it speaks version ", welcome.version,
                                        " of the protocol, we speak ", wire::kHandVersion)};
  return welcome;
}

void settle(Call& call, Result<wire::Frame> answer) {
  if (call.window) {
    call.window->under_way -= call.input_bytes;
    call.window->room.notify();
  }
  call.answer = std::move(answer);
  call.answered.notify();
}

}  // namespace

HandConnection::HandConnection(net::Loop& loop, std::string path,
                               std::unique_ptr<net::Stream> stream, Millis answer_limit)
    : path_(std::move(path)),
      stream_(std::move(stream)),
      answer_limit_(answer_limit),
      tasks_(std::make_unique<net::TaskGroup>(loop)) {}

Task<void> HandConnection::greet(Millis limit) {
  const net::Deadline deadline(limit);
  const std::string nonce = random_bytes(kNonceBytes);
  const std::string hello = wire::Writer().u32(wire::kHandVersion).text(nonce).take();
  last_id_ = kHelloId;
  CO_TRY_DO(co_await stream_->write_all(wire::encode_frame(Type::hello, kHelloId, hello),
                                        deadline.left()));
  for (;;) {
    std::array<char, 512> bytes;
    CO_TRY(got, co_await stream_->read_some(bytes, deadline.left()));
    if (got == 0) co_return Error{Code::unavailable, "it closed the connection"};
    frames_.feed({bytes.data(), got});
    CO_TRY(frame, frames_.next());
    if (!frame) continue;
    CO_TRY(welcome, check_welcome(*frame, nonce));
    welcome_ = std::move(welcome);
    co_return ok;
  }
}

void HandConnection::start(const std::shared_ptr<HandConnection>& self) {
  self->tasks_->spawn("hand.read", read_loop(self));
  self->tasks_->spawn("hand.write", write_loop(self));
}

void HandConnection::close() {
  drop({Code::cancelled, "closed"});
  tasks_.reset();
}

// ---- out

void HandConnection::send(Type type, std::uint32_t id, std::string_view payload) {
  if (broken_) return;
  assert(payload.size() <= wire::kMaxPayload);
  const std::string frame = wire::encode_frame(type, id, payload);
  // Where nothing is under way it goes at once: the turn of the loop that wakes the writer is as
  // long as the hand needs for an answer.
  const std::size_t sent = unsent_.empty() && !writing_ ? stream_->write_now(frame) : 0;
  if (sent == frame.size()) return;
  unsent_.append(frame, sent);
  to_send_.notify();
  if (unsent_.size() > kMaxUnsent) drop({Code::exhausted, "the hand does not read"});
}

Task<void> HandConnection::write_loop(std::shared_ptr<HandConnection> self) {
  while (!self->broken_) {
    if (self->unsent_.empty()) {
      CO_TRY_DO(co_await self->to_send_.wait(net::kForever));
      continue;
    }
    const std::string bytes = std::exchange(self->unsent_, {});
    self->writing_ = true;
    auto written = co_await self->stream_->write_all(bytes, kWriteLimit);
    self->writing_ = false;
    if (!written) self->drop(std::move(written.error()));
  }
  co_return ok;
}

Result<void> HandConnection::request(Type type, std::string_view payload,
                                     std::shared_ptr<Call> call,
                                     std::shared_ptr<AttachedStream> stream) {
  if (broken_) return gone();
  if (payload.size() > wire::kMaxPayload)
    return Error{Code::too_large, str(type, ": more than ", wire::kMaxPayload, " bytes")};
  if (entries_.size() >= kMaxEntries)
    return Error{Code::exhausted, "too many operations are under way in this sandbox"};
  do ++last_id_;
  while (last_id_ == 0 || entries_.contains(last_id_));
  if (stream) stream->id = last_id_;
  if (call->window) call->window->under_way += call->input_bytes;
  entries_.emplace(last_id_, Entry{std::move(call), std::move(stream)});
  send(type, last_id_, payload);
  return ok;
}

void HandConnection::request_now(Type type, std::string_view payload) {
  auto call = std::make_shared<Call>();
  call->expected = Type::ok;
  (void)request(type, payload, std::move(call));  // there is nobody to tell that the link is broken
}

Task<wire::Frame> HandConnection::answer_of(std::shared_ptr<HandConnection> self,
                                            std::shared_ptr<Call> call, Millis limit) {
  if (!call->answer) {
    auto waited = co_await call->answered.wait(limit);
    if (!call->answer && waited.error().code == Code::timeout) {
      // Not this request hangs but the hand: its answers do not wait for what goes on in the box.
      Error late{Code::timeout,
                 str("the sandbox's hand did not answer within ", limit.count(), " ms")};
      self->drop(late);
      co_return late;
    }
    if (!call->answer) {
      call->abandoned = true;
      co_return std::move(waited.error());
    }
  }
  co_return std::move(*call->answer);
}

std::shared_ptr<StdinWindow> HandConnection::stdin_window(std::uint64_t handle) {
  std::erase_if(stdins_, [](const auto& entry) { return entry.second.expired(); });
  auto window = stdins_[handle].lock();
  if (!window) stdins_[handle] = window = std::make_shared<StdinWindow>();
  return window;
}

void HandConnection::look_out(std::chrono::microseconds limit) const {
  const auto until = std::chrono::steady_clock::now() + limit;
  pollfd socket{stream_->socket(), POLLIN, 0};
  while (::poll(&socket, 1, 0) == 0 && std::chrono::steady_clock::now() < until) {
  }
}

void HandConnection::acknowledge(AttachedStream& stream) {
  if (!stream.ended && !stream.detached)
    send(Type::ack, stream.id, wire::Writer().u64(stream.consumed_to).take());
  stream.unacked -= std::exchange(stream.consumed, 0);
}

void HandConnection::detach(AttachedStream& stream) {
  if (stream.detached || stream.ended || broken_) return;
  stream.detached = true;
  stream.queue.clear();
  send(Type::detach, stream.id, "");
}

// ---- in

Task<void> HandConnection::read_loop(std::shared_ptr<HandConnection> self) {
  std::array<char, kReadBytes> bytes;
  while (!self->broken_) {
    // What came in behind the welcome is there already.
    for (bool more = true; more && !self->broken_;) {
      auto frame = self->frames_.next();
      more = !frame || *frame;
      if (!frame) {
        self->drop(violation(std::move(frame.error().what)));
      } else if (*frame) {
        auto received = self->receive(std::move(**frame));
        if (!received) self->drop(violation(std::move(received.error().what)));
      }
    }
    if (self->broken_) break;
    auto got = co_await self->stream_->read_some(bytes, net::kForever);
    if (!got)
      self->drop(std::move(got.error()));
    else if (*got == 0)
      self->drop({Code::unavailable, "the hand closed the connection"});
    else
      self->frames_.feed({bytes.data(), *got});
  }
  co_return ok;
}

Result<void> HandConnection::receive(wire::Frame frame) {
  if (frame.id == 0) return violation("the hand says that our stream is broken");
  auto at = entries_.find(frame.id);
  if (at == entries_.end()) return violation(str(frame.type, " for a request that nobody made"));
  return at->second.call ? first_answer(at, std::move(frame)) : stream_frame(at, frame);
}

Result<void> HandConnection::first_answer(Entries::iterator at, wire::Frame frame) {
  const auto call = at->second.call;
  if (frame.type == Type::error) {
    TRY(error, wire::decode_error(frame.payload), "error");
    entries_.erase(at);
    settle(*call, told(std::move(error)));
    return ok;
  }
  if (call->is_list && frame.type == Type::process) {
    TRY(info, wire::decode_process(frame.payload), "list");
    if (call->listed.size() == wire::kMaxProcesses) return violation("a list without end");
    call->listed.push_back(std::move(info));
    return ok;
  }
  if (frame.type != call->expected)
    return violation(str(frame.type, " where ", call->expected, " was due"));
  if (at->second.stream) {
    TRY_DO(attached(at, frame));
  } else {
    entries_.erase(at);
  }
  settle(*call, std::move(frame));
  return ok;
}

Result<void> HandConnection::attached(Entries::iterator at, const wire::Frame& frame) {
  AttachedStream& stream = *at->second.stream;
  TRY(info, wire::decode_process(frame.payload), frame.type);
  stream.expected = stream.consumed_to = std::min(stream.from, info.output_end);
  stream.info = std::move(info);
  const bool abandoned = at->second.call->abandoned;
  at->second.call.reset();
  if (!abandoned) return ok;
  // Whoever asked has gone before there was a handle. What was started for them alone ends with
  // them.
  if (frame.type == Type::started)
    request_now(Type::signal, wire::Writer().u64(stream.info.handle).u32(9).u8(1).take());
  detach(stream);
  return ok;
}

Result<void> HandConnection::stream_frame(Entries::iterator at, const wire::Frame& frame) {
  const auto stream = at->second.stream;  // keeps it over the erasures below
  if (frame.type == Type::output) {
    TRY(output, wire::decode_output(frame.payload), "output");
    if (output.offset != stream->expected)
      return violation(str("output at ", output.offset, " where ", stream->expected, " was due"));
    stream->expected += output.bytes.size();
    stream->unacked += output.bytes.size();
    if (stream->unacked > wire::kWindowBytes) return violation("output beyond the window");
    if (!stream->detached)
      stream->queue.push_back(
          OutputEvent{output.offset, output.stream, output.unix_ms, std::string(output.bytes)});
  } else if (frame.type == Type::gap) {
    wire::Reader payload(frame.payload);
    TRY(from, payload.u64(), "gap");
    TRY(to, payload.u64(), "gap");
    TRY_DO(payload.done(), "gap");
    if (from != stream->expected || to <= from)
      return violation(str("a gap from ", from, " to ", to));
    stream->expected = to;
    // Gaps in a row are one gap, or a hand could fill our memory with them.
    auto* last = stream->queue.empty() ? nullptr : std::get_if<GapEvent>(&stream->queue.back());
    if (last)
      last->to = to;
    else if (!stream->detached)
      stream->queue.push_back(GapEvent{from, to});
  } else if (frame.type == Type::exited) {
    TRY(info, wire::decode_process(frame.payload), "exited");
    if (info.handle != stream->info.handle || info.status == wire::Status::running)
      return violation("the end of another process, or of none");
    stream->ended = true;
    stream->queue.push_back(ExitedEvent{std::move(info)});
    entries_.erase(at);
  } else if (frame.type == Type::ok && stream->detached) {
    entries_.erase(at);
  } else {
    return violation(str(frame.type, " amid a process's output"));
  }
  stream->changed.notify();
  return ok;
}

void HandConnection::drop(Error reason) {
  if (broken_) return;
  broken_ = true;
  if (reason.tag == kProtocolTag) {
    violations.add();
    log::warn("hand.protocol_violation", {{"socket", path_}, {"reason", reason.what}});
  } else if (reason.code != Code::cancelled) {
    log::info("hand.disconnected", {{"socket", path_}, {"reason", reason.what}});
  }
  stream_->close();
  unsent_ = {};
  to_send_.notify();
  for (auto& [id, entry] : std::exchange(entries_, {})) {
    if (entry.call) settle(*entry.call, gone());
    if (!entry.stream) continue;
    entry.stream->broken = gone();
    entry.stream->changed.notify();
  }
}

}  // namespace glovebox::engine
