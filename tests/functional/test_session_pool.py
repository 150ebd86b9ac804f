"""Sessions' boxes are claimed from a pool that follows the queue between its limits, with their outputs and their name; without one they are made, and a pool that is not wanted any more goes.
labels: privileged timeout=240
"""
from fake_messages import FakeMessages, stream, text, tool
from harness import SYSTEM, Glovebox, run
from pools import containers, warm
from sessions import user
from support import Checks, api_of, equal, eventually
from test_session_policy import Talk, let_go

SETTINGS = {"GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "1", "GLOVEBOX_ORCHESTRATOR_POOL_MIN": "1", "GLOVEBOX_ORCHESTRATOR_POOL_MAX": "3",
            "GLOVEBOX_ORCHESTRATOR_MAX_SESSIONS": "1"}


def pool_of(api):
    return [p["pool_id"] if "pool_id" in p else p["id"] for p in api.call("GET", "/sandbox-pools").expect(200).json["pools"]]


def test_pool(tmp):
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=SETTINGS) as gb:
        check, api = Checks(), api_of(gb)
        (pool,) = eventually(lambda: pool_of(api), 60, "a pool")
        ready = eventually(lambda: warm(api, pool), 60, "a warm one")
        talk = Talk(gb, fake, "claims")
        with check("a session has a warm one, with its name and its outputs"):
            equal(talk.says("echo kept > /mnt/session/outputs/x; pwd; grep -c . /proc/net/route"), "/workspace\n1")
            claimed = [c["sandbox_id"] for c in containers(api, pool) if c["sandbox_id"]]
            equal(claimed, ready, "whose box it is")
            assert api.call("GET", f"/sandboxes/{claimed[0]}").json["name"].startswith("agent-sesn-"), claimed
        with check("one that asks for more than volumes has one of its own, like the others"):
            eventually(lambda: let_go(gb), 60, "the session is let go", 0.2)
            Talk(gb, fake, "own", {"session.box": "keep", "session.isolation": "namespace"}).says("true")
            equal(len([c for c in containers(api, pool) if c["sandbox_id"]]), 1)
            one, other = api.alive()
            for member in ("resources", "timeout_secs", "network", "isolation"):
                equal(one.get(member), other.get(member), member)
        with check("it grows with what waits, to its most"):
            eventually(lambda: let_go(gb), 60, "the session is let go", 0.2)
            fake.script("case:waits", [stream(tool("bash", {"command": "while [ ! -e /tmp/go ]; do sleep 0.1; done"})), stream(text("over"))])
            fake.script("case:queued", [stream(tool("bash", {"command": "true"})), stream(text("over"))])
            brain, agent = talk.brain, talk.brain.agent("queue")["id"]
            environment = brain.status()["default_environment_id"]
            first = brain.session(agent, environment, initial_events=[user("case:waits")])["id"]
            brain.open_calls(first, limit=30)
            waiting = [brain.session(agent, environment, initial_events=[user("case:queued")])["id"] for _ in range(5)]
            eventually(lambda: len(warm(api, pool)) == 3, 60, "three warm ones")
            brain.send(first, {"type": "user.interrupt"})
            for session in waiting:
                brain.settled(session, 90)
        with check("outputs outlive a claimed box as any other"):
            api.delete_all()
            equal(talk.says("cat /mnt/session/outputs/x"), "kept")
        with check("one that is not wanted any more goes when the boxes of it have gone"):
            gb.down()
            gb.environment["GLOVEBOX_ORCHESTRATOR_POOL_MIN"] = gb.environment["GLOVEBOX_ORCHESTRATOR_POOL_MAX"] = "0"
            gb.start()
            eventually(lambda: not pool_of(api_of(gb)) or not warm(api_of(gb), pool), 60, "nothing is made ahead")
            api = api_of(gb)
            api.delete_all()
            gb.down()
            gb.start()
            eventually(lambda: not pool_of(api_of(gb)), 60, "the pool is gone")
        check.done()


if __name__ == "__main__":
    run(test_pool)
