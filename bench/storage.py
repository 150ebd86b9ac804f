"""The files of boxes: what snapshots and forks cost beside the system call alone, and SQLite in a box beside SQLite in the same pool."""
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import struct
import subprocess
import time

from report import compare, paired

SNAP_CREATE, SNAP_DESTROY = 0x50009417, 0x5000940F  # BTRFS_IOC_SNAP_CREATE_V2 is 23, BTRFS_IOC_SNAP_DESTROY 15
READ_ONLY = 2
FEW, MANY = 100, 100_000
MAKE_FILES = "import os\nfor i in range({count}):\n    d = f'/data/{{i // 500}}'\n    i % 500 or os.makedirs(d, exist_ok=True)\n    open(f'{{d}}/{{i}}', 'w').write(str(i))\nprint('done')\n"
SQLITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sqlite_work.py")
# Arguments, environment, what it imports at its start and chance lay out an interpreter's memory, which is up to a tenth of its speed.
LAID_OUT_ALIKE = 'cd "$0" && exec env -i setarch -R /usr/bin/python3 -IS -c "$1" .'
SPACE = "/v1/namespaces/default"


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


def fill(bench, box, count):
    shell(bench, box, "/usr/bin/python3", "-c", MAKE_FILES.format(count=count))


def snapshot(bench, box):
    """(its id, how long it took)"""
    request = bench.api.request("POST", f"{SPACE}/sandboxes/{box}/snapshot")
    start = time.perf_counter()
    made = bench.api.call(request, 202)["snapshot_id"]
    return made, time.perf_counter() - start


def forget(bench, made):
    """Deletes a snapshot; how long it took."""
    return bench.timed(bench.api.request("DELETE", f"{SPACE}/snapshots/{made}"))


def take(bench, box):
    made, took = snapshot(bench, box)
    forget(bench, made)
    return took


def settle():
    """Files that were made a moment ago are on their way to the disk, and deleted ones out of the pool: whoever flushes next pays for both."""
    os.sync()
    time.sleep(0.2)
    os.sync()


def fork(bench, box, times=16):
    settle()
    request = bench.api.request("POST", f"{SPACE}/sandboxes/{box}/copy?times={times}")
    start = time.perf_counter()
    copies = bench.api.call(request)["sandboxes"]
    took = time.perf_counter() - start
    for copy in copies:
        bench.delete(copy["sandbox_id"])
    return took


def measure_snapshot(bench, rounds):
    boxes = bench.glovebox.engine_path("pool", "boxes")
    with bench.box() as few, bench.box() as many:
        fill(bench, few, FEW)
        fill(bench, many, MANY)
        settle()
        with contextlib.closing(Subvolume(boxes, many)) as bare:
            bench.rows.append(compare(f"snapshot of {MANY:,} files, against the system call alone", lambda: take(bench, many), bare.once, rounds, "ioctl"))
        bench.rows.append(compare(f"snapshot of {MANY:,} files, against one of {FEW}", lambda: take(bench, many), lambda: take(bench, few), rounds,
                                  f"{FEW} files"))
        bench.rows.append(compare(f"fork x16 of {MANY:,} files, all, against one of {FEW}", lambda: fork(bench, many), lambda: fork(bench, few),
                                  max(5, rounds // 5), f"{FEW} files", warm=1))


@contextlib.contextmanager
def workers(commands):
    """Programs that do one thing after another, each when they get a line."""
    running = {name: subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for name, (command, env) in commands.items()}
    try:
        yield running
        for name, program in running.items():
            program.stdin.close()
            assert program.wait(60) == 0, f"{name}: exit code {program.returncode}"
    finally:
        for program in running.values():
            program.kill()
            program.wait()


def one_turn(commands, turn):
    """Seconds of each group on each side. Group by group, another side begins each time."""
    seen, names = {name: {} for name in commands}, list(commands)
    with workers(commands) as running:
        for number in itertools.count(turn):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                running[name].stdin.write("\n")
                running[name].stdin.flush()
                if not (line := running[name].stdout.readline()):
                    return seen
                group, seconds = json.loads(line)
                seen[name][group] = seconds


def measure_sqlite(bench, rounds):
    """One script in a box, on the host in the same pool, and on the host's own file system, taking turns group by group."""
    with open(SQLITE) as file:
        script = file.read()
    pool, below = bench.glovebox.engine_path("pool", "bench"), os.path.join(bench.tmp, "sqlite")
    os.mkdir(pool)
    os.mkdir(below)

    def python(directory):
        return ["/bin/sh", "-c", LAID_OUT_ALIKE, directory, script]

    # The pool is mounted where the engine is. (SQLite looks through /proc/PID/root and would end up here.)
    inside = ["nsenter", f"--mount=/proc/{bench.glovebox.engine_pid()}/ns/mnt"]
    # As many processors as the host has: limits are not what is measured. A volume is the pool's own, without an overlay.
    volume = bench.api.call(bench.api.request("POST", "/volumes", {"name": "bench", "size_mb": 2048}), 201)["id"]
    with bench.box(resources={"cpus": os.cpu_count(), "memory_mb": 2048}, file_systems=[{"file_system_id": volume, "mount_path": "/mnt/bench"}]) as box:
        def here(directory):
            return bench.glovebox.command("sandbox", "exec", box, "--", *python(directory))
        sides = {"in a box": here("/workspace"), "in the pool": ([*inside, *python(os.path.join(bench.glovebox.state, "engine", "pool", "bench"))], None),
                 "in the overlay": here("/srv"), "in a volume": here("/mnt/bench"), "on the disk below": (python(below), None)}
        turns = [one_turn(sides, turn) for turn in range(-1, max(8, rounds // 6))][1:]  # the first is for caches
        bench.api.close()  # silent for too long
        bench.api.connect()
    shutil.rmtree(pool)
    bench.api.call(bench.api.request("DELETE", f"/volumes/{volume}"))
    for name, side, against in (("SQLite", "in a box", "in the pool"), ("SQLite", "in a box", "on the disk below"),
                                ("  in a volume: SQLite", "in a volume", "in the pool"), ("  in the overlay: SQLite", "in the overlay", "in the pool")):
        for group in turns[0][side]:
            bench.rows.append(paired(f"{name}, {group}, {against}", [(turn[side][group], turn[against][group]) for turn in turns], against))
