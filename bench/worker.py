"""Measures `glovebox worker` beside the official EnvironmentWorker under Node, in front of the same brain: how long a tool call takes, and
how much memory a session costs, with 1, 10 and 100 sessions at once.

    make bench                                          optimized build; table, and JSON in build-release/bench-worker.json
    bench/worker.py --build build --sessions 1,10       a part, of the build at hand
"""
import argparse
import concurrent.futures
import contextlib
import datetime
import os
import resource
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--sessions", default="1,10,100", help="how many at once (default: 1,10,100)")
    parser.add_argument("--calls", type=int, default=400, help="tool calls of each measurement, at least 5 a session (default: 400)")
    parser.add_argument("--json", help="where the numbers go (default: BUILD/bench-worker.json)")
    return parser.parse_args()


ARGS = arguments()
BUILD = os.path.abspath(ARGS.build)
os.environ["GLOVEBOX_BIN"] = os.path.join(BUILD, "bin")
sys.path.insert(0, os.path.join(ROOT, "tests", "functional"))
import harness  # noqa: E402  (needs GLOVEBOX_BIN)
from fake_messages import FakeMessages, stream, text, tool  # noqa: E402
from report import publish, scaled, summary  # noqa: E402
from sessions import user  # noqa: E402
from support import eventually, rss_kb, slurp  # noqa: E402
from workers import PROGRAM, Place, official_command  # noqa: E402

WARM = 2  # calls of each session that start its hand and its shell
NODE_KB = 120 * 1024  # what a process of theirs may need; with less free memory than that for each the row is skipped


def when(event):
    return datetime.datetime.fromisoformat(event["processed_at"].replace("Z", "+00:00")).timestamp()


def pss_kb(pid):
    """Memory in use, pages that several processes share divided among them."""
    return next((int(line.split()[1]) for line in slurp(f"/proc/{pid}/smaps_rollup").splitlines() if line.startswith(b"Pss:")), 0)


def free_kb():
    return next(int(line.split()[1]) for line in slurp("/proc/meminfo").splitlines() if line.startswith(b"MemAvailable:"))


class Bench:
    def __init__(self, gb, fake, tmp):
        self.gb, self.fake, self.tmp = gb, fake, tmp

    def commands(self, who, number, workdir):
        """What is started for so many sessions at once."""
        if who == "ours":
            return [[PROGRAM, "worker", "poll", "--workdir", workdir, "--max-idle=0", f"--max-sessions={number}"]]
        official = [*official_command(self.tmp), workdir, "0"]
        return [[*official, str(number)]] if who == "one process" else [official] * number

    def measure(self, who, number):
        """Seconds of each call, and kilobytes of a session: resident, and without counting a shared page twice."""
        name = f"{who.replace(' ', '-')}-{number}"
        place, calls = Place(self.gb, self.tmp, name), max(5, ARGS.calls // number) + WARM
        workdir = place.workdir(name)
        turns = [stream(tool("bash", {"command": "echo ready"})) for _ in range(calls)]
        self.fake.script(f"case:{name}", [*turns, stream(text("end"))])
        with contextlib.ExitStack() as stack:
            commands = self.commands(who, number, workdir)
            workers = [stack.enter_context(place.started(words, place.variables(), cwd=workdir)) for words in commands]

            def polling():
                stats = place.brain.get(f"/v1/environments/{place.environment}/work/stats").expect(200).json
                return (stats["workers_polling"] or 0) >= (1 if who == "ours" else number)

            eventually(polling, 300, "the workers poll", 0.2)
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                sessions = list(pool.map(lambda _: place.brain.session(place.agent, place.environment, initial_events=[user(f"case:{name}")])["id"], range(number)))
                histories = list(pool.map(lambda session: place.brain.settled(session, 600), sessions))
            pids = [pid for worker in workers for pid in (worker.pid, *worker.below())]
            memory = [sum(measure(pid) for pid in pids) / number for measure in (rss_kb, pss_kb)]
        return [took for events in histories for took in times(events)], memory


def times(events):
    """From the moment a call is stored to the moment its result is, by the brain's clock."""
    results = {e["tool_use_id"]: e for e in events if e["type"] == "user.tool_result"}
    assert not any(e["is_error"] for e in results.values())
    return [when(results[call["id"]]) - when(call) for call in [e for e in events if e["type"] == "agent.tool_use"][WARM:]]


def row(name, unit, by, ours, theirs, against):
    mine, other = scaled(summary(ours), by), scaled(summary(theirs), by)
    return {"name": name, "unit": unit, "rounds": len(ours), "against": against, "ours": mine, "theirs": other,
            "ratio": {key: mine[key] / other[key] for key in mine}}


def main():
    if os.geteuid() != 0:
        sys.exit("bench: needs root: the parts have users of their own")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    rows, skipped = [], {}
    for number in [int(word) for word in ARGS.sessions.split(",")]:
        at = f"{number} session{'s' if number > 1 else ''}"
        with tempfile.TemporaryDirectory(prefix="gb-bench-") as tmp, FakeMessages() as fake:
            os.chmod(tmp, 0o755)
            with harness.Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb:
                bench = Bench(gb, fake, tmp)
                print(f"measuring {at} …", file=sys.stderr, flush=True)
                mine, memory = bench.measure("ours", number)
                # As people run theirs: a process takes one session at a time. All in one process is what it could be.
                for who, against in (("a process each", "EnvironmentWorker"), ("one process", "EnvironmentWorkers in one process")):
                    if number == 1 and who == "one process":
                        continue
                    if who == "a process each" and free_kb() < NODE_KB * number:
                        skipped[f"{at}, {who}"] = f"needs {NODE_KB * number >> 20} GB of free memory"
                        continue
                    try:
                        theirs, used = bench.measure(who, number)
                    except harness.Skip as why:
                        skipped[f"{at}, {who}"] = str(why)
                        continue
                    beside = f"{at}, theirs {who}" if number > 1 else at
                    rows.append(row(f"tool call, {beside}", "ms", 1e3, mine, theirs, against))
                    rows.append(row(f"resident memory of a session, {beside}", "MB", 1 / 1024, memory[:1], used[:1], against))
                    rows.append(row(f"  shared pages counted once, {beside}", "MB", 1 / 1024, memory[1:], used[1:], against))
    publish(rows, skipped, BUILD, ARGS.json or os.path.join(BUILD, "bench-worker.json"))


main()
