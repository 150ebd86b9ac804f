"""What tests of the receiver in a box share: a stage with sessions of one call each, and the scenarios that both runners play."""
import hashlib
import json
import random
import re
import threading
import time

from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox
from sessions import Brain, lawful, plain
from support import Checks, api_of, equal, eventually

CALL = stream(tool("bash", {"command": "echo ran >> runs; wc -l < runs"}))

LONG = stream(tool("bash", {"command": "sleep 6; echo ran >> runs; wc -l < runs"}))


def box_name(session):
    """As the orchestrator makes it, where letters are folded."""
    name = "agent-" + re.sub("[^a-z0-9]", "-", session.lower())
    return name[:54].rstrip("-") + "-" + hashlib.sha256(session.encode()).hexdigest()[:8]


class Stage:
    def __init__(self, gb, fake, brain, mode):
        self.gb, self.brain, self.mode = gb, brain, mode
        self.agent, self.environment = brain.agent("box")["id"], brain.status()["default_environment_id"]
        fake.script("case:one", [CALL, stream(text("done"))])
        fake.script("case:long", [LONG, stream(text("done"))])

    def play(self, words="case:one"):
        session = self.brain.session(self.agent, self.environment)["id"]
        self.brain.say(session, words)
        return session

    def once(self, session, limit=90):
        results = [plain(e["content"]).strip() for e in lawful(self.brain.settled(session, limit)) if e["type"] == "user.tool_result"]
        equal(results, ["1"], session)

    def refused(self, session, words):
        """Its call is answered with an error that says this, and so does the session."""
        self.brain.say(session, "case:one")
        events = lawful(self.brain.settled(session, 60))
        (result,) = [e for e in events if e["type"] == "user.tool_result"]
        assert result["is_error"] and words in plain(result["content"]), result
        assert [e for e in events if e["type"] == "session.error"], [e["type"] for e in events]

    def box(self):
        return api_of(self.gb).box(self.mode.box)

    def receiver(self):
        return self.mode.receiver()


def stage_of(kind, tmp, play, more=None):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=kind.parts, model=(fake.url, fake.key), environment={**kind.settings, **(more or {})},
                                          lease_ttl=10) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        with kind(gb, brain, tmp, more) as mode:
            play(gb, Stage(gb, fake, brain, mode), mode, check)
        check.done()


def everything(gb, stage, mode, check):
    inside = mode.name == "webhook-sandbox"
    with check("the address is made of the name, and was said before anything else"):
        assert mode.url.startswith(f"https://5051-{mode.box}.glovebox.localhost:") and mode.url.endswith("/"), mode.url
        equal(mode.launched["sandbox"], mode.box)
    with check("asleep, a delivery wakes it, the work is claimed, the result posted; then it sleeps again"):
        mode.asleep()
        stage.once(stage.play())
        mode.asleep()
    with check("looking at it does not wake it"):
        words = {name: value for name, value in mode.environment.items() if name != "GLOVEBOX_ORCHESTRATOR_MODE"}  # the command says it
        status = gb.cli("orchestrate", "--mode=webhook-sandbox", "status", environment=words)
        shown = json.loads(status.stdout)
        equal((status.returncode, shown["status"], shown["runner"]), (0, "suspended", "inside" if inside else "outside"))
        assert "receiver.ready" in mode.orchestrate("logs").stdout
        equal(mode.status()["status"], "suspended")
    with check("there is no key in it, and no way out but what it needs"):
        box = stage.box()
        keys = [gb.secret(name) for name in ("environment", "engine", "brain", "uplink", "metrics")]
        seen = box.sh("cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; w=whse; grep -rhs ${w}c_ /proc/*/environ /tmp /workspace /root; true").stdout
        for key in [*keys, "whsec_", gb.state]:
            assert key not in seen
        said = box.sh("for path in drain v1/sessions grants/x hints doors/x metrics; do curl -s -o /dev/null -w '%{http_code} ' -X POST http://127.0.0.1:5052/$path; done; "
                      "curl -s -m 3 -o /dev/null https://1.1.1.1 && echo out")
        equal(said.stdout.strip(), ("404" if inside else "200") + " 404 404 404 404 404")
    if inside:
        with check("no orchestrator runs on the host, and it is kept awake for as long as there is something to do"):
            equal([gb.pid("orchestrator"), gb.pids("orchestrator-daemon"), gb.pids("orchestrate")], [0, [], []])
            mode.asleep()
            session = stage.play("case:long")
            stage.brain.open_calls(session)
            asleep = []
            while stage.brain.show(session)["status"] != "idle":
                asleep += [now for now in [mode.status()["status"]] if now != "running"]
                time.sleep(0.3)
            stage.once(session)
            equal(asleep, [], "looked at while a call of 6 s ran, with a timeout of 2 s")
            mode.asleep()
    if inside:
        with check("what a session asks for and cannot have its calls are answered with, and the session says so"):
            for key, value, words in (("session.image", "nowhere", "is not offered here"), ("glovebox.files", "a.txt=https://example.com/a.txt", "without network")):
                stage.refused(stage.brain.session(stage.agent, stage.environment, metadata={key: value})["id"], words)
        with check("a sandbox by the name of a session's that somebody else made is left alone, and the session says so"):
            session = stage.brain.session(stage.agent, stage.environment)["id"]
            alien = api_of(gb).create(name=box_name(session))
            stage.refused(session, "was not made from here")
            equal(api_of(gb).get(alien.id)["status"], "running")
            alien.delete()
    with check("run again it changes nothing, but takes a new secret without a restart"):
        before = stage.receiver()["pid"]
        mode.launch()
        equal(stage.receiver()["pid"], before)
        stage.once(stage.play())
    with check("killed, the receiver is started again; ended for good, a run of the command brings it back"):
        pid = stage.receiver()["pid"]
        stage.box().call("POST", f"/processes/{pid}/signal", {"signal": 9}).expect(200)
        eventually(lambda: (p := stage.receiver())["pid"] != pid and p["status"] == "running", 30, "another receiver")
        stage.once(stage.play())
        stage.box().call("DELETE", "/processes/receiver").expect(204)
        mode.launch()
        equal(stage.receiver()["status"], "running")
        stage.once(stage.play())
    with check("the uplink and the orchestrator start anew: the way is open again"):
        gb.kill_part("uplink")
        stage.once(stage.play())
        mode.kill()
        stage.once(stage.play())
    with check("60 deliveries, asleep and awake, everything killed on the way: each runs once"):
        storm(gb, stage, mode)
    with check("taken away, and made anew at the same address"):
        equal(mode.orchestrate("rm").returncode, 0)
        equal([one["url"] for one in stage.brain.get("/v1/organizations/webhooks?limit=100").json["data"]], [])
        equal(mode.orchestrate("rm").returncode, 0)
        equal(mode.launch()["url"], mode.url)
        stage.once(stage.play())


def storm(gb, stage, mode, count=60):
    seed = random.randrange(1 << 30)
    print("  seed", seed)
    rng, stop = random.Random(seed), threading.Event()

    def trouble():
        kinds = ["receiver", "orchestrator", "uplink", "engine"]
        for what in rng.sample(kinds if "orchestrator" in mode.parts else ["receiver", "uplink", "engine", "receiver"], 4):
            if stop.wait(rng.uniform(0.5, 2)):
                return
            if what == "receiver":
                stage.box().call("POST", "/processes/receiver/signal", {"signal": 9})
            elif what == "orchestrator":
                mode.kill()
            else:
                gb.kill_part(what)

    killer = threading.Thread(target=trouble)
    killer.start()
    sessions = []
    try:
        for n in range(count):
            sessions.append(stage.play())
            if n % 20 == 19:
                time.sleep(3)  # long enough to fall asleep
            else:
                time.sleep(rng.uniform(0, 0.15))
    finally:
        stop.set()
        killer.join()
    hook, past = mode.hook(), [one["event_id"] for one in mode.deliveries()]
    for event in rng.sample(past, 30):  # duplicates, in no order
        stage.brain.post(f"/glovebox/v1/webhooks/{hook}/deliveries/{event}/replay", {})
    for session in sessions:
        stage.once(session, 150)
