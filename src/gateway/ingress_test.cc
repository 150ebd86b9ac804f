#include "gateway/ingress.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>

#include "base/temp_dir.h"
#include "http/test_server.h"
#include "net/descriptor.h"
#include "net/socket.h"
#include "sys/packet.h"
#include "sys/unix_socket.h"

namespace glovebox::gateway {
namespace {

using http::Request;
using http::Response;
using wire::IngressAsk;
using wire::IngressSay;

constexpr const char* kId = "5gm9wex8dm6ko1ed441ym";
constexpr const char* kKeyHash =
    "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";  // of "key"

struct TempDir {
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string path = make_temp_dir("glovebox-ingress");
};

// An engine with one sandbox named web, whose exposed ports all lead to one server.
struct FakeEngine {
  FakeEngine(net::Loop& on, std::string at) : loop(on), path(std::move(at)), tasks(on) {}

  void come() {
    auto fd = sys::connect_unix(path, SOCK_SEQPACKET);
    ASSERT_TRUE(fd);
    line = *net::Descriptor::open(loop.executor(), std::move(*fd));
    say({.key_hashes = {kKeyHash}});
    tasks.spawn("fake engine", listen(line));
  }
  void go() {
    line->close();
    holds = 0;
  }

  static Task<void> listen_to(FakeEngine* self, std::shared_ptr<net::Descriptor> line) {
    for (;;) {
      CO_TRY_DO(co_await net::Descriptor::wait(line, net::Descriptor::For::reading, net::kForever));
      auto packet = sys::receive_packet(line->get(), wire::kIngressMessage, 0);
      if (!packet && packet.error().code == Code::exhausted) continue;
      if (!packet || packet->bytes.empty()) co_return ok;
      auto ask = wire::decode_ingress_ask(packet->bytes);
      EXPECT_TRUE(ask);
      self->asked.push_back(ask->what);
      if (ask->what == IngressAsk::What::release) {
        --self->holds;
        continue;
      }
      self->tasks.spawn("fake answer", answer(self, std::move(*ask)));
    }
  }
  Task<void> listen(std::shared_ptr<net::Descriptor> on) { return listen_to(this, std::move(on)); }

  static Task<void> answer(FakeEngine* self, IngressAsk ask) {
    IngressSay said{.number = ask.number};
    Fd fd;
    switch (ask.what) {
      case IngressAsk::What::look:
        if (ask.box == "web" || ask.box == kId)
          said.box = self->box;
        else
          said.error = Error{Code::not_found, "no such sandbox", "SANDBOX_NOT_FOUND"};
        break;
      case IngressAsk::What::hold:
        if (self->asleep && !ask.may_wake) {
          said.error = Error{Code::exhausted, "no", "TOO_MANY_WAKES"};
          break;
        }
        if (self->asleep) CO_TRY_DO(co_await net::sleep(self->wake_time));
        said.woke = std::exchange(self->asleep, false);
        self->wakes += said.woke;
        ++self->holds;
        break;
      case IngressAsk::What::dial: {
        net::SockAddr to;
        auto* in = reinterpret_cast<sockaddr_in*>(&to.storage);
        in->sin_family = AF_INET;
        in->sin_port = htons(static_cast<std::uint16_t>(self->server.port));
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to.size = sizeof *in;
        Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        auto made = co_await net::connect_descriptor(std::move(socket), to, 5s);
        if (!made) {
          said.error = Error{Code::unavailable, "nobody listens", "CONNECTION_REFUSED"};
          break;
        }
        ++self->dials;
        fd = (*made)->release();
        break;
      }
      case IngressAsk::What::token:
        if (ask.token == "gb1.good")
          said.expires_ms = INT64_MAX;
        else
          said.error = Error{Code::unauthenticated, "bad token", "INVALID_TOKEN"};
        break;
      case IngressAsk::What::release: break;
    }
    self->say(said, std::move(fd));
    co_return ok;
  }

  void say(const IngressSay& what, Fd fd = {}) {
    std::vector<int> fds;
    if (fd) fds.push_back(fd.get());
    (void)sys::send_packet(line->get(), wire::encode(what), fds, MSG_DONTWAIT);
  }
  std::size_t times(IngressAsk::What what) const {
    return static_cast<std::size_t>(std::ranges::count(asked, what));
  }

  net::Loop& loop;
  std::string path;
  net::Address server;
  wire::IngressBox box{
      .id = kId,
      .name = "web",
      .generation = 2,
      .ports = {
          {.port = 80, .open = true}, {.port = 81}, {.port = 82, .verify = "standard-webhooks"}}};
  std::shared_ptr<net::Descriptor> line;
  std::vector<IngressAsk::What> asked;
  int holds = 0, dials = 0, wakes = 0;
  bool asleep = false;
  Millis wake_time{30};
  net::TaskGroup tasks;
};

Task<Response> echo(Request request) {
  std::string text;
  for (const auto& [name, value] : request.headers.all()) text += str(name, '=', value, '\n');
  co_return http::text(200, str(request.method, ' ', request.path, '?', request.query, '\n', text,
                                "body=", request.body));
}

struct World {
  explicit World(std::function<void(IngressOptions&)> change = [](IngressOptions&) {})
      : inside(loop,
               {{"GET", "/{rest*}", http::Body::none, echo},
                {"POST", "/{rest*}", http::Body::whole, echo, 8 << 20}},
               {}),
        engine(loop, dir.path + "/engine.sock") {
    engine.server = *inside.listen({.host = "127.0.0.1"});
    IngressOptions options;
    options.link_path = engine.path;
    options.limits.hold_on = 20ms;
    options.limits.engine = 500ms;
    change(options);
    ingress = std::move(*Ingress::open(loop, std::move(options)));
    address = *ingress->listen({.host = "127.0.0.1"});
  }
  void run(Task<void> test) {
    auto ran = net::run(loop, then_close(this, std::move(test)));
    EXPECT_TRUE(ran) << ran.error().what;
  }
  static Task<void> then_close(World* world, Task<void> test) {
    auto tested = co_await std::move(test);
    (void)co_await world->ingress->close(1s);
    (void)co_await world->engine.tasks.finish(1s);
    (void)co_await world->inside.drain(1s);
    co_return tested;
  }
  // One request on a connection of its own.
  Task<std::string> ask(std::string host, std::string headers = "", std::string method = "GET",
                        std::string body = "") {
    std::string text = str(method, " /x HTTP/1.1\r\nHost: ", host, "\r\nConnection: close\r\n");
    if (!body.empty()) text += str("Content-Length: ", body.size(), "\r\n");
    return http::say(address, text + headers + "\r\n" + body);
  }

  TempDir dir;
  net::Loop loop;
  http::Server inside;
  FakeEngine engine;
  std::unique_ptr<Ingress> ingress;
  net::Address address;
};

Task<void> until(std::function<bool()> condition) {
  for (int i = 0; i < 1000 && !condition(); ++i) CO_TRY_DO(co_await net::sleep(10ms));
  EXPECT_TRUE(condition());
  co_return ok;
}

TEST(Ingress, RequestsGoToTheBoxAndTheHoldIsLetGo) {
  World world;
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      for (int i = 0; i < 3; ++i) {
        CO_TRY(answer, co_await world->ask("80-web.glovebox.localhost", "Secret: s\r\n"));
        EXPECT_EQ(http::status(answer), 200) << answer;
        EXPECT_TRUE(answer.contains("Secret=s")) << answer;
        EXPECT_TRUE(answer.contains("X-Forwarded-For=127.0.0.1")) << answer;
      }
      EXPECT_EQ(world->engine.dials, 1);
      EXPECT_EQ(world->engine.times(IngressAsk::What::look), 1u);
      co_return co_await until([world] { return world->engine.holds == 0; });
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, AccessComesBeforeWaking) {
  World world;
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      world->engine.asleep = true;
      CO_TRY(none, co_await world->ask("81-web.glovebox.localhost"));
      EXPECT_EQ(http::status(none), 401);
      EXPECT_TRUE(none.contains("WWW-Authenticate: Bearer"));
      CO_TRY(bad, co_await world->ask("81-web.local", "Authorization: Bearer gb1.bad\r\n"));
      EXPECT_EQ(http::status(bad), 401);
      CO_TRY(key, co_await world->ask("80-web.local", "Authorization: Bearer key\r\n"));
      EXPECT_EQ(http::status(key), 403) << key;
      CO_TRY(hidden, co_await world->ask("90-web.local", "Authorization: Bearer gb1.good\r\n"));
      EXPECT_EQ(http::status(hidden), 404);
      CO_TRY(signed_port, co_await world->ask("82-web.local", "", "POST", "x"));
      EXPECT_EQ(http::status(signed_port), 503) << "nobody checks signatures";
      EXPECT_EQ(world->engine.times(IngressAsk::What::hold), 0u);
      CO_TRY(good, co_await world->ask("81-web.local", "Authorization: Bearer gb1.good\r\n"));
      EXPECT_EQ(http::status(good), 200) << good;
      EXPECT_FALSE(good.contains("gb1")) << good;
      EXPECT_EQ(world->engine.wakes, 1);
      co_return ok;
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, WhatIsNoTokenNeverGoesToTheEngine) {
  World world;
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      for (const std::string& token :
           {std::string(5000, 'a'), std::string("gb1.\xff"), std::string("gb1.a b")}) {
        CO_TRY(bad, co_await world->ask("81-web.local", str("X-Glovebox-Token: ", token, "\r\n")));
        EXPECT_EQ(http::status(bad), 401) << bad;
      }
      CO_TRY(two, co_await world->ask("81-web.local",
                                      "X-Api-Key: a\r\nx-api-key: b\r\n"
                                      "Authorization: Bearer gb1.good\r\n"));
      EXPECT_EQ(http::status(two), 400) << two;
      EXPECT_EQ(world->engine.times(IngressAsk::What::token), 0u);
      CO_TRY(good, co_await world->ask("81-web.local", "Authorization: Bearer gb1.good\r\n"));
      EXPECT_EQ(http::status(good), 200) << good;
      co_return ok;
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, SignedPortsSeeTheWholeBodyBeforeAnythingWakes) {
  std::string seen;
  int given_back = 0;
  World world([&](IngressOptions& options) {
    options.verify = [&](const wire::IngressBox& box, const wire::IngressPort& port,
                         const http::Headers& headers,
                         std::string_view body) -> Result<std::function<void()>> {
      seen = str(box.id, ' ', port.port, ' ', headers.get("Webhook-Signature").value_or(""), ' ',
                 body);
      if (body != "good") return Error{Code::unauthenticated, "no"};
      return std::function<void()>([&] { ++given_back; });
    };
  });
  struct Test {
    static Task<void> run(World* world, std::string* seen, int* given_back) {
      world->engine.come();
      const std::string signature =
          "Webhook-Id: 1\r\nWebhook-Timestamp: 1\r\nWebhook-Signature: s\r\n";
      CO_TRY(none, co_await world->ask("82-web.local", "Webhook-Id: 1\r\n", "POST", "good"));
      EXPECT_EQ(http::status(none), 401) << none;
      EXPECT_EQ(*seen, "") << "without a signature no body is read";
      CO_TRY(bad, co_await world->ask("82-web.local", signature, "POST", "bad"));
      EXPECT_EQ(http::status(bad), 401);
      EXPECT_EQ(*seen, str(kId, " 82 s bad"));
      EXPECT_EQ(world->engine.times(IngressAsk::What::hold), 0u);
      CO_TRY(good, co_await world->ask("82-web.local", signature, "POST", "good"));
      EXPECT_EQ(http::status(good), 200);
      EXPECT_TRUE(good.ends_with("body=good")) << good;
      EXPECT_EQ(*given_back, 0);
      world->engine.server.port = 1;  // nobody there
      world->engine.say({.changed = kId});
      CO_TRY(lost, co_await world->ask("82-web.local", signature, "POST", "good"));
      EXPECT_EQ(http::status(lost), 502);
      EXPECT_EQ(*given_back, 1);
      CO_TRY(large,
             co_await world->ask("82-web.local", signature, "POST", std::string(2 << 20, 'x')));
      EXPECT_EQ(http::status(large), 413);
      co_return ok;
    }
  };
  world.run(Test::run(&world, &seen, &given_back));
}

TEST(Ingress, ABoxThatIsForgottenWhileItsRequestIsLookedAtIsLetGo) {
  World world([](IngressOptions& options) {
    options.verify = [](const wire::IngressBox&, const wire::IngressPort&, const http::Headers&,
                        std::string_view) -> Result<std::function<void()>> {
      return std::function<void()>();
    };
    options.limits.forget = 20ms;
  });
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      CO_TRY(slow, co_await http::dial(world->address));
      CO_TRY_DO(
          co_await slow->write_all("POST / HTTP/1.1\r\nHost: 82-web.local\r\nWebhook-Id: 1\r\n"
                                   "Webhook-Timestamp: 1\r\nWebhook-Signature: s\r\n"
                                   "Content-Length: 5\r\n\r\nhalf",
                                   1s));
      // It is asked for again when it is not known any more.
      for (int i = 0; i < 100 && world->engine.times(IngressAsk::What::look) < 2; ++i) {
        CO_TRY_DO(co_await net::sleep(50ms));
        CO_TRY(hidden, co_await world->ask("90-web.local"));
        EXPECT_EQ(http::status(hidden), 404);
      }
      EXPECT_EQ(world->engine.times(IngressAsk::What::look), 2u);
      EXPECT_EQ(world->engine.holds, 0);
      CO_TRY_DO(co_await slow->write_all("!", 1s));
      CO_TRY(answer, co_await http::read_until(*slow, "body=half!"));
      EXPECT_EQ(http::status(answer), 200) << answer;
      EXPECT_EQ(world->engine.times(IngressAsk::What::hold), 1u);
      co_return co_await until([world] { return world->engine.holds == 0; });
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, OneWakeServesAllWhoWait) {
  World world;
  struct Test {
    static Task<void> one(World* world, int* answered) {
      CO_TRY(answer, co_await world->ask("80-web.local"));
      *answered += http::status(answer) == 200;
      co_return ok;
    }
    static Task<void> run(World* world) {
      world->engine.come();
      world->engine.asleep = true;
      int answered = 0;
      net::TaskGroup clients(world->loop);
      for (int i = 0; i < 20; ++i) clients.spawn("client", one(world, &answered));
      CO_TRY_DO(co_await until([&] { return answered == 20; }));
      EXPECT_EQ(world->engine.times(IngressAsk::What::hold), 1u);
      EXPECT_EQ(world->engine.wakes, 1);
      co_return co_await clients.finish(1s);
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, WhoWasJustWokenMayTakeAMomentToListen) {
  World world;
  struct Test {
    static Task<void> listen_later(World* world, int port) {
      CO_TRY_DO(co_await net::sleep(120ms));
      world->engine.server.port = port;
      co_return ok;
    }
    static Task<void> run(World* world) {
      world->engine.come();
      world->engine.asleep = true;
      net::TaskGroup later(world->loop);
      later.spawn("later", listen_later(world, std::exchange(world->engine.server.port, 1)));
      CO_TRY(answer, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(answer), 200) << answer;
      co_return co_await later.finish(1s);
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, WhoWakesTooMuchWakesNoMore) {
  World world([](IngressOptions& options) {
    options.limits.wakes_per_second = 0.0001;
    options.limits.wake_burst = 1;
  });
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      world->engine.asleep = true;
      CO_TRY(first, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(first), 200);
      CO_TRY_DO(co_await until([world] { return world->engine.holds == 0; }));
      CO_TRY(awake, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(awake), 200) << "it is awake: nobody has to wake it";
      CO_TRY_DO(co_await until([world] { return world->engine.holds == 0; }));
      world->engine.asleep = true;
      CO_TRY(second, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(second), 429) << second;
      EXPECT_TRUE(second.contains("Retry-After"));
      co_return ok;
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, WhatTheEngineSaysHasChangedIsAskedAgain) {
  World world;
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      CO_TRY(first, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(first), 200);
      world->engine.box.ports.clear();
      world->engine.say({.changed = kId});
      CO_TRY(second, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(second), 404) << second;
      co_return co_await until([world] { return world->engine.holds == 0; });
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, ANewEngineIsAskedAgain) {
  World world;
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      CO_TRY(first, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(first), 200);
      world->engine.go();
      world->engine.box.ports.clear();  // and nobody was there to tell us
      world->engine.come();
      int status = 0;
      for (int i = 0; i < 500 && status != 404; ++i) {
        CO_TRY(again, co_await world->ask("80-web.local"));
        status = http::status(again);
        CO_TRY_DO(co_await net::sleep(10ms));
      }
      EXPECT_EQ(status, 404);
      co_return ok;
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, AnEngineThatIsAwayIsWaitedForAWhile) {
  World world;
  struct Test {
    static Task<void> come_later(World* world) {
      CO_TRY_DO(co_await net::sleep(50ms));
      world->engine.come();
      co_return ok;
    }
    static Task<void> run(World* world) {
      CO_TRY(none, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(none), 503) << none;
      net::TaskGroup later(world->loop);
      later.spawn("later", come_later(world));
      CO_TRY(there, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(there), 200) << there;
      world->engine.go();
      later.spawn("later", come_later(world));
      CO_TRY(again, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(again), 200) << again;
      co_return co_await later.finish(1s);
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, PartsHaveTheirLabels) {
  World world([](IngressOptions&) {});
  World* self = &world;
  struct Test {
    static Task<void> run(World* world) {
      CO_TRY(own, co_await world->ask("glovebox.localhost"));
      EXPECT_EQ(http::status(own), 404);
      CO_TRY(health,
             co_await http::say(world->address,
                                "GET /healthz HTTP/1.0\r\nHost: glovebox.localhost\r\n\r\n"));
      EXPECT_EQ(http::body(health), "ok\n");
      CO_TRY(foreign, co_await world->ask("evil.example"));
      EXPECT_EQ(http::status(foreign), 404);
      co_return ok;
    }
  };
  world.run(Test::run(self));
}

TEST(Ingress, SlowClientsAreNotWaitedFor) {
  World world([](IngressOptions& options) {
    options.limits.head_time = 100ms;
    options.limits.body_pause = 100ms;
    options.limits.idle = 100ms;
    options.limits.body_rate = 1'000'000;
  });
  struct Test {
    static Task<void> trickle(std::shared_ptr<net::Stream> stream) {
      for (;;) {
        CO_TRY_DO(co_await net::sleep(20ms));
        CO_TRY_DO(co_await stream->write_all("x", 1s));
      }
    }
    static Task<void> run(World* world) {
      world->engine.come();
      CO_TRY(head, co_await http::say(world->address, "GET / HTTP/1.1\r\nHost: a"));
      EXPECT_EQ(http::status(head), 408) << head;
      CO_TRY(body, co_await http::say(world->address,
                                      "POST / HTTP/1.1\r\nHost: 80-web.local\r\n"
                                      "Content-Length: 10\r\n\r\nhalf"));
      EXPECT_EQ(http::status(body), 408) << body;
      CO_TRY(silent, co_await http::say(world->address, ""));
      EXPECT_EQ(silent, "");
      CO_TRY(stream, co_await http::dial(world->address));
      std::shared_ptr<net::Stream> shared = std::move(stream);
      CO_TRY_DO(co_await shared->write_all(
          "POST / HTTP/1.1\r\nHost: 80-web.local\r\nContent-Length: 100000\r\n\r\n", 1s));
      net::TaskGroup writer(world->loop);
      writer.spawn("trickle", trickle(shared));
      CO_TRY(late, co_await http::read_until(*shared, "REQUEST_TIMEOUT"));
      EXPECT_EQ(http::status(late), 408);
      co_return co_await writer.finish(1s);
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, WhoStillSendsIsNotLate) {
  World world([](IngressOptions& options) { options.limits.answer = 100ms; });
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      CO_TRY(stream, co_await http::dial(world->address));
      CO_TRY_DO(co_await stream->write_all(
          "POST / HTTP/1.1\r\nHost: 80-web.local\r\nContent-Length: 5\r\n\r\n", 1s));
      for (int i = 0; i < 5; ++i) {
        CO_TRY_DO(co_await net::sleep(80ms));
        CO_TRY_DO(co_await stream->write_all("x", 1s));
      }
      CO_TRY(answer, co_await http::read_until(*stream, "body=xxxxx"));
      EXPECT_EQ(http::status(answer), 200) << answer;
      co_return ok;
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, DeliveriesHaveSoMuchTimeAndSoManyPlaces) {
  World world([](IngressOptions& options) {
    options.verify = [](const wire::IngressBox&, const wire::IngressPort&, const http::Headers&,
                        std::string_view) -> Result<std::function<void()>> {
      return std::function<void()>();
    };
    options.limits.bodies_of_source = 1;
    options.limits.verified_time = 300ms;
  });
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      const std::string signature =
          "Webhook-Id: 1\r\nWebhook-Timestamp: 1\r\nWebhook-Signature: s\r\n";
      CO_TRY(slow, co_await http::dial(world->address));
      CO_TRY_DO(co_await slow->write_all(
          str("POST / HTTP/1.1\r\nHost: 82-web.local\r\nExpect: 100-continue\r\n", signature,
              "Content-Length: 5\r\n\r\n"),
          1s));
      CO_TRY_DO(co_await http::read_until(*slow, "100 Continue\r\n\r\n"));  // it has the place
      CO_TRY(second, co_await world->ask("82-web.local", signature, "POST", "x"));
      EXPECT_EQ(http::status(second), 429) << second;
      CO_TRY(late, co_await http::read_until(*slow, "REQUEST_TIMEOUT"));
      EXPECT_EQ(http::status(late), 408) << late;
      CO_TRY(third, co_await world->ask("82-web.local", signature, "POST", "x"));
      EXPECT_EQ(http::status(third), 200) << third;
      co_return ok;
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, ABoxHasSoManyConnectionsAlsoForThoseWhoComeAtOnce) {
  World world([](IngressOptions& options) { options.limits.box_connections = 1; });
  struct Test {
    static Task<void> one(World* world, int* ended, int* answered) {
      auto answer = co_await world->ask("80-web.local");
      *answered += answer && http::status(*answer) == 200;
      ++*ended;
      co_return ok;
    }
    static Task<void> run(World* world) {
      world->engine.come();
      int ended = 0, answered = 0;
      net::TaskGroup clients(world->loop);
      for (int i = 0; i < 20; ++i) clients.spawn("client", one(world, &ended, &answered));
      CO_TRY_DO(co_await until([&] { return ended == 20; }));
      EXPECT_GE(answered, 1);
      EXPECT_EQ(world->engine.times(IngressAsk::What::dial), 1u);
      co_return co_await clients.finish(1s);
    }
  };
  world.run(Test::run(&world));
}

TEST(Ingress, OneSourceHasSoManyConnections) {
  World world([](IngressOptions& options) { options.limits.connections_of_source = 2; });
  struct Test {
    static Task<void> run(World* world) {
      world->engine.come();
      CO_TRY(one, co_await http::dial(world->address));
      CO_TRY(two, co_await http::dial(world->address));
      CO_TRY(three, co_await world->ask("80-web.local"));
      EXPECT_EQ(http::status(three), 503);
      one->close();
      bool in = false;
      for (int i = 0; i < 500 && !in; ++i) {
        CO_TRY_DO(co_await net::sleep(5ms));
        auto answer = co_await world->ask("80-web.local");
        in = answer && http::status(*answer) == 200;
      }
      EXPECT_TRUE(in);
      co_return ok;
    }
  };
  world.run(Test::run(&world));
}

}  // namespace
}  // namespace glovebox::gateway
