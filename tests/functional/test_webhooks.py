"""Webhooks of the brain: what happens is told, signed, at least once, by a brain that is killed and an endpoint that is ill.
labels: privileged timeout=180
"""
import collections
import http.server
import json
import os
import shutil
import subprocess
import threading

from harness import Glovebox, run, wait_for
from node_packages import HERE, PACKAGES, installed, node
from sessions import Brain
from support import Checks, equal, note

SDK = {name: PACKAGES[name] for name in ("@anthropic-ai/sdk", "node")}
HOOKS = "/v1/organizations/webhooks"


class Receiver:
    """An endpoint that keeps what it gets and answers what `answer` says."""

    def __init__(self):
        self.got, self.answer, self.lock = [], lambda event: 204, threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                delivery = {"headers": {k.lower(): v for k, v in self.headers.items()}, "body": body}
                with receiver.lock:
                    receiver.got.append(delivery)
                    status = receiver.answer(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def events(self):
        with self.lock:
            return [json.loads(one["body"]) for one in self.got]

    def types(self, session):
        return [event["data"]["type"] for event in self.events() if event["data"]["id"] == session]


def glovebox(tmp):
    return Glovebox(tmp, parts=["brain"], environment={"GLOVEBOX_BRAIN_WEBHOOKS_ALLOW_PRIVATE": "true"})


def deliveries(brain, hook):
    return brain.get(f"/glovebox/v1/webhooks/{hook}/deliveries?limit=1000").expect(200).json["data"]


def add(brain, url, events=("*",)):
    return brain.post(HOOKS, {"url": url, "enabled_events": list(events)}).expect(200).json


def test_told(tmp):
    """A session's life in the order it was lived, by the official SDK's own check of the signature."""
    folder = installed(SDK)
    with Receiver() as receiver, glovebox(tmp) as gb:
        check = Checks()
        brain = Brain(gb.brain.url, gb.brain_key)
        hook = add(brain, receiver.url)
        session = brain.session(brain.status()["default_agent_id"], brain.status()["default_environment_id"])["id"]
        brain.say(session, "hello")
        brain.settled(session)
        wait_for("the end of the turn", lambda: "session.status_idled" in receiver.types(session))
        with check("each change is told once"):
            equal(sorted(receiver.types(session)), ["session.created", "session.status_idled", "session.status_run_started"])
            equal({one["state"] for one in deliveries(brain, hook["id"])}, {"delivered"})
        with check("the official SDK unwraps what it gets, and refuses what was changed; it manages endpoints"):
            place = os.path.join(folder, f"hooks-{os.getpid()}")
            os.makedirs(place)
            try:
                for script in ("common.mjs", "webhooks.mjs"):
                    shutil.copy(os.path.join(HERE, "sdk", script), place)
                done = subprocess.run([node(folder), os.path.join(place, "webhooks.mjs")], input=json.dumps(receiver.got), text=True,
                                      capture_output=True, timeout=120,
                                      env={"PATH": "/usr/bin:/bin", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HOME": tmp,
                                           "ANTHROPIC_BASE_URL": gb.brain.url, "ANTHROPIC_API_KEY": gb.brain_key,
                                           "TEST_SECRET": hook["signing_secret"]})
            finally:
                shutil.rmtree(place)
            print(done.stdout, end="")
            equal(done.returncode, 0, done.stderr[-3000:])
        with check("no secret lies in the database"):
            for name in os.listdir(os.path.join(gb.state, "brain")):
                with open(os.path.join(gb.state, "brain", name), "rb") as file:
                    assert hook["signing_secret"].removeprefix("whsec_").encode() not in file.read(), name


def test_ill(tmp):
    """An endpoint that fails, comes back, is disabled and told again by hand."""
    with Receiver() as receiver, glovebox(tmp) as gb:
        check = Checks()
        brain = Brain(gb.brain.url, gb.brain_key)
        hook = add(brain, receiver.url, ["agent.created"])
        with check("a redirect disables at once; what happens then is never told"):
            receiver.answer = lambda event: 308
            brain.agent("first")
            wait_for("disabled", lambda: brain.get(f"{HOOKS}/{hook['id']}").expect(200).json["state"] == "disabled")
            brain.agent("second")
            equal(len(deliveries(brain, hook["id"])), 1)
        with check("enabled again it is told what happens from then on, and what it missed by hand"):
            receiver.answer = lambda event: 204
            brain.post(f"{HOOKS}/{hook['id']}", {"state": "enabled"}).expect(200)
            brain.agent("third")
            wait_for("the third", lambda: len(receiver.got) == 2)
            missed = deliveries(brain, hook["id"])[-1]
            brain.post(f"/glovebox/v1/webhooks/{hook['id']}/deliveries/{missed['event_id']}/replay", {}).expect(200)
            wait_for("the first", lambda: len(receiver.got) == 3)
            ids = [event["id"] for event in receiver.events()]
            equal(ids[0], ids[2])
        with check("the command line shows and does the same"):
            def cli(*words):
                return json.loads(subprocess.run([gb.program, *words, "--state", gb.state, "--json"], check=True, capture_output=True).stdout)
            equal([one["state"] for one in cli("webhook", "deliveries", hook["id"])], ["delivered", "delivered"])
            equal(cli("webhook", "ls")[0]["url"], receiver.url)
            equal(cli("webhook", "update", hook["id"], "--disable")["state"], "disabled")
            assert cli("webhook", "secret", hook["id"])["signing_secret"].startswith("whsec_")
            equal(cli("webhook", "rm", hook["id"])["type"], "webhook_endpoint_deleted")
        check.done()


def test_killed(tmp):
    """Fifty sessions while the brain is killed again and again: every start of a turn is told, and never under two ids."""
    with Receiver() as receiver, glovebox(tmp) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        add(brain, receiver.url, ["session.created"])
        agent, environment = brain.status()["default_agent_id"], brain.status()["default_environment_id"]
        made = []
        for round in range(5):
            made += [brain.session(agent, environment)["id"] for _ in range(10)]
            pid = gb.part("brain")["pid"]
            os.kill(pid, 9)
            wait_for("another brain", lambda: gb.part("brain").get("pid") not in (None, pid) and gb.brain_answers())
        told = lambda: collections.Counter(event["data"]["id"] for event in receiver.events())  # noqa: E731
        wait_for("all of them", lambda: set(made) <= set(told()), 90)
        ids = collections.defaultdict(set)
        for event in receiver.events():
            ids[event["data"]["id"]].add(event["id"])
        assert all(len(one) == 1 for one in ids.values()), ids
        note(f"{len(made)} told, {sum(told().values()) - len(made)} of them again")


run(test_told, test_ill, test_killed)
