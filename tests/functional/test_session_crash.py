"""kill -9 of the brain, the orchestrator, the engine or the hand's helper, and the loss of the box, in the middle of sessions: no event
is lost or doubled, no call executed or answered twice, every session ends.
labels: privileged exclusive timeout=300
"""
import os
import random
import signal

from crashes import Play, all_of, helpers, kill_at
from fake_messages import FakeMessages
from harness import SYSTEM, Glovebox, note, run
from sessions import Brain
from support import Checks, api_of, eventually

SEED = int(os.environ.get("GLOVEBOX_SEED", random.randrange(1 << 30)))


def test_kills(tmp):
    """Each part once, at a random moment of four sessions; then all parts, one after the other."""
    note(f"GLOVEBOX_SEED={SEED}")
    choice, check = random.Random(SEED), Checks()
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key)) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        agent, environment = brain.agent("crash")["id"], brain.status()["default_environment_id"]

        def plays(name, number=4, **more):
            return [Play(gb, fake, f"{name}-{n}", **more).start(agent, environment) for n in range(number)]

        for part in ("brain", "orchestrator", "engine"):
            with check(f"the {part} is killed"):
                running = plays(part)
                delay = choice.uniform(0.05, 1.2)
                note(f"  after {delay:.2f} s")
                kill_at(delay, gb, part)
                all_of(running, Play.end)
                all_of(running, Play.check)
        with check("all three, one after the other"):
            running = plays("all", calls=10, pause=0.1)
            for part in choice.sample(["brain", "orchestrator", "engine"], 3):
                kill_at(choice.uniform(0.1, 0.6), gb, part)
            all_of(running, Play.end)
            all_of(running, Play.check)
        with check("the hand's helper is killed"):
            (play,) = plays("helper", 1, pause=0.15)
            eventually(play.seen("user.tool_result"), 30, "a first result")
            box = play.box()
            for pid in eventually(lambda: helpers(gb, box.id), 10, "a helper"):
                os.kill(pid, signal.SIGKILL)
            play.end().check(lost=True)
        with check("the box is lost"):
            (play,) = plays("box", 1, pause=0.15)
            eventually(play.seen("user.tool_result"), 30, "a first result")
            api_of(gb).delete(play.box().id).expect(200, 202, 204)
            play.end(90).check(lost=True)
        check.done()


run(test_kills)
