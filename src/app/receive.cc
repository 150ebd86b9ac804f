// `glovebox-worker receive`: takes webhooks inside of a box, and passes each on as a hint or, as a
// steward, takes the work itself. It has no key and needs none: the ingress has checked who
// delivers before the box was woken, and what it may say is decided where it says it.
#include "app/commands.h"
#include "app/steward.h"
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

// Settings as a part finds them in its environment; none of them is a secret.
Result<Config> config_of(const cli::Args& args) {
  cli::Environment environment;
  for (const std::string& setting : args.options("--set")) {
    const std::size_t equals = setting.find('=');
    if (equals == setting.npos) return cli::usage_error(str("--set: '", setting, "' has no value"));
    environment[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  return config_of_environment(environment);
}

Result<int> receive(cli::Context& context, cli::Args& args, cli::Output&) {
  TRY_DO(args.done());
  TRY(listen, net::Address::parse(args.option("--listen").value_or("")), "--listen");
  TRY(to, http::Url::parse(args.option("--to").value_or("")), "--to");
  block_signals();
  log::set_level(log::Level::info);
  log::set_part("receiver");
  net::Loop loop;
  if (!args.flag("--steward")) {
    TRY_DO(net::run(loop, serve(&loop, std::move(listen), std::move(to))));
    return 0;
  }
  TRY(config, config_of(args));
  log::set_level(config.log);
  const std::string directory = context.variable("HOME").value_or("/tmp") + "/.glovebox-steward";
  TRY_DO(net::run(
      loop, run_steward(&loop, std::move(listen), std::move(to), std::move(config), directory)));
  return 0;
}

}  // namespace

const cli::Command kReceive{
    .name = "receive",
    .usage = "receive --listen=ADDRESS --to=URL [--steward] [--set=K=V]...",
    .help =
        "Takes webhooks inside of a sandbox, for an orchestrator outside or as a "
        "steward.",
    .run = receive,
    .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app
