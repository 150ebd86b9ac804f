#include "engine/hand_link.h"

#include <algorithm>

#include "engine/hand_connection.h"
#include "net/deadline.h"
#include "net/task.h"
#include "wire/bytes.h"

namespace glovebox::engine {

using wire::Type;

namespace {

constexpr std::size_t kAckBytes = wire::kWindowBytes / 4;
constexpr std::size_t kMaxListings = 8;  // at a time; a hand serves a few and refuses the rest

using Connection = std::shared_ptr<HandConnection>;

std::shared_ptr<Call> expecting(Type type) {
  auto call = std::make_shared<Call>();
  call->expected = type;
  return call;
}

// A request whose first answer is all there is.
Task<wire::Frame> ask(Connection connection, Type type, std::string payload, Type expected,
                      Millis limit) {
  auto call = expecting(expected);
  CO_TRY_DO(connection->request(type, payload, call));
  co_return co_await HandConnection::answer_of(connection, call, limit);
}

Task<void> ask_ok(Connection connection, Type type, std::string payload) {
  const Millis limit = connection->answer_limit();
  CO_TRY(frame, co_await ask(std::move(connection), type, std::move(payload), Type::ok, limit));
  co_return ok;
}

Task<wire::ProcessInfo> ask_process(Connection connection, Type type, std::string payload,
                                    Type expected) {
  CO_TRY(frame,
         co_await ask(connection, type, std::move(payload), expected, connection->answer_limit()));
  auto info = wire::decode_process(frame.payload);
  if (!info) connection->drop(Error{Code::invalid, info.error().what, "HAND_PROTOCOL"});
  co_return info;
}

std::string handle_payload(std::uint64_t handle) { return wire::Writer().u64(handle).take(); }
std::string signal_payload(std::uint64_t handle, int number, bool whole_cgroup) {
  return wire::Writer().u64(handle).u32(static_cast<std::uint32_t>(number)).u8(whole_cgroup).take();
}

Task<std::shared_ptr<AttachedStream>> open_stream(Connection connection, Type type,
                                                  std::string payload, Type expected,
                                                  std::uint64_t from,
                                                  std::chrono::microseconds patience = {}) {
  auto stream = std::make_shared<AttachedStream>();
  stream->connection = connection;
  stream->from = from;
  auto call = expecting(expected);
  CO_TRY_DO(connection->request(type, payload, call, stream));
  if (patience.count() > 0) connection->look_out(patience);
  CO_TRY(frame, co_await HandConnection::answer_of(connection, call, connection->answer_limit()));
  co_return stream;
}

}  // namespace

HandLink::HandLink(Connection connection) : connection_(std::move(connection)) {}
HandLink::~HandLink() { connection_->close(); }
bool HandLink::alive() const { return !connection_->broken(); }
const wire::Welcome& HandLink::welcome() const { return connection_->welcome(); }
std::size_t HandLink::open_operations() const { return connection_->open(); }

Task<std::shared_ptr<HandLink>> HandLink::connect(net::Loop& loop, std::string path, Millis limit,
                                                  Millis answer_limit) {
  const net::Deadline deadline(limit);
  CO_TRY(address, net::Address::parse(str("unix:", path)));
  CO_TRY(stream, co_await net::connect(std::move(address), limit), "connect to the sandbox's hand");
  auto connection =
      std::make_shared<HandConnection>(loop, std::move(path), std::move(stream), answer_limit);
  CO_TRY_DO(co_await connection->greet(deadline.left()), "greet the sandbox's hand");
  HandConnection::start(connection);
  co_return std::shared_ptr<HandLink>(new HandLink(std::move(connection)));
}

Task<wire::ProcessInfo> HandLink::start(wire::StartSpec spec) {
  spec.attach = wire::Attach::none;
  co_return co_await ask_process(connection_, Type::start, wire::encode(spec), Type::started);
}

Task<std::unique_ptr<Attachment>> HandLink::start_attached(wire::StartSpec spec,
                                                           std::chrono::microseconds patience) {
  if (spec.attach == wire::Attach::none) spec.attach = wire::Attach::follow;
  CO_TRY(stream, co_await open_stream(connection_, Type::start, wire::encode(spec), Type::started,
                                      0, patience));
  co_return std::unique_ptr<Attachment>(new Attachment(std::move(stream)));
}

Task<std::unique_ptr<Attachment>> HandLink::attach(std::uint64_t handle, bool hold,
                                                   std::uint64_t from) {
  std::string payload = wire::Writer().u64(handle).u8(hold ? wire::kHold : 0).u64(from).take();
  CO_TRY(stream,
         co_await open_stream(connection_, Type::attach, std::move(payload), Type::process, from));
  co_return std::unique_ptr<Attachment>(new Attachment(std::move(stream)));
}

Task<void> HandLink::write_stdin(std::uint64_t handle, std::string bytes) {
  const Connection connection = connection_;
  const auto window = connection->stdin_window(handle);
  std::vector<std::shared_ptr<Call>> calls;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t size = std::min(wire::kMaxChunk, bytes.size() - at);
    if (window->under_way + size > wire::kStdinWindow) {
      CO_TRY_DO(co_await window->room.wait(net::kForever));
      continue;
    }
    // What follows a piece that was refused would be a text with a hole.
    if (!calls.empty() && calls.back()->answer && !*calls.back()->answer) break;
    auto call = expecting(Type::input_ack);
    call->window = window;
    call->input_bytes = size;
    std::string payload = handle_payload(handle);
    payload.append(bytes, at, size);
    CO_TRY_DO(connection->request(Type::input, payload, call));
    calls.push_back(std::move(call));
    at += size;
  }
  for (auto& call : calls)
    CO_TRY_DO(co_await HandConnection::answer_of(connection, call, net::kForever));
  co_return ok;
}

Task<void> HandLink::close_stdin(std::uint64_t handle) {
  co_return co_await ask_ok(connection_, Type::input_end, handle_payload(handle));
}

Task<void> HandLink::give_stdin(std::uint64_t handle, std::string bytes) {
  const Connection connection = connection_;
  const auto window = connection->stdin_window(handle);
  const std::size_t size = bytes.size();
  // Of several pieces one may be refused, and behind the hole no end must be said.
  if (size > wire::kMaxChunk || size == 0 || window->under_way + size > wire::kStdinWindow) {
    CO_TRY_DO(co_await write_stdin(handle, std::move(bytes)));
    co_return co_await close_stdin(handle);
  }
  auto input = expecting(Type::input_ack), end = expecting(Type::ok);
  input->window = window;
  input->input_bytes = size;
  CO_TRY_DO(connection->request(Type::input, handle_payload(handle) + bytes, input));
  CO_TRY_DO(connection->request(Type::input_end, handle_payload(handle), end));
  CO_TRY_DO(co_await HandConnection::answer_of(connection, input, net::kForever));
  CO_TRY_DO(co_await HandConnection::answer_of(connection, end, connection->answer_limit()));
  co_return ok;
}

Task<void> HandLink::signal(std::uint64_t handle, int number, bool whole_cgroup) {
  co_return co_await ask_ok(connection_, Type::signal,
                            signal_payload(handle, number, whole_cgroup));
}

void HandLink::signal_now(std::uint64_t handle, int number, bool whole_cgroup) {
  connection_->request_now(Type::signal, signal_payload(handle, number, whole_cgroup));
}

Task<void> HandLink::resize(std::uint64_t handle, std::uint32_t rows, std::uint32_t cols) {
  co_return co_await ask_ok(connection_, Type::resize,
                            wire::Writer().u64(handle).u32(rows).u32(cols).take());
}

Task<std::vector<wire::ProcessInfo>> HandLink::list() {
  const Connection connection = connection_;
  while (connection->listings >= kMaxListings)
    CO_TRY_DO(co_await connection->listed.wait(connection->answer_limit()));
  auto call = expecting(Type::ok);
  call->is_list = true;
  CO_TRY_DO(connection->request(Type::list, "", call));
  ++connection->listings;
  auto frame = co_await HandConnection::answer_of(connection, call, connection->answer_limit());
  --connection->listings;
  connection->listed.notify();
  if (!frame) co_return std::move(frame.error());
  co_return std::move(call->listed);
}

Task<wire::ProcessInfo> HandLink::get(std::uint64_t handle_or_pid) {
  co_return co_await ask_process(connection_, Type::get, handle_payload(handle_or_pid),
                                 Type::process);
}

Task<void> HandLink::forget(std::uint64_t handle) {
  co_return co_await ask_ok(connection_, Type::forget, handle_payload(handle));
}

void HandLink::forget_now(std::uint64_t handle) {
  connection_->request_now(Type::forget, handle_payload(handle));
}

Task<void> HandLink::ping(Millis limit) {
  const Connection connection = connection_;
  const std::string text = "ping";
  CO_TRY(frame,
         co_await ask(connection, Type::ping, wire::Writer().text(text).take(), Type::pong, limit));
  wire::Reader payload(frame.payload);
  auto echo = payload.text(text.size());
  if (!echo || *echo != text || !payload.done()) {
    connection->drop(Error{Code::invalid, "a pong that is no echo", "HAND_PROTOCOL"});
    co_return Error{Code::unavailable, "the connection to the sandbox's hand broke"};
  }
  co_return ok;
}

Task<void> HandLink::shutdown(Millis grace) {
  const auto ms =
      static_cast<std::uint32_t>(std::clamp<std::int64_t>(grace.count(), 0, UINT32_MAX));
  co_return co_await ask_ok(connection_, Type::shutdown, wire::Writer().u32(ms).take());
}

Attachment::Attachment(std::shared_ptr<AttachedStream> stream) : stream_(std::move(stream)) {}
Attachment::~Attachment() { stream_->connection->detach(*stream_); }
const wire::ProcessInfo& Attachment::info() const { return stream_->info; }

Task<ProcessEvent> Attachment::next(Millis limit) {
  const auto stream = stream_;
  const net::Deadline deadline(limit);
  for (;;) {
    // A hand that is held back by us lets the process write only as far as we have acknowledged: so
    // always before waiting.
    if (stream->consumed >= kAckBytes || (stream->consumed > 0 && stream->queue.empty()))
      stream->connection->acknowledge(*stream);
    if (!stream->queue.empty()) break;
    if (stream->ended) co_return Error{Code::gone, "the process has ended and all was read"};
    if (stream->broken) co_return *stream->broken;
    CO_TRY_DO(co_await stream->changed.wait(deadline.left()));
  }
  ProcessEvent event = std::move(stream->queue.front());
  stream->queue.pop_front();
  if (auto* output = std::get_if<OutputEvent>(&event)) {
    stream->consumed += output->bytes.size();
    stream->consumed_to = output->offset + output->bytes.size();
  } else if (auto* gap = std::get_if<GapEvent>(&event)) {
    stream->consumed_to = gap->to;
  }
  co_return event;
}

}  // namespace glovebox::engine
