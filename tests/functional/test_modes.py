"""Every way to run the orchestrator (poll, webhook, webhook-sandbox by itself and for one outside) plays the same scenarios to the same end: nothing is lost, nothing is done twice.
labels: privileged timeout=550
"""
from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run
from modes import MODES
from sessions import Brain, lawful, plain
from support import Checks, equal, eventually


def bash(command):
    return stream(tool("bash", {"command": command}))


class Stage:
    """One system with an orchestrator of that mode, and sessions on it."""

    def __init__(self, gb, fake, brain, mode):
        self.gb, self.fake, self.brain, self.mode, self.cases = gb, fake, brain, mode, 0
        self.environment, self.agent = brain.status()["default_environment_id"], brain.agent("modes")["id"]

    def script(self, *turns):
        self.cases += 1
        self.fake.script(f"case:m{self.cases}", list(turns))
        return f"case:m{self.cases}"

    def session(self, *turns):
        words = self.script(*turns)
        made = self.brain.session(self.agent, self.environment)["id"]
        self.brain.say(made, words)
        return made

    def answers(self, session, limit=60):
        events = lawful(self.brain.settled(session, limit))
        asked = [e["id"] for e in events if e["type"] == "agent.tool_use"]
        answered = [e["tool_use_id"] for e in events if e["type"] == "user.tool_result"]
        equal(sorted(answered), sorted(asked), "each call is answered once")
        return [plain(e["content"]).strip() for e in events if e["type"] == "user.tool_result"]

    def held(self, session):
        """Its item is a worker's."""
        eventually(lambda: [w for w in self.work() if w["data"]["id"] == session and w["state"] == "active"], 40, "the item is held")

    def work(self):
        return self.brain.get(f"/v1/environments/{self.environment}/work?limit=100").expect(200).json["data"]

    def over(self):
        """Nothing is held any more."""
        eventually(lambda: all(w["state"] == "stopped" for w in self.work()), 60, "every item is stopped")


DONE = stream(text("done"))


def several(stage):
    """Six sessions at once: each has its own box, and its calls come in order."""
    sessions = [stage.session(bash(f"echo {n} >> log; hostname > name; cat log"), bash("echo more >> log; wc -l < log"), DONE) for n in range(6)]
    for n, session in enumerate(sessions):
        equal(stage.answers(session), [str(n), "2"])
    stage.over()


def again(stage):
    """A session that is talked to again after its worker has left finds its files."""
    session = stage.session(bash("echo first > kept; echo ok"), DONE, bash("cat kept"), DONE)
    equal(stage.answers(session), ["ok"])
    stage.over()
    stage.brain.say(session, "and then?")
    equal(stage.answers(session), ["ok", "first"])
    stage.over()


def at_once_again(stage):
    """A message that comes while the last turn's item is being put away is not forgotten."""
    session = stage.session(bash("echo 0"), *(turn for n in range(1, 6) for turn in (DONE, bash(f"echo {n}"))), DONE)
    for n in range(6):
        equal(stage.answers(session), [str(i) for i in range(n + 1)])
        if n < 5:
            if n % 2:
                stage.over()
            stage.brain.say(session, "on")
    stage.over()


def killed(stage):
    """Killed in the middle of a call and started again: the call runs once and is answered once."""
    session = stage.session(bash("echo ran >> runs; sleep 4; cat runs"), bash("wc -l < runs"), DONE)
    stage.held(session)
    stage.brain.open_calls(session)
    stage.mode.kill()
    queued = stage.session(bash("echo waited"), DONE)  # while nobody is there
    stage.mode.start()
    equal(stage.answers(session), ["ran", "1"])
    equal(stage.answers(queued), ["waited"])
    stage.over()


def drained(stage):
    """Told to stop, it lets the running call finish; what comes next waits for the next one."""
    session = stage.session(bash("sleep 2; echo finished"), bash("echo next"), DONE)
    stage.held(session)
    stage.brain.open_calls(session)
    stage.mode.stop()
    queued = stage.session(bash("echo waited"), DONE)
    stage.mode.start()
    equal(stage.answers(session), ["finished", "next"])
    equal(stage.answers(queued), ["waited"])
    stage.over()


SUITE = (several, again, at_once_again, killed, drained)


def suite(name, tmp):
    kind, check = MODES[name], Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=kind.parts, model=(fake.url, fake.key), environment=kind.settings, lease_ttl=10) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        with kind(gb, brain, tmp) as mode:
            stage = Stage(gb, fake, brain, mode)
            for scenario in SUITE:
                with check(f"{name}: {scenario.__doc__}"):
                    scenario(stage)
            with check(f"{name}: no key was said"):
                for key in (gb.secret("environment"), gb.secret("engine"), gb.brain_key, mode.environment.get("ANTHROPIC_WEBHOOK_SIGNING_KEY") or gb.brain_key):
                    assert key not in mode.log()
        check.done()


def test_poll(tmp):
    suite("poll", tmp)


def test_webhook(tmp):
    suite("webhook", tmp)


def test_webhook_sandbox(tmp):
    suite("webhook-sandbox", tmp)


def test_webhook_sandbox_outside(tmp):
    suite("webhook-sandbox-outside", tmp)


run(test_poll, test_webhook, test_webhook_sandbox, test_webhook_sandbox_outside)
