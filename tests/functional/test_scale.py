"""200 boxes alive at once, 2,000 made and deleted in a row: memory, descriptors and time per operation stay flat.
labels: privileged slow soak exclusive timeout=1200
"""
import os
import time

from harness import Glovebox, run
from support import Checks, Owned, api_of, equal, eventually, note, open_files, parent, percentile, rss_kb

ALIVE = 200
IN_A_ROW = 2000 * int(os.environ.get("GLOVEBOX_SOAK", "1"))
SLICE = 200


class Numbers:
    """Memory and descriptors of the engine and of the launcher (the parent of every box)."""

    def __init__(self, gb, api):
        box = api.create()
        inside = Owned(gb.state, gb.instance).in_cgroup(box.id)
        self.engine = gb.engine_pid()
        hands = [pid for pid in inside if parent(pid) not in inside]
        self.launcher = parent(hands[0])
        box.delete().expect(200, 202, 204)

    def now(self):
        return {"engine kB": rss_kb(self.engine), "engine fds": open_files(self.engine),
                "launcher kB": rss_kb(self.launcher), "launcher fds": open_files(self.launcher)}


def test_alive_at_once(tmp):
    """200 boxes run side by side; each answers; deleting them gives everything back."""
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        numbers = Numbers(gb, api)
        before = numbers.now()
        boxes, times = [], []
        with check(f"{ALIVE} boxes are made"):
            for i in range(ALIVE):
                began = time.monotonic()
                boxes.append(api.create(name=f"many-{i}"))
                times.append(time.monotonic() - began)
            first, last = percentile(times[: ALIVE // 4], 0.5), percentile(times[-ALIVE // 4 :], 0.5)
            note(f"create: median of the first quarter {first * 1e3:.1f} ms, of the last {last * 1e3:.1f} ms")
            assert last < max(4 * first, 0.1), "the 200th costs about what the first did"
        with check("each of them answers for itself"):
            for i, box in enumerate(boxes):
                box.sh(f"echo {i} > /tmp/mine").ok()
            for i, box in enumerate(boxes):
                equal(box.sh("cat /tmp/mine").stdout, str(i))
        alive = numbers.now()
        note(f"before {before}\n  alive  {alive}")
        with check("the list knows all of them"):
            equal(len(api.list(limit=1000, status="running")["sandboxes"]), ALIVE)
        with check("all are deleted, and descriptors and memory come back"):
            for box in boxes:
                box.delete().expect(200, 202, 204)
            after = eventually(lambda: (n := numbers.now())["engine fds"] <= before["engine fds"] + 40
                               and n["launcher fds"] <= before["launcher fds"] + 40 and n, 60, "descriptors are back")
            note(f"after  {after}")
            assert after["engine kB"] < before["engine kB"] + 60_000, "engine's memory"
        check.done()


def test_in_a_row(tmp):
    """2,000 are made, used and deleted, one after the other."""
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        numbers = Numbers(gb, api)
        rows, times = [], []
        for i in range(IN_A_ROW + SLICE):
            began = time.monotonic()
            made = api.call("POST", "/sandboxes", {}).expect(200, 201).json["sandbox_id"]
            middle = time.monotonic()
            api.delete(made).expect(200, 202, 204)
            times.append((middle - began, time.monotonic() - middle))
            if (i + 1) % SLICE == 0:
                part = times[-SLICE:]
                rows.append({"create ms": percentile([c for c, _ in part], 0.5) * 1e3, "delete ms": percentile([d for _, d in part], 0.5) * 1e3,
                             **numbers.now()})
                note(f"{i + 1:6}: " + ", ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()))
        first, last = rows[1], rows[-1]  # the first slice warms caches and is not compared
        for member in ("create ms", "delete ms"):
            with check(f"{member}: the last {SLICE} cost about what the first did"):
                assert last[member] < max(2.5 * first[member], 5.0), f"{first[member]:.2f} → {last[member]:.2f}"
        for member, slack in (("engine fds", 30), ("launcher fds", 30), ("engine kB", 30_000), ("launcher kB", 10_000)):
            with check(f"{member} stay flat"):
                assert last[member] <= first[member] + slack, f"{first[member]} → {last[member]}"
        with check("nothing of them is left on disk but their rows"):
            for folder in ("boxes", "hands"):
                path = os.path.join(gb.state, "engine", folder)
                if os.path.isdir(path):
                    eventually(lambda: len(os.listdir(path)) <= 32, 60, f"{folder} is small again")
        with check("the list still answers quickly with 2,000 terminated ones behind it"):
            began = time.monotonic()
            equal(len(api.list(limit=100)["sandboxes"]), 100)
            assert time.monotonic() - began < 5
        check.done()


run(test_alive_at_once, test_in_a_row)
