"""runner = "inside": the worker runs in the session's box against the uplink, and serves a session as the one outside does.
labels: privileged timeout=200
"""
from fake_messages import FakeMessages, stream, text, tool
from harness import SYSTEM, Glovebox, run
from sessions import Brain, lawful, plain
from support import Checks, api_of, equal, eventually

INSIDE = (*SYSTEM, "uplink")


def bash(command):
    return stream(tool("bash", {"command": command}))


def answers(brain, session):
    return [plain(e["content"]) for e in brain.events(session) if e["type"] == "user.tool_result"]


def test(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=INSIDE, model=(fake.url, fake.key), environment={
            "GLOVEBOX_ORCHESTRATOR_RUNNER": "inside", "GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "3"}) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        place, agent = brain.status()["default_environment_id"], brain.agent("inside")["id"]
        fake.script("case:plain", [stream(tool("write", {"file_path": "note", "content": "kept"})), bash("cat note; pwd; echo $PPID; cat /proc/*/comm"),
                                   stream(text("done"))])
        with check("a session is served to its end by a worker in its box"):
            session = brain.session(agent, place)["id"]
            brain.say(session, "case:plain")
            lawful(brain.settled(session, 60))
            got = answers(brain, session)
            assert got[1].startswith("kept\n/workspace\n"), got
            assert "glovebox-worker" in got[1].split("\n"), got
        check.done()


run(test)
