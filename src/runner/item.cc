#include "runner/item.h"

#include "base/log.h"
#include "net/task.h"
#include "runner/retry.h"
#include "runner/within.h"

namespace glovebox::runner {

namespace {

Bearer bearer_of(const Work& work, Bearer key) {
  if (!work.token.empty()) return std::make_shared<const Secret>(work.token);
  return key;
}

}  // namespace

struct Item::Impl {
  net::Loop& loop;
  Service& service;
  const Work work;
  const Bearer bearer;
  const MakeHands make;
  const ItemOptions options;
  Lease lease;

  std::shared_ptr<Hands> hands;
  std::unique_ptr<SessionRunner> runner;
  std::function<void(const LeaseStart&)> on_beat;
  bool stopping = false;
  // Of the work, as far as it came before the lease ended.
  std::optional<Result<SessionRunner::End>> result;
  net::Event changed;

  // Asked to stop, by our side or the service, before there was anything to finish.
  bool left_early() const {
    return (stopping || lease.stopping()) && !runner && !(result && *result);
  }

  Impl(net::Loop& on, Service& with, Work of, Bearer key, MakeHands by, ItemOptions given,
       LeaseStart start)
      : loop(on),
        service(with),
        work(std::move(of)),
        bearer(bearer_of(work, std::move(key))),
        make(std::move(by)),
        options(given),
        lease(service, work.environment_id, work.id, bearer, options.lease, std::move(start)) {}
};

namespace {

using Impl = std::shared_ptr<Item::Impl>;
using End = SessionRunner::End;

// A service that is away for a moment does not cost the item: as long as the lease lasts there is
// time.
Task<Session> read_session(Impl impl) {
  for (int attempt = 0;; ++attempt) {
    auto session = co_await impl->service.session(impl->work.session_id, impl->bearer);
    if (session || session.error().code == Code::cancelled || fatal(session.error()))
      co_return session;
    if (attempt == 0)
      log::warn("item.session", {{"work", impl->work.id}, {"error", session.error().what}});
    CO_TRY_DO(co_await net::sleep(
        jittered(doubled(impl->options.first_retry, attempt, impl->options.longest_retry))));
  }
}

Task<End> serve_session(Impl impl) {
  CO_TRY(session, co_await read_session(impl));
  if (session.status == "terminated") co_return End::terminated;
  CO_TRY(hands, co_await impl->make(std::move(session)), "hands");
  impl->hands = std::move(hands);
  CO_TRY_DO(co_await impl->hands->open(), "hands");
  // No call runs before we know that the lease is ours.
  CO_TRY_DO(co_await impl->lease.settled());
  if (!impl->lease.held()) co_return Error{Code::cancelled, "the lease is over"};
  impl->runner =
      std::make_unique<SessionRunner>(impl->loop, impl->service, impl->hands, impl->work.session_id,
                                      impl->bearer, impl->options.session);
  impl->runner->set_send_window(impl->lease.ttl());
  // Said while there was nobody to tell.
  if (impl->stopping || impl->lease.stopping()) impl->runner->stop();
  co_return co_await impl->runner->run();
}

Task<void> work_task(Impl impl) {
  // An item of a kind we do not know has nothing for us to do: it is beaten once, and ended.
  if (impl->work.kind == "session")
    impl->result = co_await serve_session(impl);
  else if (auto settled = co_await impl->lease.settled(); settled)
    impl->result = End::terminated;
  impl->changed.notify();
  co_return ok;
}

Task<void> lease_task(Impl impl) {
  auto ended = co_await impl->lease.run();
  impl->changed.notify();
  co_return ended;
}

ItemEnd sum_up(Impl impl) {
  ItemEnd end;
  // Calls may wait in a history that nobody has read.
  end.open_calls = impl->runner ? impl->runner->open_calls() : 1;
  if (impl->lease.end() != Lease::End::none) {
    end.how = ItemEnd::How::released;
    end.why = str(impl->lease.end(), ": ", impl->lease.why());
  } else if (impl->lease.stopping()) {
    end.how = ItemEnd::How::released;
    end.why = str(Lease::End::stopping, ": the service asked for it");
  } else if (impl->left_early()) {
    end.how = ItemEnd::How::asked;
  } else if (!impl->result || !*impl->result) {
    end.how = ItemEnd::How::failed;
    end.why = impl->result ? impl->result->error().what : "it was cut off";
  } else {
    end.how = **impl->result == End::asked ? ItemEnd::How::asked : ItemEnd::How::done;
    end.why = name(**impl->result);
  }
  return end;
}

bool still_ours(Lease::End end) {
  switch (end) {
    case Lease::End::none:
    case Lease::End::stopping:
    case Lease::End::rejected: return true;
    case Lease::End::lost:
    case Lease::End::assumed_lost:
    case Lease::End::stalled: return false;
  }
  return false;
}

Hands::End end_of_hands(Impl impl) {
  if (!still_ours(impl->lease.end())) return Hands::End::lost;
  const bool clean = impl->lease.end() == Lease::End::none && impl->result && *impl->result;
  return clean ? Hands::End::clean : Hands::End::aborted;
}

Task<void> close_hands(Impl impl) {
  if (!impl->hands) co_return ok;
  auto hands = impl->hands;
  auto closed = co_await within(hands->close(end_of_hands(impl)), impl->options.teardown_limit);
  if (!closed && closed.error().code == Code::cancelled) co_return closed;
  if (!closed) log::warn("item.close", {{"work", impl->work.id}, {"error", closed.error().what}});
  co_return ok;
}

bool lacks_its_token(Impl impl) {
  return impl->options.taken_up && impl->work.token.empty() && impl->result && !*impl->result &&
         impl->result->error().code == Code::unauthenticated;
}

// The heartbeat goes on until everything is put away.
Task<ItemEnd> finish(Impl impl, ItemEnd end) {
  CO_TRY_DO(co_await close_hands(impl));
  const Lease::End lease = impl->lease.end();
  if (!still_ours(lease)) co_return end;
  const bool leave =
      end.how == ItemEnd::How::asked && end.open_calls > 0 && !impl->options.stop_with_open_calls;
  if (leave) {
    end.ours = true;
    co_return end;
  }
  if (lacks_its_token(impl) && !impl->options.stop_with_open_calls) co_return end;
  auto stopped = co_await impl->service.stop(impl->work.environment_id, impl->work.id,
                                             Service::Stop::by_force, impl->bearer);
  if (!stopped && stopped.error().code == Code::cancelled) co_return std::move(stopped.error());
  if (!stopped) log::error("item.stop", {{"work", impl->work.id}, {"error", stopped.error().what}});
  end.stopped = stopped.has_value();
  co_return end;
}

Task<ItemEnd> run_item(Impl impl) {
  if (!impl->bearer || impl->bearer->empty())
    co_return Error{
        Code::unauthenticated,
        str("work ", impl->work.id, ": no sessions token in its secret, and no environment key")};
  if (impl->work.kind == "session" && impl->work.session_id.empty())
    log::error("item.session", {{"work", impl->work.id}, {"error", "the item names no session"}});

  net::TaskGroup lease(impl->loop), session(impl->loop);
  lease.spawn("lease", lease_task(impl));
  session.spawn("session", work_task(impl));
  while (!impl->result && !impl->left_early() && impl->lease.end() == Lease::End::none) {
    auto waited = co_await impl->changed.wait(net::kForever);
    if (waited) continue;
    // Cut off: nothing can be said to anybody any more.
    (void)co_await session.finish(impl->options.session.cancel_limit);
    (void)co_await lease.finish(impl->options.session.cancel_limit);
    co_return waited.error();
  }
  auto ended = co_await session.finish(impl->options.session.cancel_limit);
  if (!ended) log::error("item.hangs", {{"work", impl->work.id}, {"error", ended.error().what}});
  auto end = co_await finish(impl, sum_up(impl));
  (void)co_await lease.finish(impl->options.session.cancel_limit);
  co_return end;
}

}  // namespace

std::string_view name(ItemEnd::How how) {
  switch (how) {
    case ItemEnd::How::done: return "done";
    case ItemEnd::How::asked: return "asked";
    case ItemEnd::How::released: return "released";
    case ItemEnd::How::failed: return "failed";
  }
  return "?";
}

Item::Item(net::Loop& loop, Service& service, Work work, Bearer key, MakeHands make,
           ItemOptions options, LeaseStart start)
    : impl_(std::make_shared<Impl>(loop, service, std::move(work), std::move(key), std::move(make),
                                   options, std::move(start))) {
  // The lease is the other's member: it cannot outlive what it calls.
  impl_->lease.stalled_for = [impl = impl_.get()] {
    return impl->runner ? impl->runner->stalled_for() : 0ms;
  };
  impl_->lease.on_stopping = [impl = impl_.get()] {
    if (impl->runner) impl->runner->stop();
    impl->changed.notify();
  };
  impl_->lease.on_beat = [impl = impl_.get()](const LeaseStart& now) {
    if (impl->runner) impl->runner->set_send_window(now.ttl);
    if (impl->on_beat) impl->on_beat(now);
  };
}
Item::~Item() = default;

Task<ItemEnd> Item::run() { return run_item(impl_); }

void Item::stop() {
  impl_->stopping = true;
  impl_->changed.notify();
  if (impl_->runner) impl_->runner->stop();
}

void Item::on_beat(std::function<void(const LeaseStart&)> tell) {
  impl_->on_beat = std::move(tell);
}

}  // namespace glovebox::runner
