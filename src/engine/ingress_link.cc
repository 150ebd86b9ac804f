#include "engine/ingress_link.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/clock.h"
#include "base/log.h"
#include "engine/handover.h"
#include "engine/life.h"
#include "net/task.h"
#include "sys/packet.h"
#include "wire/token.h"

namespace glovebox::engine {

namespace {

constexpr Millis kLookAgain{100}, kLookAgainMost{2'000};
constexpr Millis kDialLimit{5'000}, kWriteLimit{10'000};
constexpr std::size_t kAsked = 16'384;  // at a time
constexpr std::size_t kWaiting = 16'384;
constexpr std::size_t kHolds = 100'000;

Error no_such() {
  return {Code::not_found, "no sandbox has such an id or name", "SANDBOX_NOT_FOUND"};
}

Error ended() { return {Code::gone, "the sandbox is terminated", "SANDBOX_TERMINATED"}; }

bool sleeps(const wire::SandboxRecord& record) {
  return record.status == wire::State::suspended || record.tier == kPaused;
}

std::string hash_of(const Secret& key) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  ::EVP_Digest(key.reveal().data(), key.reveal().size(), digest.data(), &size, ::EVP_sha256(),
               nullptr);
  return hex(std::span(digest).first(size));
}

}  // namespace

std::string port_verb(int port) { return str("port:", port); }

IngressLink::IngressLink(net::Loop& loop, Engine& engine, std::string socket)
    : loop_(loop), engine_(engine), socket_(std::move(socket)), work_(loop) {}

IngressLink::~IngressLink() { work_.cancel(); }

void IngressLink::start() {
  if (!socket_.empty()) work_.spawn("ingress", follow());
}

Task<void> IngressLink::close() {
  closing_ = true;
  if (line_) hang_up(line_);
  return work_.finish(5s);
}

void IngressLink::keep_out(const std::vector<Secret>& keys) {
  key_hashes_.clear();
  for (const Secret& key : keys)
    if (!key.empty()) key_hashes_.push_back(hash_of(key));
  if (line_) say(line_, {.key_hashes = key_hashes_});
}

void IngressLink::changed(const std::string& id) {
  if (line_) say(line_, {.changed = id});
}

Task<Fd> IngressLink::connect() {
  auto made = std::make_shared<Fd>();
  std::function<Result<void>()> dial = [path = socket_, made]() -> Result<void> {
    TRY(socket, connect_part(path));
    if (::fcntl(socket.get(), F_SETFL, O_NONBLOCK) < 0) return sys_error("link");
    *made = std::move(socket);
    return ok;
  };
  CO_TRY_DO(co_await pool_.run(std::move(dial)));
  co_return std::move(*made);
}

Task<void> IngressLink::follow() {
  for (Millis pause = kLookAgain;;) {
    auto socket = co_await connect();
    if (!socket) {
      if (socket.error().code == Code::cancelled) co_return ok;
      CO_TRY_DO(co_await net::sleep(pause));
      pause = std::min(pause * 2, kLookAgainMost);
      continue;
    }
    pause = kLookAgain;
    CO_TRY(watched, net::Descriptor::open(loop_.executor(), std::move(*socket)));
    auto line = std::make_shared<Line>();
    line->socket = std::move(watched);
    line_ = line;
    say(line, {.key_hashes = key_hashes_});
    log::info("ingress.linked");
    auto heard = co_await listen(line);
    // A wait on a socket that we closed ourselves, because it did not take what we said, ends like
    // one that is cancelled; only the latter is the end of this.
    const bool we_closed = line->socket->closed();
    hang_up(line);
    if (closing_ || (heard.error().code == Code::cancelled && !we_closed)) co_return ok;
    log::warn("ingress.lost", {{"why", heard.error().what}});
    CO_TRY_DO(co_await net::sleep(kLookAgain));
  }
}

// Until it ends, which is an error.
Task<void> IngressLink::listen(LinePtr line) {
  for (;;) {
    CO_TRY_DO(
        co_await net::Descriptor::wait(line->socket, net::Descriptor::For::reading, net::kForever));
    for (;;) {
      auto packet = sys::receive_packet(line->socket->get(), wire::kIngressMessage, 0);
      if (!packet && packet.error().code == Code::exhausted) break;
      if (!packet) co_return std::move(packet.error());
      if (packet->bytes.empty()) co_return Error{Code::unavailable, "it went away"};
      auto ask = wire::decode_ingress_ask(packet->bytes);
      if (!ask) {  // one bad question is no reason to let go of all that is held
        log::warn("ingress.bad_question", {{"why", ask.error().what}});
        continue;
      }
      if (ask->what == wire::IngressAsk::What::release) {
        if (auto held = line->holds.find(ask->box); held != line->holds.end())
          line->holds.erase(held);
        continue;
      }
      if (line->asked >= kAsked) co_return Error{Code::exhausted, "it asks too much at once"};
      ++line->asked;
      work_.spawn("ingress.answer", answer(line, std::move(*ask)));
    }
  }
}

void IngressLink::hang_up(const LinePtr& line) {
  line->socket->close();
  line->waiting.clear();
  line->more.notify();
  auto held = std::exchange(line->holds, {});  // boxes may sleep again
  if (line_ == line) line_.reset();
}

void IngressLink::say(const LinePtr& line, const wire::IngressSay& what, Fd fd) {
  if (line->socket->closed()) return;
  Packet packet{wire::encode(what), std::move(fd)};
  if (line->waiting.empty()) {
    std::vector<int> fds;
    if (packet.fd) fds.push_back(packet.fd.get());
    auto sent = sys::send_packet(line->socket->get(), packet.bytes, fds, MSG_DONTWAIT);
    if (sent) return;
    if (sent.error().code != Code::exhausted) return line->socket->close();
    work_.spawn("ingress.flush", flush(line));
  }
  // One that does not read what it asked for is not there.
  if (line->waiting.size() >= kWaiting) return line->socket->close();
  line->waiting.push_back(std::move(packet));
}

Task<void> IngressLink::flush(LinePtr line) {
  while (!line->waiting.empty()) {
    auto room =
        co_await net::Descriptor::wait(line->socket, net::Descriptor::For::writing, kWriteLimit);
    if (!room) {
      line->socket->close();
      co_return ok;
    }
    while (!line->waiting.empty()) {
      const Packet& next = line->waiting.front();
      std::vector<int> fds;
      if (next.fd) fds.push_back(next.fd.get());
      auto sent = sys::send_packet(line->socket->get(), next.bytes, fds, MSG_DONTWAIT);
      if (!sent && sent.error().code == Code::exhausted) break;
      if (!sent) {
        line->socket->close();
        co_return ok;
      }
      line->waiting.pop_front();
    }
  }
  co_return ok;
}

Task<void> IngressLink::answer(LinePtr line, wire::IngressAsk ask) {
  using What = wire::IngressAsk::What;
  Result<wire::IngressSay> said = wire::IngressSay{};
  Fd fd;
  switch (ask.what) {
    case What::look: said = look(ask); break;
    case What::hold: said = co_await hold(line, ask); break;
    case What::token: said = token(ask); break;
    case What::release: break;  // never here
    case What::dial: {
      auto box = exposed(ask);
      if (!box) {
        said = std::move(box.error());
        break;
      }
      auto socket = co_await engine_.dial_socket(box->id, ask.port, kDialLimit);
      if (socket)
        fd = (*socket)->release();
      else
        said = std::move(socket.error());
      break;
    }
  }
  --line->asked;
  if (!said) {
    if (said.error().code == Code::cancelled) co_return ok;
    wire::IngressSay refused;
    refused.error = std::move(said.error());
    said = std::move(refused);
  }
  said->number = ask.number;
  say(line, *said, std::move(fd));
  co_return ok;
}

Result<wire::IngressSay> IngressLink::look(const wire::IngressAsk& ask) const {
  auto record = engine_.get(ask.box);
  if (!record && record.error().code == Code::not_found) {
    TRY(had, engine_.had(ask.box));
    return had ? ended() : no_such();
  }
  if (!record) return std::move(record.error());
  if (record->status == wire::State::terminated) return ended();
  wire::IngressSay said;
  said.box = wire::IngressBox{
      .id = record->id, .name = record->name, .generation = record->generation, .ports = {}};
  TRY(ports, engine_.ports(record->id));
  said.box->ports = std::move(ports);
  return said;
}

// The box, if it still is the one that was meant and the port is exposed.
Result<wire::SandboxRecord> IngressLink::exposed(const wire::IngressAsk& ask) const {
  TRY(record, engine_.get(ask.box));
  if (record.status == wire::State::terminated || record.generation != ask.generation)
    return ended();
  if (std::ranges::find(record.exposed_ports, ask.port) == record.exposed_ports.end())
    return Error{Code::not_found, str("port ", ask.port, " is not exposed"), "PORT_NOT_EXPOSED"};
  return record;
}

Task<wire::IngressSay> IngressLink::hold(LinePtr line, const wire::IngressAsk& ask) {
  CO_TRY(record, engine_.get(ask.box));
  if (record.status == wire::State::terminated || record.generation != ask.generation)
    co_return ended();
  if (line->holds.size() >= kHolds) co_return Error{Code::exhausted, "too much is held"};
  const bool asleep = sleeps(record);
  if (asleep && !ask.may_wake)
    co_return Error{Code::exhausted, "the sandbox sleeps, and you have woken too many",
                    "TOO_MANY_WAKES"};
  const std::string id = record.id;
  CO_TRY(hand, co_await engine_.hand(id));
  if (line->socket->closed()) co_return Error{Code::cancelled, "nobody waits for it any more"};
  line->holds.emplace(id, std::move(hand));
  wire::IngressSay said;
  said.woke = asleep;
  co_return said;
}

Result<wire::IngressSay> IngressLink::token(const wire::IngressAsk& ask) const {
  TRY(capability,
      wire::verify(ask.token, engine_.token_key(), engine_.instance(), system_clock().unix_ms()));
  if (!wire::allows(capability, ask.box, ask.generation, port_verb(ask.port)))
    return Error{Code::forbidden, "the token is for something else", "INVALID_TOKEN"};
  wire::IngressSay said;
  said.expires_ms = capability.expires_ms;
  return said;
}

}  // namespace glovebox::engine
