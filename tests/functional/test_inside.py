"""runner = "inside": the worker runs in the session's box against the uplink, and serves a session as the one outside does.
labels: privileged timeout=150
"""
import os

from fake_messages import FakeMessages, stream, text
from harness import Glovebox, run
from inside import INSIDE, SETTINGS, Place, bash
from sessions import Brain
from support import Checks, equal, eventually


def test(tmp):
    check = Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=INSIDE, model=(fake.url, fake.key), environment=SETTINGS, lease_ttl=10) as gb:
        everything(gb, Place(gb, fake), check)
        check.done()


def everything(gb, place, check):
    with check("several sessions at once, each with a worker and the calls in its own box"):
        sessions = [place.session("pwd; tr '\\0' ' ' < /proc/1/comm; cat /proc/[0-9]*/comm | sort | uniq -c | grep -c worker", "env | grep -c ANTHROPIC") for _ in range(3)]
        for session in sessions:
            got = place.ended(session)
            equal(got, ["/workspace\nglovebox-hand\n1", "0"], "answers")
    with check("the worker leaves when the session is idle, its grant ends, and the next message finds the same box"):
        session = place.session("echo first > kept", "cat kept", turns=[bash("cat kept; mount | grep -c /dev/glovebox"), stream(text("done"))])
        equal(place.ended(session)[-1], "first")
        eventually(lambda: place.logged("uplink.end") and [e for e in place.logged("uplink.end") if e["session"] == session], 30, "the grant's end")
        place.brain.say(session, "and then")
        equal(place.ended(session)[-1], "first\n1")
    with check("what is shown to a box of our programs is read-only, runs, and says nothing of the host"):
        box = place.box(session)
        seen = box.sh("ls /dev/glovebox; touch /dev/glovebox/x 2>&1; rm /dev/glovebox/glovebox-worker 2>&1; grep glovebox /proc/self/mountinfo")
        assert "glovebox-worker" in seen.stdout and seen.stdout.count("Read-only file system") == 2, seen
        assert gb.state not in seen.stdout and "/tmp/" not in seen.stdout, seen.stdout
    with check("an orchestrator that is told to stop lets the worker finish its call"):
        session = place.session("touch begun; sleep 3; echo finished", "echo next")
        place.runs(place.box(session), "/workspace/begun")
        place_of = gb.engine_path("inside")
        (version,) = os.listdir(place_of)
        gb.down()
        place_of = os.path.join(gb.state, "engine", "inside")
        for name, used in (("of-old", 1_000_000_000), ("of-now", None), (version, 1_000_000_000)):
            os.makedirs(os.path.join(place_of, name, "bin"), exist_ok=True)
            os.utime(os.path.join(place_of, name), used and (used, used))
        gb.start()
        place.brain = Brain(gb.brain.url, gb.brain_key)
        equal(place.ended(session), ["finished", "next"])
    with check("programs of before an upgrade go once no box can see them"):
        eventually(lambda: sorted(os.listdir(place_of)) == sorted([version, "of-now"]), 30, "what is old is gone, what a box sees is not")


run(test)
