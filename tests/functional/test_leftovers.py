"""Boxes of sessions that are over, old or too many go by themselves, outputs only where the operator says so, and `sandbox prune` removes what nobody uses; what is in use, or not a session's, stays.
labels: privileged timeout=240
"""
import json
import time

from fake_messages import FakeMessages
from harness import SYSTEM, Glovebox, run
from life import suspend
from support import Checks, api_of, equal, eventually
from test_session_policy import Talk, boxes, let_go

QUICK = {"GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "1", "GLOVEBOX_ORCHESTRATOR_CLEAN_SECS": "1"}


def names(gb):
    return sorted(r["name"] for r in boxes(gb).values() if r.get("name"))


def volumes(gb):
    return {v["name"] for v in json.loads(gb.cli("volume", "ls", "--json").stdout)}


def at_rest(gb, fake, *names):
    """Sessions that have worked, one after the other, each with its box and nobody who holds it."""
    talks = []
    for name in names:
        before, talk = set(boxes(gb)), Talk(gb, fake, name)
        talk.says("echo out > /mnt/session/outputs/report; echo here > /workspace/mark")
        (talk.box,) = set(boxes(gb)) - before
        talks.append(talk)
    eventually(lambda: let_go(gb), 60, "the sessions are let go", 0.2)
    return talks


def gone(gb, *talks):
    eventually(lambda: not {t.box for t in talks} & set(boxes(gb)), 60, "the boxes are gone", 0.2)


def test_sessions_that_are_over(tmp):
    """Deleted or archived: the box goes, asleep or not, and what people were to have of it stays."""
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=QUICK) as gb:
        check, api = Checks(), api_of(gb)
        mine = gb.create(name="agent-mine")  # as sessions' are named, and nobody's but a person's
        kept, deleted, archived, asleep = at_rest(gb, fake, "kept", "deleted", "archived", "asleep")
        suspend(api, gb, asleep.box)
        with check("their boxes go"):
            deleted.brain.delete(f"/v1/sessions/{deleted.session}").expect(200)
            archived.brain.post(f"/v1/sessions/{archived.session}/archive").expect(200)
            asleep.brain.delete(f"/v1/sessions/{asleep.session}").expect(200)
            gone(gb, deleted, archived, asleep)
        with check("the others stay, and what they were given"):
            equal(set(boxes(gb)), {kept.box, mine.id})
            equal(kept.says("cat /workspace/mark"), "here")
            assert {f"outputs-{t.session}" for t in (kept, deleted, archived, asleep)} <= volumes(gb), volumes(gb)
        check.done()


def test_age_and_number(tmp):
    """The longest unused go first; outputs follow where that is wanted."""
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment={**QUICK, "GLOVEBOX_ORCHESTRATOR_KEEP_BOXES": "2"}) as gb:
        check = Checks()
        with check("of three the oldest goes"):
            first, second, third = at_rest(gb, fake, "first", "second", "third")
            gone(gb, first)
            equal(set(boxes(gb)), {second.box, third.box})
            assert f"outputs-{first.session}" in volumes(gb)
        with check("a session that comes back has a new one, and its outputs"):
            equal(first.says("cat /mnt/session/outputs/report; ls /workspace | wc -l"), "out\n0")
        with check("by age, with the outputs"):
            gb.down()
            gb.environment |= {"GLOVEBOX_ORCHESTRATOR_KEEP_BOXES_SECS": "2", "GLOVEBOX_ORCHESTRATOR_KEEP_OUTPUTS_SECS": "2"}
            gb.start()
            eventually(lambda: not boxes(gb), 60, "the boxes are gone", 0.2)
            # Of the second one, whose box went while outputs stayed for ever, nothing is known any more.
            eventually(lambda: volumes(gb) == {f"outputs-{second.session}"}, 60, "the outputs are gone", 0.2)
        check.done()


def test_killed_while_cleaning(tmp):
    """The orchestrator dies when the box has gone and it has not noted that."""
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=QUICK) as gb:
        one, other = at_rest(gb, fake, "one", "other")
        gb.down()
        gb.environment["GLOVEBOX_FAULT"] = "orchestrator.after_clean:kill"
        gb.start()
        one.brain = other.brain = Talk(gb, fake, "new").brain
        one.brain.delete(f"/v1/sessions/{one.session}").expect(200)
        gone(gb, one)
        eventually(lambda: "killed by SIGKILL" in gb.log(), 60, "it died", 0.2)
        other.brain.delete(f"/v1/sessions/{other.session}").expect(200)
        gone(gb, other)


def test_prune(tmp):
    """By hand: suspended, unused for so long; nothing else."""
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        old, awake, nameless = gb.create(name="web-old"), gb.create(name="web-awake"), gb.create()
        agent = gb.create(name="agent-x")
        for box in (old, agent):
            suspend(api, gb, box.id)

        def prune(*words, code=0):
            done = gb.cli("sandbox", "prune", "--json", *words)
            equal(done.returncode, code, done.stderr)
            return {one["name"]: one["removed"] for one in json.loads(done.stdout)}

        with check("nothing is a week old"):
            equal(prune(), {})
        with check("a rehearsal removes nothing"):
            equal(prune("--older-than=0", "--dry-run"), {"web-old": False, "agent-x": False})
            equal(len(boxes(gb)), 4)
        with check("one with an open port waits for callers: by its name alone"):
            receiver = gb.create(name="web-hooks", exposed_ports=[8080])
            suspend(api, gb, receiver.id)
            equal(prune("--older-than=0", "--dry-run"), {"web-old": False, "agent-x": False})
            equal(prune("--older-than=0", "--prefix=web-h"), {"web-hooks": True})
        with check("by the beginning of their names"):
            equal(prune("--older-than=0", "--prefix=agent-"), {"agent-x": True})
        with check("the rest of those that sleep; what is awake stays"):
            time.sleep(1)
            equal(prune("--older-than=1s"), {"web-old": True})
            equal(set(boxes(gb)), {awake.id, nameless.id})
        with check("for people"):
            done = gb.cli("--text", "sandbox", "prune")
            assert done.returncode == 0 and "0 removed" in done.stderr, done
        check.done()


if __name__ == "__main__":
    run(test_sessions_that_are_over, test_age_and_number, test_killed_while_cleaning, test_prune)
