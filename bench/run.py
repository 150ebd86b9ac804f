"""Measures Glovebox beside what it is compared with, in pairs taken one after the other: machines are noisy, ratios less so.

    make bench                                          optimized build; table, and JSON in build-release/bench.json
    bench/run.py --build build --rounds 30 --only exec  a part, of the build at hand
"""
import argparse
import contextlib
import json
import os
import selectors
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--rounds", type=int, default=100, help="pairs of each comparison (default: 100)")
    parser.add_argument("--at-once", type=int, default=100, help="sandboxes created at once (default: 100)")
    parser.add_argument("--only", default="", help="comma-separated: create, runc, podman, exec, tool, sleep, pool, burst, interactive, delete, snapshot,"
                        " sqlite, memory")
    parser.add_argument("--json", help="where the numbers go (default: BUILD/bench.json)")
    return parser.parse_args()


ARGS = arguments()
BUILD = os.path.abspath(ARGS.build)
os.environ["GLOVEBOX_BIN"] = os.path.join(BUILD, "bin")
sys.path.insert(0, os.path.join(ROOT, "tests", "functional"))
import harness  # noqa: E402  (needs GLOVEBOX_BIN)
import interactive  # noqa: E402
import peers  # noqa: E402
import storage  # noqa: E402
from report import alone, compare, in_group, paired, private_kb, publish, scaled, summary  # noqa: E402
from wire import Connection  # noqa: E402

SANDBOXES = harness.SANDBOXES
RUN = {"command": peers.PROGRAM[0], "args": list(peers.PROGRAM[1:])}


# --- measurements -----------------------------------------------------------------------------------------------------

class Bench:
    def __init__(self, glovebox, tmp):
        self.glovebox, self.tmp, self.rows = glovebox, tmp, []
        self.api = Connection(glovebox.url, glovebox.key)
        self.api.connect()

    def create(self, **spec):
        return self.api.call(self.api.request("POST", SANDBOXES, spec))["sandbox_id"]

    def delete(self, box):
        self.api.call(self.api.request("DELETE", f"{SANDBOXES}/{box}"))

    @contextlib.contextmanager
    def box(self, **spec):
        box = self.create(**spec)
        try:
            yield box
        finally:
            self.delete(box)

    def data(self, box, method, path, body):
        return self.api.request(method, path, body, host=f"{box}.local")

    def create_to_first_output(self):
        """From the request for a sandbox to the first line of a program in it; the delete is not counted."""
        request = self.api.request("POST", SANDBOXES, {})
        start = time.perf_counter()
        box = self.api.call(request)["sandbox_id"]
        first, text = self.api.run(self.data(box, "POST", "/api/v1/processes/run", RUN))
        assert text == "ready", text
        self.delete(box)
        return first - start

    def against(self, name, peer, rounds, ours=None):
        with contextlib.closing(peer):
            self.rows.append(compare(name, ours or self.create_to_first_output, peer.once, rounds, type(peer).__name__))

    def measure_create(self):
        self.against("create to first output, against bare calls", peers.Bare(os.path.join(BUILD, "bin", "bench_bare"), self.tmp), ARGS.rounds)

    def measure_runc(self):
        self.against("create to first output, against runc run", peers.Runc(self.tmp), max(3, ARGS.rounds // 2))

    def measure_podman(self):
        self.against("create to first output, against podman run", peers.Podman(self.tmp), max(3, ARGS.rounds // 5))
        with contextlib.closing(peers.PodmanContainers(self.tmp)) as podman:
            self.measure_life(podman, max(5, ARGS.rounds // 10))

    def measure_life(self, podman, rounds):
        """What is done with a box that is there, in turns with podman's word for it."""
        found = {name: [] for name in ("snapshot, against podman commit", "delete of a snapshot, against podman rmi", "suspend, against podman pause",
                                       "first output in a suspended one, against podman unpause and exec", "delete, against podman rm")}
        for turn in range(rounds + 1):
            box, container = self.create(name=f"bench-life-{turn}"), podman.start()
            storage.fill(self, box, storage.FEW)
            podman.do("exec", container, "/usr/bin/python3", "-c", storage.MAKE_FILES.format(count=storage.FEW))
            made, took = storage.snapshot(self, box)
            image, commit = podman.do("commit", container)
            run = self.data(box, "POST", "/api/v1/processes/run", RUN)
            pairs = [(took, commit), (storage.forget(self, made), podman.do("rmi", image)[1]),
                     (self.timed(self.api.request("POST", f"{SANDBOXES}/{box}/suspend"), 202), podman.do("pause", container)[1])]
            start = time.perf_counter()
            first, _ = self.api.run(run)
            pairs.append((first - start, podman.do("unpause", container)[1] + podman.do("exec", container, *peers.PROGRAM)[1]))
            pairs.append((self.timed(self.api.request("DELETE", f"{SANDBOXES}/{box}")), podman.do("rm", "--force", "--time", "0", container)[1]))
            for name, pair in zip(found, pairs):
                found[name] += [pair] if turn else []  # the first is for caches
        self.rows += [paired(name, pairs, "podman") for name, pairs in found.items()]

    def measure_exec(self):
        """A program started through the API, to its end; against bash starting the same one."""
        with self.box() as box:
            request = self.data(box, "POST", "/api/v1/processes/run", RUN)

            def once():
                start = time.perf_counter()
                self.api.run(request)
                return time.perf_counter() - start
            self.against("exec, against a persistent bash", peers.PersistentBash(" ".join(RUN["command"].split() + RUN["args"])),
                         ARGS.rounds * 3, once)

    def measure_tool(self):
        """The bash tool, whose shell persists, against such a shell on a pipe: nothing is started on either side."""
        with self.box() as box:
            request = self.data(box, "POST", "/api/v1/tools/bash", {"command": "echo ready"})

            def once():
                start = time.perf_counter()
                result = self.api.call(request, 200)
                took = time.perf_counter() - start
                assert result["content"].strip() == "ready", result
                return took
            self.against("bash tool, against a persistent bash", peers.PersistentBash("echo ready"), ARGS.rounds * 3, once)

    def row_times(self, name, times):
        self.rows.append(alone(name, times))

    def timed(self, request, *expect):
        start = time.perf_counter()
        self.api.call(request, *expect)
        return time.perf_counter() - start

    def measure_sleep(self):
        """Suspend and resume by hand, beside a bare freezer, and the first output of a program that has to wake its sandbox, beside one
        that has not."""
        with contextlib.closing(peers.Freezer()) as freezer:
            self.sleeps(freezer)

    def sleeps(self, freezer):
        box = self.api.call(self.api.request("POST", SANDBOXES, {"name": "bench-sleeper"}))["sandbox_id"]
        run = self.data(box, "POST", "/api/v1/processes/run", RUN)
        suspend, resume = (self.api.request("POST", f"{SANDBOXES}/{box}/{verb}") for verb in ("suspend", "resume"))
        suspends, resumes, woken, awake = [], [], [], []
        self.api.run(run)
        for _ in range(ARGS.rounds):
            suspends.append((self.timed(suspend, 202), freezer.set(True)))
            resumes.append((self.timed(resume, 202), freezer.set(False)))
            for times, asleep in ((awake, False), (woken, True)):
                if asleep:
                    self.api.call(suspend, 202)
                start = time.perf_counter()
                first, _ = self.api.run(run)
                times.append(first - start)
        self.delete(box)
        self.rows.append(paired("suspend, against a bare freezer", suspends, "freezer"))
        self.rows.append(paired("resume, against a bare freezer", resumes, "freezer"))
        self.rows.append(paired("first output in a suspended one, against one awake", list(zip(woken, awake)), "awake"))

    def measure_pool(self):
        """A claim while a warm sandbox is there, and from the claim to the first output of a program."""
        spec = {"image": "host", "warm_containers": 4}
        pool = self.api.call(self.api.request("POST", "/sandbox-pools", spec), 201)["pool_id"]
        look, claim = (self.api.request(method, f"/sandbox-pools/{pool}{path}") for method, path in (("GET", ""), ("POST", "/sandboxes")))
        claims, outputs = [], []

        def ready():
            containers = self.api.call(look, 200)["containers"]
            return len(containers) == 4 and not any(container["sandbox_id"] for container in containers)

        for _ in range(ARGS.rounds):
            harness.wait_for("warm sandboxes", ready)
            start = time.perf_counter()
            box = self.api.call(claim, 201)["sandbox_id"]
            claims.append(time.perf_counter() - start)
            first, _ = self.api.run(self.data(box, "POST", "/api/v1/processes/run", RUN))
            outputs.append(first - start)
            self.delete(box)
        self.api.call(self.api.request("DELETE", f"/sandbox-pools/{pool}"), 204)
        self.row_times("claim from a pool", claims)
        self.row_times("claim to first output", outputs)
        seconds = dict(line.split() for line in self.glovebox.api.get("/metrics").text.splitlines()
                       if line.startswith(("engine_pool_claim_seconds_sum", "engine_pool_claim_seconds_count")))
        mean = float(seconds["engine_pool_claim_seconds_sum"]) / float(seconds["engine_pool_claim_seconds_count"])
        self.rows.append({"name": "claim, in the engine alone (mean)", "unit": "ms", "rounds": len(claims), "ours": scaled(summary([mean]))})

    def measure_burst(self):
        """Many creates sent in the same moment, each on a connection of its own."""
        connections, selector = [], selectors.DefaultSelector()
        for _ in range(ARGS.at_once):
            connection = Connection(self.glovebox.url, self.glovebox.key, timeout=120)
            connection.connect()
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connections.append(connection)
        request = self.api.request("POST", SANDBOXES, {})
        start = time.perf_counter()
        for connection in connections:
            connection.send(request)
        times, boxes = [], []
        while len(times) < len(connections):
            ready = selector.select(timeout=120)
            if not ready:
                raise RuntimeError(f"{len(connections) - len(times)} creates got no answer within 120 s")
            for key, _ in ready:
                status, body = key.data.answer()
                times.append(time.perf_counter() - start)
                if status not in (200, 201):
                    raise RuntimeError(f"create: status {status}: {body[:300]}")
                boxes.append(json.loads(body)["sandbox_id"])
                selector.unregister(key.data.socket)
        for connection in connections:
            connection.close()
        self.rows.append({"name": f"{len(times)} creates at once, each", "unit": "ms", "rounds": len(times), "ours": scaled(summary(times))})
        self.rows.append({"name": f"{len(times)} creates at once, all", "unit": "ms", "rounds": 1, "ours": scaled(summary([max(times)]))})
        self.measure_box_memory(boxes, f"{len(boxes)} idle")
        for box in boxes:
            self.delete(box)

    def measure_interactive(self):
        interactive.measure(self, ARGS.at_once)

    def measure_snapshot(self):
        storage.measure_snapshot(self, ARGS.rounds)

    def measure_sqlite(self):
        storage.measure_sqlite(self, ARGS.rounds)

    def measure_delete(self):
        times = []
        for _ in range(ARGS.rounds):
            box = self.create()
            request = self.api.request("DELETE", f"{SANDBOXES}/{box}")
            start = time.perf_counter()
            self.api.call(request)
            times.append(time.perf_counter() - start)
        self.rows.append({"name": "delete", "unit": "ms", "rounds": len(times), "ours": scaled(summary(times))})

    def measure_memory(self):
        """Private memory of the parts, and of a box nobody has used yet and one that ran a program and a tool."""
        engine = self.glovebox.engine_pid()
        self.row_memory("private memory of the engine", [private_kb([engine])])
        with self.box() as fresh, self.box() as used:
            self.api.run(self.data(used, "POST", "/api/v1/processes/run", RUN))
            self.api.call(self.data(used, "POST", "/api/v1/tools/bash", {"command": "true"}), 200)
            hand = in_group(f"{fresh}/hand")
            launcher = {parent_of(pid) for pid in hand} - {0, 1}
            self.row_memory("private memory of the launcher", [private_kb(launcher)])
            self.row_memory("private memory of the hand (process 1)", [private_kb(hand)])
            self.measure_box_memory([fresh], "one fresh")
            self.measure_box_memory([used], "one used")

    def measure_box_memory(self, boxes, which):
        self.row_memory(f"private memory of a box, all its processes ({which})", [private_kb(in_group(box)) for box in boxes])

    def row_memory(self, name, kilobytes):
        self.rows.append({"name": name, "unit": "MB", "rounds": len(kilobytes), "ours": scaled(summary(kilobytes), 1 / 1024)})


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


MEASUREMENTS = {"memory": Bench.measure_memory, "create": Bench.measure_create, "exec": Bench.measure_exec, "tool": Bench.measure_tool,
                "delete": Bench.measure_delete, "snapshot": Bench.measure_snapshot, "sqlite": Bench.measure_sqlite, "sleep": Bench.measure_sleep,
                "pool": Bench.measure_pool, "burst": Bench.measure_burst,
                "interactive": Bench.measure_interactive, "runc": Bench.measure_runc, "podman": Bench.measure_podman}


def main():
    if os.geteuid() != 0:
        sys.exit("bench: needs root: boxes are made of namespaces, mounts and cgroups")
    wanted = [name for name in ARGS.only.split(",") if name] or list(MEASUREMENTS)
    unknown = set(wanted) - set(MEASUREMENTS)
    if unknown:
        sys.exit(f"bench: no measurement called {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    skipped = {}
    with tempfile.TemporaryDirectory(prefix="gb-bench-") as tmp:
        os.chmod(tmp, 0o755)
        with harness.Glovebox(tmp) as glovebox:
            bench = Bench(glovebox, tmp)
            for name in wanted:
                print(f"measuring {name} …", file=sys.stderr, flush=True)
                try:
                    MEASUREMENTS[name](bench)
                except peers.Missing as why:
                    skipped[name] = str(why)
            bench.api.close()
    publish(bench.rows, skipped, BUILD, ARGS.json or os.path.join(BUILD, "bench.json"))


main()
