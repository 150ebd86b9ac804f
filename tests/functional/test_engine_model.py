"""Random operations by eight clients at once: every answer is one that the model of the engine explains, and nothing is left behind.
labels: privileged timeout=300
"""
import time

from engine_model import CLIENTS, SEED, Numbers, World, report
from harness import Glovebox, run
from support import eventually, note

OPERATIONS = 200


def test(tmp):
    note(f"seed {SEED}: repeat with --seed {SEED}")
    with Glovebox(tmp, environment={"GLOVEBOX_ENGINE_PAUSE_AFTER_SECS": "1"}) as gb:
        numbers = Numbers(gb)
        eventually(lambda: numbers.held()["boxes"] >= 8, 30, "all blanks")
        before = numbers.held()
        world, began = World(gb, SEED), time.monotonic()
        world.round(0, OPERATIONS // CLIENTS)
        assert report(world, began) == OPERATIONS
        numbers.at_rest(before)


run(test)
