"""Cases of the agent loop: a session each, whose conversation names the case to the endpoint of the test."""
import concurrent.futures
import time

from fake_messages import FakeMessages, proper
from harness import Glovebox
from sessions import TOOLSET, Brain, lawful, plain, result
from support import Checks, equal


class Stage:
    """One case: a session of its own, whose conversation names it to the endpoint."""

    def __init__(self, brain, fake, environment, name):
        self.brain, self.fake, self.environment, self.name = brain, fake, environment, name
        self.mark = "case:" + name
        self.id = None

    def start(self, *turns, tools=(TOOLSET,), say="please", script=None, **agent):
        self.fake.script(self.mark, script or list(turns))
        made = self.brain.agent("agent of " + self.name, tools=tools, **agent)
        self.id = self.brain.session(made["id"], self.environment)["id"]
        self.brain.say(self.id, f"{self.mark} {say}")
        return self

    def end(self, limit=40):
        return self.brain.settled(self.id, limit)

    def open(self, number=1):
        return self.brain.open_calls(self.id, number)

    def answer(self, call, what="done", **more):
        return self.brain.send(self.id, result(call, what, **more))

    def asked(self, number=None):
        found = self.fake.of(self.mark)
        if number is not None:
            equal(len(found), number, "requests the endpoint got")
        return found

    def stop_reason(self):
        return self.brain.last(self.id)["stop_reason"]["type"]

    def messages(self):
        return [plain(e["content"]) for e in self.brain.events(self.id) if e["type"] == "agent.message"]

    def finish(self, said=None, requests=None, reason="end_turn"):
        """The end of most cases: the turn is over, the last words are these, the endpoint was asked so often."""
        events = self.end()
        if reason:
            equal(self.stop_reason(), reason, "stop reason")
        if said is not None:
            equal(self.messages()[-1:], [said], "the last message")
        self.asked(requests)
        return events


def play(brain, fake, environment, name, body):
    stage = Stage(brain, fake, environment, name)
    began = time.monotonic()
    body(stage)
    if stage.id:
        lawful(stage.brain.events(stage.id))
    for asked in stage.asked():
        proper(asked, fake.key)
    unexpected = [a for a in fake.unexpected if a.case == stage.mark]
    assert not unexpected, f"{len(unexpected)} requests nobody wanted"
    return time.monotonic() - began


def play_all(tmp, cases):
    """They run side by side, as sessions do."""
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        equal(brain.status()["model"]["kind"], "messages")
        environment = brain.environment("loop")
        print(f"  {len(cases)} cases")
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            running = {name: pool.submit(play, brain, fake, environment["id"], name, body) for name, body in cases.items()}
            for name, future in running.items():
                with check(name.replace("_", " ")):
                    future.result()
        with check("the brain never fell"):
            assert "killed by" not in gb.log(), gb.log()[-2000:]
        with check("the model's key is in no log"):
            assert fake.key not in gb.log()
        check.done()
