"""A session whose box sleeps: within a burst it is woken unnoticed; a new burst has a clean box, or the same one where that was asked for.
labels: privileged timeout=200
"""
import json

from fake_messages import FakeMessages, stream, text, tool
from harness import SYSTEM, Glovebox, run
from life import state, suspend
from sessions import Brain, plain
from support import Checks, api_of, equal, eventually

LOOK = "cat /workspace/mark 2>/dev/null || { echo was here > /workspace/mark; echo nothing; }"


class Talk:
    """One session; each message makes the model look for the file that the first look left."""

    def __init__(self, gb, fake, name):
        self.gb, self.brain, self.mark = gb, Brain(gb.brain.url, gb.brain_key), "case:" + name
        fake.script(self.mark, [stream(tool("bash", {"command": LOOK})), stream(text("looked"))] * 4)
        agent = self.brain.agent(name)["id"]
        self.session = self.brain.session(agent, self.brain.status()["default_environment_id"])["id"]

    def look(self):
        self.brain.say(self.session, f"{self.mark} look")
        self.brain.settled(self.session, 60)
        results = [e for e in self.brain.events(self.session) if e["type"] == "user.tool_result"]
        return plain(results[-1]["content"]).strip()

    def box(self):
        (record,) = [r for r in api_of(self.gb).alive() if (r.get("name") or "").startswith("agent-")]
        return record["id"]


def clean(gb):
    for record in api_of(gb).alive():
        api_of(gb).delete(record["id"])


def settings(**more):
    return {"GLOVEBOX_ORCHESTRATOR_" + name.upper(): value for name, value in more.items()}


def let_go(gb):
    """The orchestrator has done with all sessions."""
    done = gb.cli("work", "ls", "--json")
    return done.returncode == 0 and all(w["state"] == "stopped" for w in json.loads(done.stdout))


def test_within_a_burst(tmp):
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key)) as gb:
        check, talk = Checks(), Talk(gb, fake, "held")
        with check("the box of a session that is held is suspended between two turns: the next call wakes it, with all its files"):
            equal(talk.look(), "nothing")
            box = talk.box()
            suspend(api_of(gb), gb, box)
            equal(talk.look(), "was here")
            equal((talk.box(), state(api_of(gb), box)), (box, ("running", "active")))
        clean(gb)
        check.done()


def new_burst(tmp, resume):
    """The orchestrator has let go of the session before the box is suspended."""
    more = settings(max_idle_secs="1", resume_suspended_sessions=str(resume).lower())
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=more) as gb:
        talk = Talk(gb, fake, "burst")
        equal(talk.look(), "nothing")
        box = talk.box()
        eventually(lambda: let_go(gb), 20, "the session is let go", 0.2)
        suspend(api_of(gb), gb, box)
        found = talk.look()
        if resume:
            equal((found, talk.box()), ("was here", box))
        else:
            equal(found, "nothing")
            assert talk.box() != box
            equal(api_of(gb).get(box)["status"], "terminated")
        clean(gb)


def test_clean(tmp):
    """Without RESUME_SUSPENDED_SESSIONS a suspended box is replaced by a clean one."""
    new_burst(tmp, False)


def test_resumed(tmp):
    """With it the next burst finds its box as it was."""
    new_burst(tmp, True)


run(test_within_a_burst, test_clean, test_resumed)
