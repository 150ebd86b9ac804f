"""The files of boxes: what snapshots and forks cost beside the system call alone, and SQLite in a box beside SQLite in the same pool."""
import contextlib
import fcntl
import json
import os
import shutil
import struct
import subprocess
import time

from report import compare, scaled, summary

SNAP_CREATE, SNAP_DESTROY = 0x50009417, 0x5000940F  # BTRFS_IOC_SNAP_CREATE_V2 is 23, BTRFS_IOC_SNAP_DESTROY 15
READ_ONLY = 2
MAKE_FILES = "import os\nfor i in range({count}):\n    d = f'/data/{{i // 500}}'\n    i % 500 or os.makedirs(d, exist_ok=True)\n    open(f'{{d}}/{{i}}', 'w').write(str(i))\nprint('done')\n"
SQLITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sqlite_work.py")


class Subvolume:
    """The system call alone: a sealed copy of a box's subvolume, in the same pool."""

    def __init__(self, boxes, box):
        self.parent, self.source, self.number = os.open(boxes, os.O_RDONLY), os.open(os.path.join(boxes, box), os.O_RDONLY), 0

    def once(self):
        self.number += 1
        name = f"bench-{self.number}".encode()
        start = time.perf_counter()
        fcntl.ioctl(self.parent, SNAP_CREATE, bytearray(struct.pack("=qQQ32x4040s", self.source, 0, READ_ONLY, name)))
        took = time.perf_counter() - start
        fcntl.ioctl(self.parent, SNAP_DESTROY, bytearray(struct.pack("=q4088s", 0, name)))
        return took

    def close(self):
        os.close(self.source)
        os.close(self.parent)


def shell(bench, box, *command):
    """Runs a program in a box to its end and gives its output."""
    first, text = bench.api.run(bench.data(box, "POST", "/api/v1/processes/run", {"command": command[0], "args": list(command[1:]), "timeout": 600}))
    return text


def sandboxes(bench):
    return "/v1/namespaces/default"


def take(bench, box):
    request = bench.api.request("POST", f"{sandboxes(bench)}/sandboxes/{box}/snapshot")
    start = time.perf_counter()
    snapshot = bench.api.call(request, 202)["snapshot_id"]
    took = time.perf_counter() - start
    bench.api.call(bench.api.request("DELETE", f"{sandboxes(bench)}/snapshots/{snapshot}"))
    return took


def measure_snapshot(bench, rounds):
    boxes = bench.glovebox.engine_path("pool", "boxes")
    with bench.box() as few, bench.box() as many:
        shell(bench, few, "/usr/bin/python3", "-c", MAKE_FILES.format(count=100))
        shell(bench, many, "/usr/bin/python3", "-c", MAKE_FILES.format(count=100_000))
        with contextlib.closing(Subvolume(boxes, many)) as bare:
            bench.rows.append(compare("snapshot of 100,000 files, against the system call alone", lambda: take(bench, many), bare.once, rounds, "ioctl"))
        bench.rows.append(compare("snapshot of 100,000 files, against one of 100", lambda: take(bench, many), lambda: take(bench, few), rounds, "100 files"))
        measure_fork(bench, many, max(3, rounds // 10))


def measure_fork(bench, box, rounds):
    times = []
    for _ in range(rounds):
        request = bench.api.request("POST", f"{sandboxes(bench)}/sandboxes/{box}/copy?times=16")
        start = time.perf_counter()
        copies = bench.api.call(request)["sandboxes"]
        times.append(time.perf_counter() - start)
        for copy in copies:
            bench.delete(copy["sandbox_id"])
    bench.rows.append({"name": "fork x16 of 100,000 files, all", "unit": "ms", "rounds": rounds, "ours": scaled(summary(times))})


def measure_sqlite(bench, rounds):
    """One script in a box, on the host in the same pool, and on the host's own file system."""
    with open(SQLITE) as file:
        script = file.read()
    pool, below = bench.glovebox.engine_path("pool", "bench"), os.path.join(bench.tmp, "sqlite")
    os.mkdir(pool)
    os.mkdir(below)
    # The pool is mounted where the engine is. (SQLite looks through /proc/PID/root and would end up here.)
    inside = ["nsenter", f"--mount=/proc/{bench.glovebox.engine_pid()}/ns/mnt"]
    places = {"in the pool": [*inside, "/usr/bin/python3", "-c", script, os.path.join(bench.glovebox.state, "engine", "pool", "bench")],
              "on the disk below": ["/usr/bin/python3", "-c", script, below]}
    seen = {"in a box": [], **{name: [] for name in places}}
    # As many processors as the host has: limits are not what is measured.
    with bench.box(resources={"cpus": os.cpu_count(), "memory_mb": 2048}) as box:
        for _ in range(max(3, rounds // 20)):
            seen["in a box"].append(json.loads(shell(bench, box, "/usr/bin/python3", "-c", script, "/workspace")))
            for name, command in places.items():
                seen[name].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    shutil.rmtree(pool)
    for group in seen["in a box"][0]:
        for name in places:
            pairs = [(a[group], b[group]) for a, b in zip(seen["in a box"], seen[name])]
            bench.rows.append({"name": f"SQLite, {group}: in a box, against {name}", "against": name, "unit": "ms", "rounds": len(pairs),
                               "ours": scaled(summary([a for a, _ in pairs])), "theirs": scaled(summary([b for _, b in pairs])),
                               "ratio": summary([a / b for a, b in pairs])})
