#include "wire/ingress.h"

#include <boost/json.hpp>

#include "wire/decode.h"

namespace glovebox::wire {

namespace json = boost::json;

namespace {

constexpr std::string_view kWords[] = {"look", "hold", "release", "dial", "token"};
constexpr std::size_t kName = 256, kToken = 4096, kText = 4096, kItems = 1024;
constexpr std::int64_t kLast = INT64_MAX;

Code code_of(std::string_view word) {
  for (int i = 0; i <= static_cast<int>(Code::internal); ++i)
    if (word == name(static_cast<Code>(i))) return static_cast<Code>(i);
  return Code::internal;
}

json::object port_json(const IngressPort& port) {
  json::object object{{"port", port.port}, {"open", port.open}};
  if (port.verify.empty()) return object;
  json::array secrets;
  for (const Secret& secret : port.secrets) secrets.emplace_back(secret.reveal());
  object["verify"] = port.verify;
  object["secrets"] = std::move(secrets);
  return object;
}

Result<IngressPort> take_port(const json::value& value) {
  TRY(members, Members::of(value, "port."));
  IngressPort port;
  TRY(number, members.integer("port", 1, 65535));
  TRY(open, members.flag("open"));
  TRY(verify, members.text("verify", kName));
  TRY(secrets, members.texts("secrets", kItems, kText));
  if (!number) return members.wrong("port", "must be there");
  port.port = static_cast<int>(*number);
  port.open = open.value_or(false);
  port.verify = verify.value_or("");
  for (const std::string& secret : secrets.value_or(std::vector<std::string>()))
    port.secrets.emplace_back(secret);
  return port;
}

Result<IngressBox> take_box(Members& members) {
  IngressBox box;
  TRY(id, members.text("id", kName));
  TRY(name, members.text("name", kName));
  TRY(generation, members.integer("generation", 0, kLast));
  box.id = id.value_or("");
  box.name = name.value_or("");
  box.generation = static_cast<std::uint64_t>(generation.value_or(0));
  if (box.id.empty()) return members.wrong("id", "must be there");
  if (const json::value* ports = members.take("ports"); ports && ports->is_array())
    for (const json::value& one : ports->get_array()) {
      TRY(port, take_port(one));
      box.ports.push_back(std::move(port));
    }
  return box;
}

// Not as a Result<Error>: that one would be a failure.
Result<void> take_error(Members& members, std::optional<Error>& into) {
  TRY(code, members.text("code", kName));
  TRY(what, members.text("what", kText));
  TRY(tag, members.text("tag", kName));
  into = Error{code_of(code.value_or("")), what.value_or(""), tag.value_or("")};
  return ok;
}

}  // namespace

const IngressPort* IngressBox::port(int number) const {
  for (const IngressPort& one : ports)
    if (one.port == number) return &one;
  return nullptr;
}

std::string encode(const IngressAsk& ask) {
  json::object object{{"number", ask.number},
                      {"what", kWords[static_cast<std::size_t>(ask.what)]},
                      {"box", ask.box}};
  if (ask.generation) object["generation"] = ask.generation;
  if (ask.port) object["port"] = ask.port;
  if (!ask.token.empty()) object["token"] = ask.token;
  if (!ask.may_wake) object["may_wake"] = false;
  return json::serialize(object);
}

Result<IngressAsk> decode_ingress_ask(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  TRY(number, members.integer("number", 0, kLast));
  TRY(what, members.text("what", kName));
  TRY(box, members.text("box", kName));
  TRY(generation, members.integer("generation", 0, kLast));
  TRY(port, members.integer("port", 1, 65535));
  TRY(token, members.text("token", kToken));
  TRY(may_wake, members.flag("may_wake"));
  IngressAsk ask{.number = static_cast<std::uint64_t>(number.value_or(0)),
                 .box = box.value_or(""),
                 .generation = static_cast<std::uint64_t>(generation.value_or(0)),
                 .port = static_cast<int>(port.value_or(0)),
                 .token = token.value_or(""),
                 .may_wake = may_wake.value_or(true)};
  for (std::size_t i = 0; i < std::size(kWords); ++i)
    if (what == kWords[i]) {
      ask.what = static_cast<IngressAsk::What>(i);
      return ask;
    }
  return members.wrong("what", "is no question");
}

std::string encode(const IngressSay& say) {
  json::object object{{"number", say.number}};
  if (say.error)
    object["error"] = json::object{
        {"code", name(say.error->code)}, {"what", say.error->what}, {"tag", say.error->tag}};
  if (say.box) {
    json::array ports;
    for (const IngressPort& port : say.box->ports) ports.push_back(port_json(port));
    object["box"] = json::object{{"id", say.box->id},
                                 {"name", say.box->name},
                                 {"generation", say.box->generation},
                                 {"ports", std::move(ports)}};
  }
  if (say.woke) object["woke"] = true;
  if (say.expires_ms) object["expires_ms"] = say.expires_ms;
  if (!say.changed.empty()) object["changed"] = say.changed;
  if (!say.key_hashes.empty())
    object["key_hashes"] = json::array(say.key_hashes.begin(), say.key_hashes.end());
  return json::serialize(object);
}

Result<IngressSay> decode_ingress_say(std::string_view text) {
  TRY(value, parse_json(text));
  TRY(members, Members::of(value));
  IngressSay say;
  TRY(number, members.integer("number", 0, kLast));
  TRY(error, members.object("error"));
  TRY(box, members.object("box"));
  TRY(woke, members.flag("woke"));
  TRY(expires, members.integer("expires_ms", 0, kLast));
  TRY(changed, members.text("changed", kName));
  TRY(hashes, members.texts("key_hashes", kItems, kName));
  say.number = static_cast<std::uint64_t>(number.value_or(0));
  if (error) TRY_DO(take_error(*error, say.error));
  if (box) {
    TRY(taken, take_box(*box));
    say.box = std::move(taken);
  }
  say.woke = woke.value_or(false);
  say.expires_ms = expires.value_or(0);
  say.changed = changed.value_or("");
  say.key_hashes = hashes.value_or(std::vector<std::string>());
  return say;
}

}  // namespace glovebox::wire
