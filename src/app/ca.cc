// What clients of the ingress on other machines need to trust.
#include <boost/json.hpp>
#include <ctime>

#include "app/commands.h"
#include "gateway/authority.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

std::string date(std::int64_t seconds) {
  std::time_t time = seconds;
  std::tm parts{};
  char text[32];
  ::gmtime_r(&time, &parts);
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &parts)};
}

Result<int> run(cli::Context& context, cli::Args& args, cli::Output& out) {
  bool fingerprint = args.flag("--fingerprint");
  TRY_DO(args.done());
  TRY(state, context.state_dir());
  const std::string path = state + "/ingress/ca.pem";
  auto pem = sys::read_file(path, 64 * 1024);
  if (!pem && pem.error().code == Code::not_found)
    return Error{Code::not_found, str(path,
                                      " is not there: the ingress makes it at its first "
                                      "start (glovebox up)")};
  if (!pem) return std::move(pem.error());
  TRY(facts, gateway::facts_of(*pem), path);
  if (context.json_asked)
    out.object({{"certificate", *pem},
                {"path", path},
                {"name", facts.subject},
                {"sha256", facts.sha256},
                {"valid_until", date(facts.not_after)}});
  else
    out.text(fingerprint ? facts.sha256 + "\n" : *pem);
  return 0;
}

}  // namespace

const cli::Command kCa{
    .name = "ca",
    .usage = "ca [--fingerprint]",
    .help =
        "Print the certificate of this installation's local authority.\n"
        "\n"
        "The ingress shows a certificate signed by it where the operator gave none. Programs of\n"
        "this machine trust it by themselves; others are told:\n"
        "\n"
        "  glovebox ca > ca.pem\n"
        "  SSL_CERT_FILE=ca.pem        most programs, the glovebox of another machine among them\n"
        "  NODE_EXTRA_CA_CERTS=ca.pem  Node\n"
        "  curl --cacert ca.pem https://api.glovebox.localhost:9443/healthz\n"
        "\n"
        "It can sign for names of the ingress's domain only, whoever gets hold of its key.\n"
        "--fingerprint prints its SHA-256, to be compared over another channel.",
    .run = run};

}  // namespace glovebox::app
