"""The webhook receiver on the host: only signed deliveries count, any number of them make no work twice, a lost one is made up for.
labels: privileged timeout=180
"""
import concurrent.futures
import json
import random
from socket import create_connection

from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run
from modes import HOOKS, Webhook, free_port, sign
from sessions import Brain, lawful, plain
from support import Checks, equal, rss_kb


def event(kind="session.status_run_started", session="sesn_x"):
    return json.dumps({"type": "event", "id": "wevt_x", "created_at": "2026-01-01T00:00:00Z", "data": {"type": kind, "id": session}}).encode()


def test_deliveries(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=Webhook.parts, model=(fake.url, fake.key), environment=Webhook.settings) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        agent, environment = brain.agent("hooks")["id"], brain.status()["default_environment_id"]
        fake.script("case:one", [stream(tool("bash", {"command": "echo ran >> runs; wc -l < runs"})), stream(text("done"))])
        with Webhook(gb, brain, tmp) as mode:
            secret = mode.hook["signing_secret"]

            def deliver(id, body=event(), headers=None, key=secret, age=0):
                return mode.door.post("/", body, headers={"Content-Type": "application/json", **(sign(key, id, body, age) | (headers or {}))})

            def play():
                session = brain.session(agent, environment)["id"]
                brain.say(session, "case:one")
                return session

            def once(session):
                results = [plain(e["content"]).strip() for e in lawful(brain.settled(session, 60)) if e["type"] == "user.tool_result"]
                equal(results, ["1"], session)

            with check("what is not signed, signed by another, changed, too old or from the future is refused in one way, and asks nothing"):
                polls = len(mode.logged("webhook.taken"))
                other = "whsec_" + "A" * 43 + "="
                answers = [mode.door.post("/", event()), deliver("f1", key=other), deliver("f2", age=400), deliver("f3", age=-400),
                           deliver("f4", headers={"webhook-id": "f5"}), deliver("f6", headers={"webhook-signature": "v1,AAAA"}),
                           deliver("f7", headers={"webhook-timestamp": "1e9"}),
                           mode.door.post("/", event() + b" ", headers=sign(secret, "f8", event()))]
                equal({answer.status for answer in answers}, {401})
                equal(len({json.dumps({k: v for k, v in answer.json.items() if "request" not in k}) for answer in answers}), 1, "one answer for all")
                equal(len(mode.logged("webhook.taken")), polls)
            with check("healthz says that it answers and nothing else; nothing else is there; a large body is not read"):
                equal(mode.door.get("/healthz").json, {"ok": True})
                equal([mode.door.get(path).status for path in ("/", "/metrics", "/v1/sessions", "/status")], [405, 404, 404, 404])
                equal(mode.door.post("/", b"x" * 100_000).status, 413)
            with check("60 deliveries at once, each three times and in any order, and strangers' among them: 8 sessions run once each"):
                sessions = [play() for _ in range(8)]
                ids = [f"evt_{n % 60}" for n in range(180)]
                random.Random(7).shuffle(ids)
                with concurrent.futures.ThreadPoolExecutor(16) as pool:
                    real = [pool.submit(deliver, id) for id in ids]
                    false = [pool.submit(deliver, id, event(), None, other) for id in ids[:60]]
                    said = [one.result().json["status"] for one in real]
                    equal({one.result().status for one in false}, {401})
                equal((said.count("queued"), said.count("duplicate")), (60, 120))
                for session in sessions:
                    once(session)
            with check("an event of another kind is taken and means nothing"):
                equal(deliver("k1", event("session.status_idled")).json, {"status": "ignored"})
            with check("the endpoint that is told of no more (disabled at the sender): the safety net finds the work"):
                brain.post(f"{HOOKS}/{mode.hook['id']}", {"state": "disabled"}).expect(200)
                mode.stop()
                mode.environment["WEBHOOK_DRAIN_SECONDS"] = "1"
                mode.start()
                once(play())
            with check("slow and silent peers do not keep others out, and its memory stays"):
                before = rss_kb(mode.process.pid)
                held = [create_connection(("127.0.0.1", mode.port)) for _ in range(100)]
                for one in held[:50]:
                    one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nx")
                equal(deliver("s1").status, 200)
                for one in held:
                    one.close()
                assert rss_kb(mode.process.pid) - before < 20_000, (before, rss_kb(mode.process.pid))
        check.done()


def test_refusals(tmp):
    """What cannot work is refused at the start, with a word on what to do."""
    check = Checks()
    with Glovebox(tmp, parts=("engine", "brain"), environment=Webhook.settings) as gb:
        good = Brain(gb.brain.url, gb.brain_key).post(HOOKS, {"url": "http://127.0.0.1:9/", "enabled_events": ["*"]}).expect(200).json["signing_secret"]

        def start(*words, **environment):
            return gb.cli("orchestrate", "--mode=webhook", *words, environment=environment)

        for key in ("", "   ", "whsec_", "nonsense", "whsec_QUJD"):
            with check(f"a signing key that is none: '{key}'"):
                done = start(ANTHROPIC_WEBHOOK_SIGNING_KEY=key)
                assert done.returncode != 0 and "ANTHROPIC_WEBHOOK_SIGNING_KEY" in done.stderr, done
        with check("a port that is taken, a port that is none, an option of the other mode"):
            taken = int(gb.url.rsplit(":", 1)[1])
            done = start(f"--listen=127.0.0.1:{taken}", ANTHROPIC_WEBHOOK_SIGNING_KEY=good)
            assert done.returncode == 1 and "take webhooks at" in done.stderr, done
            done = start(ANTHROPIC_WEBHOOK_SIGNING_KEY=good, PORT="many")
            assert done.returncode == 1 and "PORT" in done.stderr, done
            done = gb.cli("orchestrate", "--listen=127.0.0.1:0")
            assert done.returncode == 2 and "--listen" in done.stderr, done
            done = gb.cli("orchestrate", "--mode=web")
            assert done.returncode == 2 and "webhook" in done.stderr, done
        with check("a second one of the same environment"):
            first = Webhook(gb, Brain(gb.brain.url, gb.brain_key), tmp)
            with first:
                done = start(f"--listen=127.0.0.1:{free_port()}", ANTHROPIC_WEBHOOK_SIGNING_KEY=good)
                assert done.returncode == 1 and "another orchestrator serves" in done.stderr, done
            assert first.hook["signing_secret"] not in first.log()
    check.done()


run(test_deliveries, test_refusals)
