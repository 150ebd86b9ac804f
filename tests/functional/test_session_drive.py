"""`glovebox session` over a bad connection: each event is shown once and in order, what a person says arrives once, Ctrl-C gets through;
its exit codes tell a turn that is done from one that failed, a session that has ended, and a service that is gone.
labels: privileged timeout=300
"""
import contextlib
import json
import signal
import subprocess
import threading

from between import Between, drop, lose, refuse
from fake_messages import FakeMessages, status, stream, text, tool
from harness import SYSTEM, Glovebox, run
from sessions import Brain, lawful, plain
from support import Checks, equal, eventually
from terminals import Terminal, environment


class Stage:
    def __init__(self, gb, fake, between):
        self.gb, self.fake, self.between, self.brain = gb, fake, between, Brain(gb.brain.url, gb.brain_key)
        self.variables = {"GLOVEBOX_BRAIN_URL": between.url, "ANTHROPIC_API_KEY": gb.brain_key, "NO_COLOR": "1"}
        self.asking = self.brain.agent("asking", tools=[{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}])["id"]

    def script(self, mark, *commands):
        self.fake.script(mark, [*[stream(tool("bash", {"command": command})) for command in commands], stream(text("All done."))])

    def start(self, *words):
        return subprocess.Popen([self.gb.program, "session", "--json", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env={**environment(self.gb), **self.variables})

    def newest(self, mark):
        """The session that was begun with these words, once it has a call."""
        def look():
            for one in self.brain.get("/v1/sessions?limit=3").expect(200).json["data"]:
                events = self.brain.events(one["id"])
                said = [plain(e["content"]) for e in events if e["type"] == "user.message"]
                if said and said[0] == mark and any(e["type"] == "agent.tool_use" for e in events):
                    return one["id"]
            return None
        return eventually(look, 40, f"the session of {mark}")

    def ended(self, child, code, limit=90):
        out, err = child.communicate(timeout=limit)
        equal(child.returncode, code, out[-2000:] + err)
        session, *events = [json.loads(line) for line in out.splitlines()]
        return session["id"], [e["id"] for e in events if "id" in e], err

    def history(self, session):
        return [e["id"] for e in lawful(self.brain.events(session))]

    def said(self, session, kind="user.message"):
        return len([e for e in self.brain.events(session) if e["type"] == kind])


@contextlib.contextmanager
def every(seconds, act):
    """While the block runs: again and again, beside it."""
    over = threading.Event()

    def loop():
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def broken(stage, check):
    between = stage.between
    with check("streams are cut five times a second: nothing is missed, nothing twice"):
        stage.script("case:cut", *[f"sleep 0.4; echo {n}" for n in range(6)])
        cuts = []
        with every(0.2, lambda: cuts.append(between.cut())):
            session, shown, _ = stage.ended(stage.start("case:cut"), 0)
        assert sum(cuts) >= 3, cuts
        equal(shown, stage.history(session))
        equal(stage.said(session), 1)
    with check("each second request is refused, lost, or its answer is: the same"):
        stage.script("case:lost", *[f"sleep 0.3; echo {n}" for n in range(4)])
        faults = [refuse(503), drop, lose, refuse(529), refuse(500)]
        rules = [between.on("*", "/events(/stream)?$", fault, when=lambda asked, n=n: asked.number % 10 == 2 * n + 1) for n, fault in enumerate(faults)]
        try:
            with every(0.3, between.cut):
                session, shown, _ = stage.ended(stage.start("case:lost"), 0)
        finally:
            for rule in rules:
                between.off(rule)
        equal(shown, stage.history(session))
        equal(stage.said(session), 1)
    with check("the answer to the prompt is lost, and so is its heir's: it was said once"):
        stage.script("case:once", "echo once")
        rule = between.on("POST", "/events$", lose, times=1)
        session, shown, _ = stage.ended(stage.start("case:once"), 0)
        equal((rule.used, stage.said(session)), (1, 1))
        equal(shown, stage.history(session))
    with check("the service is away for longer than --retry-for: exit 6, and the session goes on"):
        stage.script("case:away", "sleep 2; echo alone")
        child = stage.start("case:away", "--retry-for=1s")
        session = stage.newest("case:away")
        away = between.on("*", "", drop)
        between.cut()
        _, _, err = stage.ended(child, 6)
        between.off(away)
        assert session in err and "goes on" in err, err
        equal([plain(e["content"]) for e in stage.brain.settled(session) if e["type"] == "user.tool_result"], ["alone"])


def endings(stage, check):
    with check("a turn that fails is 1, a session that is ended or removed while it is followed 5, one that never was 3"):
        stage.fake.script("case:bad", [status(400, message="no such thing")])
        stage.ended(stage.start("case:bad"), 1)
        for how in ("archive", "remove"):
            stage.script(f"case:{how}", "sleep 30")
            child = stage.start(f"case:{how}")
            session = stage.newest(f"case:{how}")
            done = stage.gb.cli("sessions", "archive" if how == "archive" else "rm", session)
            equal(done.returncode, 0, done.stderr)
            stage.ended(child, 5)
        equal(stage.gb.cli("session", "--session=sesn_01nope", "x").returncode, 3)
    with check("Ctrl-C gets through although its way is cut: the turn is interrupted, once, exit 130"):
        stage.script("case:stop", "sleep 300")
        child = stage.start("case:stop")
        session = stage.newest("case:stop")
        stage.between.on("POST", "/events$", refuse(503), times=2)
        stage.between.cut()
        child.send_signal(signal.SIGINT)
        _, shown, _ = stage.ended(child, 130)
        equal(stage.said(session, "user.interrupt"), 1)
        equal(shown, stage.history(session))
    with check("a second Ctrl-C leaves, also when nothing gets through, and the session goes on"):
        stage.script("case:leave", "sleep 2; echo left alone")
        child = stage.start("case:leave")
        session = stage.newest("case:leave")
        away = stage.between.on("*", "", drop)
        stage.between.cut()
        child.send_signal(signal.SIGINT)
        assert "interrupting" in read_until(child.stderr, "interrupting"), "said what it does"
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
        equal(child.returncode, 130)
        stage.between.off(away)
        equal([plain(e["content"]) for e in stage.brain.settled(session) if e["type"] == "user.tool_result"], ["left alone"])


def read_until(pipe, word):
    seen = ""
    while word not in seen:
        line = pipe.readline()
        assert line, f"ended before {word!r}: {seen}"
        seen += line
    return seen


def asked(stage, check):
    """With a person at a terminal."""
    with check("a person is asked on a terminal: yes and no, although each answer is refused or lost at first"):
        stage.script("case:ask", "echo allowed", "echo never")
        rules = [stage.between.on("POST", "/events$", fault, times=1, when=lambda asked: b"confirmation" in asked.body) for fault in (refuse(503), lose)]
        person = Terminal(stage.gb, "session", f"--agent={stage.asking}", "case:ask", **stage.variables)
        person.until("allow bash  echo allowed ? [y/N] ")
        stage.between.cut()
        person.type("y\n")
        person.until("← allowed")
        person.until("allow bash  echo never ? [y/N] ")
        person.type("\n")
        person.until("All done.")
        equal(person.wait(), 0)
        equal([rule.used for rule in rules], [1, 1])
        session = stage.newest("case:ask")
        equal([e["result"] for e in stage.brain.events(session) if e["type"] == "user.tool_confirmation"], ["allow", "deny"])
    with check("while it is asked: somebody else answers, and the turn goes on here"):
        stage.script("case:else", "echo by another")
        person = Terminal(stage.gb, "session", f"--agent={stage.asking}", "case:else", **stage.variables)
        person.until("? [y/N] ")
        session = stage.newest("case:else")
        equal(stage.gb.cli("sessions", "confirm", session, stage.brain.open_calls(session)[0]["id"], "allow").returncode, 0)
        person.until("← by another")
        person.until("All done.")
        equal(person.wait(), 0)
    with check("Ctrl-C at the question ends the turn: nothing has run"):
        stage.script("case:no", "touch /workspace/ran")
        person = Terminal(stage.gb, "session", f"--agent={stage.asking}", "case:no", **stage.variables)
        person.until("? [y/N] ")
        person.type("\x03")
        person.until("interrupting")
        person.until("· done (end_turn)")
        equal(person.wait(), 130)
        equal([e for e in stage.brain.events(stage.newest("case:no")) if e["type"] == "user.tool_confirmation"], [])


def test(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key)) as gb, Between(gb.brain.url) as between:
        stage = Stage(gb, fake, between)
        broken(stage, check)
        endings(stage, check)
        asked(stage, check)
        check.done()


run(test)
