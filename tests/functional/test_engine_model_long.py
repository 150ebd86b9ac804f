"""Two minutes of random operations by eight clients at once: the model explains every answer, the engine's memory stays flat, nothing is left.
labels: privileged slow timeout=900
"""
import os
import time

from engine_model import SEED, Numbers, World, report
from harness import Glovebox, run
from support import eventually, note

SECONDS = 120 * int(os.environ.get("GLOVEBOX_SOAK", "1"))
ROUND = 200          # operations of each client, or
ROUND_SECONDS = 30   # so long
MEMORY_KB = 24_000   # that a round may add to the first one's


def test(tmp):
    note(f"seed {SEED}: repeat with --seed {SEED}")
    with Glovebox(tmp, environment={"GLOVEBOX_ENGINE_PAUSE_AFTER_SECS": "1"}) as gb:
        numbers = Numbers(gb)
        eventually(lambda: numbers.held()["boxes"] >= 8, 30, "all blanks")
        before, engine = numbers.held(), gb.engine_pid()
        world, began, rows = World(gb, SEED), time.monotonic(), []
        while time.monotonic() < began + SECONDS or len(rows) < 3:
            world.round(len(rows), ROUND, time.monotonic() + ROUND_SECONDS)
            numbers.at_rest(before)
            rows.append((report(world, began), numbers.memory(), numbers.files()))
            note(f"after {rows[-1][0]} operations: {rows[-1][1]} kB, {rows[-1][2]} descriptors")
        assert gb.engine_pid() == engine, "the engine is the one it was"
        first, last = rows[0], rows[-1]
        assert last[0] >= 200, last
        assert last[1] <= first[1] + MEMORY_KB, f"memory grew from {first[1]} to {last[1]} kB"
        assert last[2] <= first[2] + 20, f"descriptors grew from {first[2]} to {last[2]}"


run(test)
