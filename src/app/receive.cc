// `glovebox-worker receive`: takes webhooks inside of a box and passes each on as a hint. It has no
// key and needs none: the ingress has checked who delivers before the box was woken, and what it
// may say is decided where it says it.
#include "app/commands.h"
#include "app/worker.h"
#include "base/log.h"
#include "http/client.h"
#include "net/deadline.h"
#include "net/task.h"
#include "orchestrator/receiver.h"

namespace glovebox::app {

namespace {

// A sender waits some seconds for an answer, and the way out is opened anew within as many. To say
// it twice does no harm.
constexpr Millis kPassOn = 5s, kPause = 100ms;

Task<void> pass_on(http::Client* to) {
  net::Deadline deadline(kPassOn);
  for (;;) {
    auto answer = co_await to->call("POST", "/drain");
    if (answer && answer->status == 200) co_return ok;
    if (!answer && answer.error().code == Code::cancelled) co_return std::move(answer.error());
    if (deadline.left() <= 0ms)
      co_return answer ? Error{Code::unavailable, str("the uplink answered ", answer->status)}
                       : std::move(answer.error());
    CO_TRY_DO(co_await net::sleep(kPause));
  }
}

Task<void> serve(net::Loop* loop, net::Address listen, http::Url to) {
  http::ClientOptions patience;
  patience.connect_deadline = patience.head_deadline = kPassOn;
  http::Client uplink(*loop, std::move(to), {}, std::move(patience));
  orchestrator::Receiver receiver(std::nullopt, [&uplink] { return pass_on(&uplink); });
  http::Server server(*loop, receiver.routes(), orchestrator::Receiver::server_options());
  CO_TRY(address, server.listen(listen));
  log::info("receiver.ready", {{"address", address.text()}});
  CO_TRY_DO(co_await net::next_signal({SIGTERM, SIGINT}));
  co_return co_await server.drain(5s);
}

Result<int> receive(cli::Context&, cli::Args& args, cli::Output&) {
  TRY_DO(args.done());
  TRY(listen, net::Address::parse(args.option("--listen").value_or("")), "--listen");
  TRY(to, http::Url::parse(args.option("--to").value_or("")), "--to");
  block_signals();
  log::set_level(log::Level::info);
  log::set_part("receiver");
  net::Loop loop;
  TRY_DO(net::run(loop, serve(&loop, std::move(listen), std::move(to))));
  return 0;
}

}  // namespace

const cli::Command kReceive{.name = "receive",
                            .usage = "receive --listen=ADDRESS --to=URL",
                            .help = "Takes webhooks inside of a box, for an orchestrator outside.",
                            .run = receive,
                            .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app
