// Doors: a box whose receiver takes webhooks says "there may be work", and the orchestrator hears
// it.
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "gateway/steward_impl.h"
#include "gateway/uplink_impl.h"
#include "net/deadline.h"
#include "net/task.h"

namespace glovebox::gateway {

namespace {

metrics::Counter hints_total("uplink_hints_total", "Hints of receivers in boxes.");

using Impl = std::shared_ptr<Uplink::Impl>;
using Door = std::shared_ptr<DoorLink>;

constexpr std::size_t kDoors = 16;
constexpr Millis kBetween = 5s;  // two questions of one who hears

bool is_heard(const Uplink::Impl& impl) {
  return impl.hearers > 0 || Steady::now() - impl.heard_last < kBetween;
}

Task<void> end(Door door) {
  if (door->server) (void)co_await door->server->drain(0ms);
  door->server.reset();
  co_return ok;
}

// Any number of them make one look into the queue, so there is nothing to limit but connections.
Task<http::Response> drain(std::weak_ptr<Uplink::Impl> weak) {
  auto impl = weak.lock();
  if (!impl || impl->closing) co_return Error{Code::unavailable, "the uplink stops"};
  // Nobody would come: the sender is to try again.
  if (!is_heard(*impl)) co_return Error{Code::unavailable, "no orchestrator hears this now"};
  ++impl->hints;
  hints_total.add();
  impl->hinted.notify();
  co_return http::json(200, R"({"status":"queued"})");
}

std::unique_ptr<http::Server> serve_hints(const Impl& impl) {
  std::vector<http::Route> routes{
      {"POST", "/drain", http::Body::whole,
       [impl = std::weak_ptr(impl)](http::Request) { return drain(impl); }, 1024}};
  return std::make_unique<http::Server>(impl->loop, std::move(routes),
                                        server_options(impl->limits));
}

struct Hearer {
  explicit Hearer(Impl to) : impl(std::move(to)) { ++impl->hearers; }
  Hearer(const Hearer&) = delete;
  ~Hearer() {
    --impl->hearers;
    impl->heard_last = Steady::now();
  }
  const Impl impl;
};

Task<std::uint64_t> hear(Impl impl, std::uint64_t before, Millis limit) {
  Hearer hearer(impl);
  net::Deadline deadline(limit);
  while (impl->hints == before && !impl->closing) {
    auto waited = co_await impl->hinted.wait(deadline.left());
    if (waited) continue;
    if (waited.error().code == Code::timeout) break;
    co_return std::move(waited.error());
  }
  co_return impl->hints;
}

}  // namespace

Result<Door> make_door(Uplink::Impl& impl, const std::string& box) {
  if (!plain_id(box)) return Error{Code::invalid, "the box's id is none"};
  if (impl.closing) return Error{Code::unavailable, "the uplink stops"};
  if (impl.links.contains(box)) return Error{Code::conflict, "a worker has this box"};
  if (!impl.doors.contains(box) && impl.doors.size() >= kDoors)
    return Error{Code::exhausted, "too many doors"};
  Door& door = impl.doors[box];
  if (!door) {
    door = std::make_shared<DoorLink>(DoorLink{.box = box, .server = nullptr});
    log::info("uplink.door", {{"box", box}});
  }
  door->expires = Steady::now() + impl.limits.grant_life;
  return door;
}

Result<Uplink::Door> Uplink::keep_door(const std::string& box) {
  TRY(door, make_door(*impl_, box));
  return Door{.listening = door->server != nullptr,
              .heard = impl_->steward ? knows_its_queue(*impl_->steward) : is_heard(*impl_),
              .steward = impl_->steward != nullptr};
}

void Uplink::close_door(const std::string& box) { drop_door(*impl_, box, "it was taken back"); }

Task<std::uint64_t> Uplink::hints(std::uint64_t before, Millis limit) {
  return hear(impl_, before, limit);
}

std::uint64_t first_hint() {
  std::uint64_t number = 0;
  for (char byte : random_bytes(5)) number = number << 8 | static_cast<unsigned char>(byte);
  return number;
}

void drop_door(Uplink::Impl& impl, const std::string& box, std::string_view why) {
  auto found = impl.doors.find(box);
  if (found == impl.doors.end()) return;
  Door door = std::move(found->second);
  impl.doors.erase(found);  // with it goes `box`, where that was its key
  log::info("uplink.door_end", {{"box", door->box}, {"why", why}});
  impl.tasks.spawn("uplink.door_end", end(std::move(door)));
}

Result<net::Address> take_door(const Impl& impl, const Door& door, Fd listener) {
  auto server = impl->steward ? serve_steward(impl, door) : serve_hints(impl);
  TRY(address, server->adopt(std::move(listener)));
  std::swap(door->server, server);
  if (server) {
    auto old = std::make_shared<DoorLink>(DoorLink{.box = door->box, .server = std::move(server)});
    impl->tasks.spawn("uplink.door_end", end(std::move(old)));
  }
  return address;
}

}  // namespace glovebox::gateway
