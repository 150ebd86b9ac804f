#include "gateway/uplink.h"

#include <sys/socket.h>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/uplink_impl.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

metrics::Gauge granted("uplink_grants", "Boxes that may reach their session now.");

using Impl = std::shared_ptr<Uplink::Impl>;
using Link = std::shared_ptr<BoxLink>;

constexpr Millis kCutLimit = 5s;

std::shared_ptr<http::Client> service_at(Uplink::Impl& impl, const std::string& url) {
  if (auto there = impl.services[url].lock()) return there;
  auto parsed = http::Url::parse(url);  // decode_grant() did, too
  if (!parsed) return nullptr;
  http::ClientOptions options;
  options.head_deadline = impl.limits.service;
  auto made = std::make_shared<http::Client>(impl.loop, std::move(*parsed), http::Headers(),
                                             std::move(options));
  impl.services[url] = made;
  return made;
}

// Its connections are cut, and the box's network namespace is let go.
Task<void> end(Link link) {
  if (link->server) (void)co_await link->server->drain(0ms);
  link->server.reset();
  co_return ok;
}

void drop(Uplink::Impl& impl, const std::string& box, std::string_view why) {
  auto found = impl.links.find(box);
  if (found == impl.links.end()) return;
  Link link = std::move(found->second);
  impl.links.erase(found);
  granted.set(static_cast<std::int64_t>(impl.links.size()));
  log::info("uplink.end", {{"box", box},
                           {"session", link->grant->session},
                           {"why", why},
                           {"requests", link->status.requests},
                           {"refused", link->status.refused}});
  impl.tasks.spawn("uplink.end", end(std::move(link)));
}

Task<void> sweep(std::weak_ptr<Uplink::Impl> weak, Millis pause) {
  for (;;) {
    CO_TRY_DO(co_await net::sleep(pause));
    auto impl = weak.lock();
    if (!impl) co_return ok;
    std::vector<std::string> over;
    for (const auto& [box, link] : impl->links)
      if (link->expires < Steady::now()) over.push_back(box);
    for (const std::string& box : over) drop(*impl, box, "nobody renewed it");
    over.clear();
    for (const auto& [box, door] : impl->doors)
      if (door->expires < Steady::now()) over.push_back(box);
    for (const std::string& box : over) drop_door(*impl, box, "nobody renewed it");
    std::erase_if(impl->services, [](const auto& service) { return service.second.expired(); });
  }
}

bool is_listening(int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

Error no_grant(std::string_view box) {
  return {Code::not_found, str("there is no grant for box ", box)};
}

}  // namespace

Uplink::Uplink(net::Loop& loop, UplinkLimits limits)
    : impl_(new Impl{loop, limits, {}, {}, 0, {}, net::TaskGroup(loop)}) {
  impl_->hints = first_hint();
  impl_->tasks.spawn("uplink.sweep", sweep(impl_, limits.sweep));
}

Uplink::~Uplink() { impl_->tasks.cancel(); }

http::ServerOptions server_options(const UplinkLimits& limits) {
  http::ServerOptions options;
  options.head_limit = 16 * 1024;
  options.max_headers = 64;
  options.max_connections = limits.connections;
  options.head_deadline = limits.head;
  options.body_deadline = limits.piece;
  options.write_deadline = limits.write;
  options.idle_deadline = limits.idle;
  return options;
}

Result<void> grant_box(Uplink::Impl& impl, const std::string& box, Grant grant) {
  if (!plain_id(box)) return Error{Code::invalid, "the box's id is none"};
  if (impl.closing) return Error{Code::unavailable, "the uplink stops"};
  if (impl.doors.contains(box)) return Error{Code::conflict, "the box takes webhooks"};
  auto found = impl.links.find(box);
  const bool same = found != impl.links.end() && found->second->grant->work == grant.work &&
                    found->second->grant->session == grant.session;
  if (!same) drop(impl, box, "another item has the box");
  if (!same && impl.links.size() >= impl.limits.grants)
    return Error{Code::exhausted, "too many grants"};
  auto service = service_at(impl, grant.service_url);
  if (!service) return Error{Code::invalid, "service_url"};
  auto shared = std::make_shared<const Grant>(std::move(grant));
  Link& link = impl.links[box];
  if (!link) {
    link = std::make_shared<BoxLink>(box, shared, impl.limits);
    log::info("uplink.grant", {{"box", box}, {"session", shared->session}, {"work", shared->work}});
  }
  link->grant = std::move(shared);
  link->service = std::move(service);
  link->expires = Steady::now() + impl.limits.grant_life;
  granted.set(static_cast<std::int64_t>(impl.links.size()));
  return ok;
}

Result<Uplink::Status> renew_box(Uplink::Impl& impl, const std::string& box,
                                 std::string_view work) {
  auto found = impl.links.find(box);
  if (found == impl.links.end() || found->second->grant->work != work) return no_grant(box);
  found->second->expires = Steady::now() + impl.limits.grant_life;
  found->second->status.listening = found->second->server != nullptr;
  return found->second->status;
}

void revoke_box(Uplink::Impl& impl, const std::string& box, std::string_view work) {
  auto found = impl.links.find(box);
  if (found != impl.links.end() && found->second->grant->work == work)
    drop(impl, box, "it was taken back");
}

Result<void> Uplink::grant(std::string box, Grant grant) {
  return grant_box(*impl_, box, std::move(grant));
}

Result<Uplink::Status> Uplink::renew(const std::string& box, std::string_view work) {
  return renew_box(*impl_, box, work);
}

void Uplink::revoke(const std::string& box, std::string_view work) {
  revoke_box(*impl_, box, work);
}

Result<void> Uplink::take_listener(const std::string& line, std::vector<Fd> fds) {
  constexpr std::string_view kWord = "uplink ";
  if (!line.starts_with(kWord) || fds.size() != 1 || !is_listening(fds[0].get()))
    return Error{Code::invalid, "this takes one listening socket for a box's uplink"};
  const std::string box = line.substr(kWord.size());
  if (auto door = impl_->doors.find(box); door != impl_->doors.end()) {
    TRY(address, take_door(impl_, door->second, std::move(fds[0])));
    log::info("uplink.open", {{"box", box}, {"address", address.text()}});
    return ok;
  }
  auto found = impl_->links.find(box);
  // Not kept for a grant that may never come: it holds the box's network namespace.
  if (found == impl_->links.end()) return no_grant(box);
  Link link = found->second;
  auto server = serve_box(impl_, link);
  TRY(address, server->adopt(std::move(fds[0])));
  std::swap(link->server, server);
  if (server) {
    auto old = std::make_shared<BoxLink>(box, link->grant, impl_->limits);
    old->server = std::move(server);
    impl_->tasks.spawn("uplink.end", end(std::move(old)));
  }
  log::info("uplink.open", {{"box", box}, {"address", address.text()}});
  return ok;
}

Task<void> Uplink::close() {
  impl_->closing = true;
  impl_->hinted.notify();
  std::vector<std::string> boxes;
  for (const auto& [box, link] : impl_->links) boxes.push_back(box);
  for (const std::string& box : boxes) drop(*impl_, box, "the uplink stops");
  while (!impl_->doors.empty()) drop_door(*impl_, impl_->doors.begin()->first, "the uplink stops");
  co_return co_await impl_->tasks.finish(kCutLimit);
}

}  // namespace glovebox::gateway
