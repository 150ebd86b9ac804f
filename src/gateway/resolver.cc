#include "gateway/resolver.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/resolver_exchange.h"
#include "net/address_range.h"
#include "net/deadline.h"
#include "net/descriptor.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::gateway {

static metrics::Counter queries_total("gateway_dns_queries_total", "Questions of boxes.");
static metrics::Counter refused_total("gateway_dns_refused_total",
                                      "Questions refused, and answers that lead nowhere public.");
static metrics::Counter dropped_total("gateway_dns_dropped_total",
                                      "Questions over a box's rate, and what is none.");

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kPerSecond = 50, kAtOnce = 200;  // questions of one box
constexpr std::size_t kOpenPerBox = 64;           // of them unanswered
constexpr std::size_t kStreamsPerBox = 8;
constexpr Millis kStreamIdle{10'000};
constexpr auto kServersFor = std::chrono::seconds(5);  // until resolv.conf is looked at again

// So many a second, and some at once after a silence.
class Pace {
 public:
  bool take() {
    const auto now = Clock::now();
    left_ =
        std::min(kAtOnce, left_ + kPerSecond * std::chrono::duration<double>(now - at_).count());
    at_ = now;
    if (left_ < 1) return false;
    left_ -= 1;
    return true;
  }

 private:
  double left_ = kAtOnce;
  Clock::time_point at_ = Clock::now();
};

struct Client {  // a box
  std::string id;
  bool any_address = false;
  std::shared_ptr<net::Descriptor> datagrams;
  std::optional<net::Listener> streams;
  Pace pace;
  std::size_t open = 0, connected = 0;
  net::TaskGroup tasks;

  explicit Client(net::Loop& loop) : tasks(loop) {}
  void end() {
    if (datagrams) datagrams->close();
    if (streams) streams->close();
    tasks.cancel();
  }
};
using ClientPtr = std::shared_ptr<Client>;

}  // namespace

struct Resolver::Impl {
  net::Loop& loop;
  Options options;
  Fd alive;  // open as long as we live
  std::map<std::string, ClientPtr> clients;
  std::vector<net::Address> found;
  std::optional<Clock::time_point> found_at;

  const std::vector<net::Address>& servers() {
    if (!options.servers.empty()) return options.servers;
    if (!found_at || Clock::now() - *found_at > kServersFor) {
      auto text = sys::read_file(options.resolv_conf, 64 * 1024);
      if (text) found = parse_resolv_conf(*text);
      found_at = Clock::now();
    }
    return found;
  }
};

namespace {

using ImplPtr = std::shared_ptr<Resolver::Impl>;

// One that leads to no public address is no answer: it would be refused on the way there, and what
// private names there are is nobody's business in a box.
bool leads_astray(const Client& client, std::string_view answer) {
  auto addresses = dns::addresses(answer);
  if (!addresses) return true;
  return !client.any_address && !std::ranges::all_of(*addresses, net::is_public);
}

Task<std::string> resolve(ImplPtr self, ClientPtr client, dns::Query query, Transport transport) {
  queries_total.add();
  if (!query.usual) {
    refused_total.add();
    co_return dns::answer(query, dns::Answer::refused);
  }
  auto answer = co_await ask_servers(self->servers(), query, transport);
  if (!answer) co_return dns::answer(query, dns::Answer::failed);
  if (leads_astray(*client, *answer)) {
    refused_total.add();
    co_return dns::answer(query, dns::Answer::no_such_name);
  }
  co_return std::move(*answer);
}

Task<void> answer_datagram(ImplPtr self, ClientPtr client, dns::Query query, sockaddr_storage peer,
                           socklen_t size) {
  auto answer = co_await resolve(self, client, std::move(query), Transport::datagram);
  --client->open;
  if (answer && !client->datagrams->closed())
    (void)::sendto(client->datagrams->get(), answer->data(), answer->size(),
                   MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&peer), size);
  co_return ok;
}

Task<void> hear_datagrams(ImplPtr self, ClientPtr client) {
  std::string buffer(4096, '\0');
  for (;;) {
    CO_TRY_DO(co_await net::Descriptor::wait(client->datagrams, net::Descriptor::For::reading,
                                             net::kForever));
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    ssize_t n = ::recvfrom(client->datagrams->get(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                           reinterpret_cast<sockaddr*>(&peer), &size);
    if (n < 0) continue;
    auto query = dns::parse_query(buffer.substr(0, static_cast<std::size_t>(n)));
    if (!query || client->open >= kOpenPerBox || !client->pace.take()) {
      dropped_total.add();
      continue;
    }
    ++client->open;
    client->tasks.spawn("dns", answer_datagram(self, client, std::move(*query), peer, size));
  }
}

Task<bool> read_whole(net::Stream* stream, std::span<char> into, net::Deadline deadline) {
  while (!into.empty()) {
    CO_TRY(n, co_await stream->read_some(into, deadline.left()));
    if (n == 0) co_return false;
    into = into.subspan(n);
  }
  co_return true;
}

Task<void> serve_stream(ImplPtr self, ClientPtr client, std::unique_ptr<net::Stream> stream) {
  for (;;) {
    net::Deadline deadline(kStreamIdle);
    unsigned char length[2];
    auto got = co_await read_whole(stream.get(), {reinterpret_cast<char*>(length), 2}, deadline);
    if (!got || !*got) co_return ok;
    std::string message(static_cast<std::size_t>(length[0] << 8 | length[1]), '\0');
    got = co_await read_whole(stream.get(), message, deadline);
    if (!got || !*got) co_return ok;
    auto query = dns::parse_query(std::move(message));
    if (!query || !client->pace.take()) {
      dropped_total.add();
      co_return ok;
    }
    CO_TRY(answer, co_await resolve(self, client, std::move(*query), Transport::stream));
    std::string framed{static_cast<char>(answer.size() >> 8),
                       static_cast<char>(answer.size() & 0xff)};
    auto written = co_await stream->write_all(framed + answer, kStreamIdle);
    if (!written) co_return ok;
  }
}

Task<void> serve_and_count(ImplPtr self, ClientPtr client, std::unique_ptr<net::Stream> stream) {
  auto done = co_await serve_stream(self, client, std::move(stream));
  --client->connected;
  co_return done;
}

Task<void> hear_streams(ImplPtr self, ClientPtr client) {
  for (;;) {
    CO_TRY(stream, co_await client->streams->accept());
    if (client->connected >= kStreamsPerBox) continue;
    ++client->connected;
    client->tasks.spawn("dns", serve_and_count(self, client, std::move(stream)));
  }
}

Result<void> take_box(const ImplPtr& self, const std::string& id, bool any_address,
                      std::vector<Fd> fds) {
  if (fds.size() != 2) return Error{Code::invalid, "a box brings two sockets"};
  // Whoever made them: one that blocks would stop us all.
  for (const Fd& fd : fds)
    if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0) return sys_error("a box's socket");
  auto client = std::make_shared<Client>(self->loop);
  client->id = id;
  client->any_address = any_address;
  TRY(datagrams, net::Descriptor::open(self->loop.executor(), std::move(fds[0])));
  client->datagrams = std::move(datagrams);
  TRY(streams, net::Listener::adopt(self->loop, std::move(fds[1])));
  client->streams.emplace(std::move(streams));
  auto& place = self->clients[id];
  if (place) place->end();
  place = client;
  client->tasks.spawn("dns", hear_datagrams(self, client));
  client->tasks.spawn("dns", hear_streams(self, client));
  return ok;
}

}  // namespace

Resolver::Resolver(net::Loop& loop, Options options)
    : impl_(new Impl{loop, std::move(options), {}, {}, {}, {}}) {}

Resolver::~Resolver() {
  for (auto& [id, client] : impl_->clients) client->end();
}

Result<void> Resolver::take(const std::string& line, std::vector<Fd> fds) {
  auto words = split(line, ' ');
  if (words[0] == "anew" && words.size() == 1 && fds.size() == 1) {
    for (auto& [id, client] : impl_->clients) client->end();
    impl_->clients.clear();
    impl_->alive = std::move(fds[0]);
    return ok;
  }
  if (words[0] == "box" && words.size() == 3 && (words[2] == "public" || words[2] == "any"))
    return take_box(impl_, words[1], words[2] == "any", std::move(fds));
  if (words[0] == "gone" && words.size() == 2) {
    auto found = impl_->clients.find(words[1]);
    if (found == impl_->clients.end()) return ok;
    found->second->end();
    impl_->clients.erase(found);
    return ok;
  }
  return Error{Code::invalid, "this is none of the engine's words"};
}

Task<void> Resolver::close() {
  auto clients = std::exchange(impl_->clients, {});
  for (auto& [id, client] : clients) client->end();
  for (auto& [id, client] : clients) (void)co_await client->tasks.finish(1s);
  co_return ok;
}

}  // namespace glovebox::gateway
